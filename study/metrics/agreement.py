"""Nearest-centre decisions against the head's (NC4), additive over batches.

Shapes: B samples of a batch, V classes of the head, C measured classes, d feature entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from study.metrics.decisions import AffineScores, FaissCentres
from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError, check_batch

Engine = Literal["torch", "faiss"]


@dataclass(frozen=True)
class Agreement:
    """Counts of decisions by class of the sample (NC4).

    Add the agreements of batches with `+`.

    Attributes:
        samples: (V,) int64 by label, samples decided.
        agreed: those of them whose linear decision is the nearest centre.
        own: those whose nearest centre is their own class.
        correct: those whose linear decision is their own class.
        unmeasured: number of samples whose label or linear decision is an unmeasured class.
        reason: why there are no decisions, or None.
    """

    samples: Tensor
    agreed: Tensor
    own: Tensor
    correct: Tensor
    unmeasured: int = 0
    reason: str | None = None

    @classmethod
    def empty(cls, classes: int, device: torch.device, reason: str | None = None) -> Agreement:
        def zeros() -> Tensor:
            return torch.zeros(classes, dtype=torch.int64, device=device)

        return cls(zeros(), zeros(), zeros(), zeros(), 0, reason)

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.samples + other.samples,
            self.agreed + other.agreed,
            self.own + other.own,
            self.correct + other.correct,
            self.unmeasured + other.unmeasured,
            self.reason or other.reason,
        )

    @property
    def undefined(self) -> str | None:
        """Why the shares do not exist, or None if they do."""
        return self.reason or (None if self.total else "no samples were decided")

    @property
    def total(self) -> int:
        return int(self.samples.sum())

    def _share(self, count: int) -> float | None:
        return None if self.undefined else count / self.total

    @property
    def nc4_agreement(self) -> float | None:
        """Share of samples whose linear decision is the nearest measured centre.

        The linear decision is over all V classes.

        Wu & Papyan 2024, eq. 9 and 10.
        """
        return self._share(int(self.agreed.sum()))

    @property
    def ncc_accuracy(self) -> float | None:
        """Share of samples whose nearest centre is their own class.

        A sample of an unmeasured class is wrong.
        """
        return self._share(int(self.own.sum()))

    @property
    def unmeasured_share(self) -> float | None:
        """Share of samples whose label or linear decision has no measured centre."""
        return self._share(self.unmeasured)

    @property
    def linear_accuracy(self) -> float | None:
        """Share of samples whose linear decision is their own class."""
        return self._share(int(self.correct.sum()))


@torch.no_grad()
def linear_decisions(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B,) class of the largest score <w_c, h> + b_c of each feature row (B, d).

    It is decided as `NearestCentre` does.

    On the device of the features; without meaning for features or a head that are not finite.
    """
    head = AffineScores(
        weight.to(features.device), None if bias is None else bias.to(features.device)
    )
    return head.argmax(features)


class NearestCentre:
    """The nearest-class-centre decision by the means of the measured classes.

    Measured are the classes with at least `min_count` samples.

    Both decisions are those of exact arithmetic on the numbers given: float32 products screen the
    classes, and those that float32 cannot tell apart are decided in float64; classes equal to the
    rounding of float64 go to the lowest index. So both engines answer alike. `engine`: "torch", or
    "faiss" (`IndexFlatL2`, on the GPU where faiss has one) for the centres.

    The means of `m` are copied; with the means of another precision this gives the `_refmeans`
    columns.

    Example: the head errs on the second sample, which is nearest to its own class.

        >>> moments = ClassMoments(classes=2, dim=2)
        >>> moments.update(torch.tensor([[2., 0.], [0., 2.]]), torch.tensor([0, 1]))
        >>> centres = NearestCentre(moments, min_count=1)
        >>> x_Bxd = torch.tensor([[3., 1.], [1., 2.]])
        >>> centres.nearest(x_Bxd).tolist()
        [0, 1]
        >>> head_Vxd = torch.tensor([[3., 0.], [0., 1.]])
        >>> linear_decisions(x_Bxd, head_Vxd).tolist()
        [0, 0]
        >>> decisions = centres.agreement(x_Bxd, torch.tensor([0, 1]), head_Vxd)
        >>> decisions.nc4_agreement, decisions.ncc_accuracy, decisions.linear_accuracy
        (0.5, 1.0, 0.5)
    """

    def __init__(self, m: ClassMoments, min_count: int = 10, engine: Engine = "torch") -> None:
        if engine not in ("torch", "faiss"):
            raise MomentsError(f"unknown engine {engine!r}: known are 'torch' and 'faiss'")
        measured = MeasuredClasses.of(m, min_count)
        self.moments_shape = (m.classes, m.dim)
        self.device = m.device
        self.indices = measured.indices
        self.measured = m.counts >= min_count
        self.reason = nonfinite_reason(m)
        if self.reason is None and not len(measured):
            self.reason = f"no class has at least {min_count} samples, so there is no centre"
        if self.reason is None:
            # argmin ||h - mu_c|| = argmax <h - mu_G, m_c> - ||m_c||^2 / 2; centred, so that an
            # offset costs no digits
            self.centre = measured.means.centre
            scores = AffineScores(measured.means.matrix(), measured.means.norms.square() / -2)
            self.decide = FaissCentres(scores) if engine == "faiss" else scores

    def nearest(self, features: Tensor) -> Tensor:
        """(B,) class, in [0, V), of the centre nearest to each feature row (B, d).

        Raises MomentsError if there is no centre (see `reason`) or a feature is infinite or NaN.
        """
        if self.reason is not None:
            raise MomentsError(f"there are no centres: {self.reason}")
        if not bool(features.isfinite().all()):
            raise MomentsError("features are infinite or NaN: no centre is nearest to them")
        return self.indices[
            self.decide.argmax(features.to(self.device).to(torch.float64) - self.centre)
        ]

    @torch.no_grad()
    def agreement(
        self,
        features: Tensor,
        labels: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        linear: Tensor | None = None,
    ) -> Agreement:
        """The agreement of one batch.

        Features are (B, d), labels (B,) in [0, V), the head's weight (V, d), its bias (V,) or None.

        `linear`: (B,) `linear_decisions` of this head on these features, where they are known
        already. A batch with a non-finite feature, weight or bias has no decisions, and any sum
        with it is undefined with a reason. Raises MomentsError for shapes or labels that do not
        fit.
        """
        classes, dim = self.moments_shape
        check_head(weight, classes, dim)
        check_batch(features, labels, classes, dim)
        if bias is not None and bias.shape != (classes,):
            raise MomentsError(
                f"the head's bias must have shape ({classes},), got {tuple(bias.shape)}"
            )
        reason = self.reason
        if reason is None and not bool(features.isfinite().all()):
            reason = "validation features are infinite or NaN"
        if reason is None and not bool(
            weight.isfinite().all() and (bias is None or bias.isfinite().all())
        ):
            reason = "the head has an infinite or NaN entry"
        result = Agreement.empty(classes, self.device, reason)
        if reason is not None or not len(labels):
            return result
        labels = labels.to(self.device, torch.int64)
        if linear is None:
            linear = linear_decisions(features.to(self.device), weight, bias)
        nearest = self.nearest(features)
        for counts, classes_of_samples in (
            (result.samples, labels),
            (result.agreed, labels[linear == nearest]),
            (result.own, labels[nearest == labels]),
            (result.correct, labels[linear == labels]),
        ):
            counts.add_(torch.bincount(classes_of_samples, minlength=classes))
        outside = ~self.measured
        unmeasured = int((outside[labels] | outside[linear]).sum())
        return Agreement(result.samples, result.agreed, result.own, result.correct, unmeasured)
