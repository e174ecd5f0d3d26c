"""The measured classes of moments: what every column starts from.

Shapes: C measured classes, V classes of the head, d feature entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.vectors import Vectors


@dataclass(frozen=True)
class MeasuredClasses:
    """The classes of `moments` with at least `min_count` samples.

    `indices` (C,) are their numbers in [0, V), ascending.
    """

    moments: ClassMoments
    min_count: int
    indices: Tensor

    @classmethod
    def of(cls, moments: ClassMoments, min_count: int) -> MeasuredClasses:
        if min_count < 1:
            raise MomentsError(f"min_count must be at least 1, got {min_count}")
        return cls(moments, min_count, (moments.counts >= min_count).nonzero().squeeze(1))

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def counts(self) -> Tensor:
        """(C,) float64 N_c."""
        return self.moments.counts[self.indices].double()

    @cached_property
    def spreads(self) -> Tensor:
        """(C,) s2_c."""
        return self.moments.variance_norms[self.indices]

    @cached_property
    def means(self) -> Vectors:
        """The class means mu_c around mu_G, their unweighted mean."""
        source, rows = self.moments.rows_of(self.indices)
        return Vectors.of(source, None if len(self) == self.moments.classes else rows)

    def head(self, weight: Tensor) -> Vectors:
        """The head's rows (V, d) of the measured classes, around their mean."""
        indices = None if len(self) == len(weight) else self.indices
        return Vectors.of(weight.to(self.indices.device), indices)

    @property
    def between_trace(self) -> Tensor:
        """tr Sigma_B = mean over c of ||m_c||^2."""
        return self.means.norms.square().mean()


def no_direction(means: Vectors) -> str:
    """Why angles between centred class means do not exist."""
    return (
        f"class means that equal the global mean: {means.vanishing}; a zero vector has no direction"
    )


def check_head(weight: Tensor, classes: int, dim: int) -> None:
    """Raise MomentsError unless the head has one row of d entries for every class."""
    if tuple(weight.shape) != (classes, dim) or not weight.is_floating_point():
        raise MomentsError(
            f"the head's weight must be a floating-point tensor of shape ({classes}, {dim}), as "
            f"the moments are, got {weight.dtype} {tuple(weight.shape)}"
        )


def nonfinite_reason(moments: ClassMoments) -> str | None:
    """Why nothing can be said about the features, or None if all are finite."""
    if moments.nonfinite:
        samples = int(moments.counts.sum()) + moments.nonfinite
        return f"{moments.nonfinite} of {samples} samples have an infinite or NaN feature"
    return None
