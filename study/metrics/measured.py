"""The measured classes of moments: what every column starts from.

Shapes: C measured classes, V classes of the head, d feature entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.result import ROUNDING


@dataclass(frozen=True)
class Vectors:
    """C vectors around their unweighted mean: class means, or rows of the head.

    centre: (d,) their mean; centred: (C, d) vector - centre; norms: (C,) of the centred vectors, exactly zero where the
    vector equals the centre to rounding, because the direction of such a vector is noise; in_range: the squares of the
    vectors are within float64, so that all that follows is.
    """

    centre: Tensor
    centred: Tensor
    norms: Tensor
    in_range: bool

    @classmethod
    def around_mean(cls, vectors_Cxd: Tensor) -> Vectors:
        centre = vectors_Cxd.mean(dim=0)
        centred = vectors_Cxd - centre
        norms = torch.linalg.vector_norm(centred, dim=1)
        sizes = torch.linalg.vector_norm(vectors_Cxd, dim=1)
        noise = ROUNDING * (sizes + torch.linalg.vector_norm(centre))
        in_range = bool(sizes.square().sum().isfinite())
        return cls(centre, centred, torch.where(norms <= noise, 0.0, norms), in_range)

    @property
    def vanishing(self) -> int:
        """How many vectors equal the centre and so have no direction."""
        return int((self.norms == 0).sum())

    def directions(self) -> Tensor:
        """(C, d) unit vectors u_c; zero rows for vectors without a direction. A new tensor at each call."""
        return unit_rows(self.centred, self.norms)


def unit_rows(vectors_Cxd: Tensor, norms_C: Tensor) -> Tensor:
    """(C, d) rows divided by the given norms; a zero norm gives a zero row."""
    return vectors_Cxd * torch.where(norms_C == 0, 0.0, 1 / norms_C)[:, None]


@dataclass(frozen=True)
class MeasuredClasses:
    """The classes with at least `min_count` samples.

    indices: (C,) their numbers in [0, V), ascending; counts: (C,) float64 N_c; spreads: (C,) s2_c; means: (C, d) mu_c.
    """

    min_count: int
    indices: Tensor
    counts: Tensor
    spreads: Tensor
    means: Tensor

    @classmethod
    def of(cls, moments: ClassMoments, min_count: int) -> MeasuredClasses:
        if min_count < 1:
            raise MomentsError(f"min_count must be at least 1, got {min_count}")
        indices = (moments.counts >= min_count).nonzero().squeeze(1)
        everything = len(indices) == moments.classes  # then the means need no copy
        return cls(
            min_count,
            indices,
            moments.counts[indices].to(torch.float64),
            moments.variance_norms[indices],
            moments.means if everything else moments.means[indices],
        )

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def around_mean(self) -> Vectors:
        """The class means around mu_G, their unweighted mean."""
        return Vectors.around_mean(self.means)

    @property
    def between_trace(self) -> Tensor:
        """tr Sigma_B = mean over c of ||m_c||^2."""
        return self.around_mean.norms.square().mean()

    def head_rows(self, weight: Tensor) -> Tensor:
        """(C, d) float64 rows of the head (V, d) that belong to the measured classes."""
        return weight.to(self.means.device)[self.indices].to(torch.float64)


def check_head(weight: Tensor, classes: int, dim: int) -> None:
    """Raise MomentsError unless the head has one row of d entries for every class."""
    if tuple(weight.shape) != (classes, dim) or not weight.is_floating_point():
        raise MomentsError(
            f"the head's weight must be a floating-point tensor of shape ({classes}, {dim}), as the moments are, "
            f"got {weight.dtype} {tuple(weight.shape)}"
        )


def nonfinite_reason(moments: ClassMoments) -> str | None:
    """Why nothing can be said about the features, or None if all are finite."""
    if moments.nonfinite:
        samples = int(moments.counts.sum()) + moments.nonfinite
        return f"{moments.nonfinite} of {samples} samples have an infinite or NaN feature"
    return None
