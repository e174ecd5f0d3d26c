"""Nearest-centre decisions against the head's (NC4), additive over batches.

Shapes: B samples of a batch, V classes of the head, C measured classes, d feature entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from study.metrics.decisions import AffineScores, Question, decide
from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError, all_finite, check_batch


@dataclass(frozen=True)
class Agreement:
    """Counts of decisions by class of the sample (NC4).

    Add the agreements of batches with `+`.

    Attributes:
        samples: (V,) int64 by label, samples decided.
        agreed: those of them whose linear decision is the nearest centre.
        own: those whose nearest centre is their own class.
        correct: those whose linear decision is their own class.
        unmeasured: scalar int64, samples whose label or linear decision is an unmeasured class.
        broken: scalar bool, whether a feature was infinite or NaN. Both stay on the device, so that
            adding waits for nothing.
        cause: why there are no decisions at all, or None.
    """

    samples: Tensor
    agreed: Tensor
    own: Tensor
    correct: Tensor
    unmeasured: Tensor
    broken: Tensor
    cause: str | None = None

    @classmethod
    def empty(cls, classes: int, device: torch.device, reason: str | None = None) -> Agreement:
        def zeros() -> Tensor:
            return torch.zeros(classes, dtype=torch.int64, device=device)

        nothing = torch.zeros((), dtype=torch.int64, device=device)
        return cls(zeros(), zeros(), zeros(), zeros(), nothing, nothing.bool(), reason)

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.samples + other.samples,
            self.agreed + other.agreed,
            self.own + other.own,
            self.correct + other.correct,
            self.unmeasured + other.unmeasured,
            self.broken | other.broken,
            self.cause or other.cause,
        )

    @cached_property
    def reason(self) -> str | None:
        """Why there are no decisions, or None."""
        return self.cause or ("validation features are infinite or NaN" if self.broken else None)

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
        return self._share(int(self.unmeasured))

    @property
    def linear_accuracy(self) -> float | None:
        """Share of samples whose linear decision is their own class."""
        return self._share(int(self.correct.sum()))


class LinearHead:
    """A head's decisions: the class of the largest score <w_c, h> + b_c.

    They are decided as `NearestCentre` does, once for any number of batches.

    Attributes:
        reason: why it decides nothing, or None.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, device: torch.device | None = None
    ) -> None:
        """Weight (V, d) and bias (V,), and where the features lie (where the weight does).

        Raises MomentsError for a bias that does not fit.
        """
        device = weight.device if device is None else device
        self.classes, self.dim = weight.shape
        if bias is not None and bias.shape != (self.classes,):
            raise MomentsError(
                f"the head's bias must have shape ({self.classes},), got {tuple(bias.shape)}"
            )
        finite = all_finite(weight) if bias is None else all_finite(weight) & all_finite(bias)
        self.reason = None if finite else "the head has an infinite or NaN entry"
        self.scores = AffineScores(weight.to(device), None if bias is None else bias.to(device))


class LinkHead:
    """A head's decisions by the largest of its logits, linear in the features or not.

    Attributes:
        reason: why it decides nothing, or None.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], *parameters: Tensor) -> None:
        """`logits` of features (B, d) are (B, V) and depend on `parameters`."""
        self.logits = logits
        finite = all(bool(all_finite(each)) for each in parameters)
        self.reason = None if finite else "the head has an infinite or NaN entry"


@torch.no_grad()
def linear_decisions(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B,) class of the largest score <w_c, h> + b_c of each feature row (B, d).

    It is decided as `NearestCentre` does.

    On the device of the features; without meaning for features or a head that are not finite.
    """
    return LinearHead(weight, bias, features.device).scores.argmax(features)


@torch.no_grad()
def agreements(
    labels: Tensor,
    centres: Mapping[str, tuple[NearestCentre, Tensor]],
    head: tuple[LinearHead | LinkHead, Tensor] | None = None,
    products: Tensor | None = None,
) -> dict[str, Agreement]:
    """The agreement of one batch with several sets of class centres.

    All decisions are taken together, so a device is waited for once. Features that are not finite
    leave an agreement without shares, for a reason.

    Args:
        labels: (B,) in [0, V), on the device of the features.
        centres: by name, with the features (B, d) that they decide on.
        head: the head and its features, the very tensor that centres at its input come with.
            Other centres, of inner layers, agree with no head.
        products: (B, V) float32 scores of a linear head, as `Question` has them.
    """
    questions = []
    if head is not None and isinstance(head[0], LinearHead):
        questions.append(Question(head[0].scores, head[1], products))
    reasons, numbers = {}, {}
    for name, (centre, h) in centres.items():
        at_head = head is not None and h is head[1]
        reasons[name] = centre.reason or (head[0].reason if head is not None and at_head else None)
        if reasons[name] is None:
            numbers[name] = len(questions)
            questions.append(Question(centre.decide, h.to(centre.device)))
    answers = decide(questions) if len(labels) and None in reasons.values() else []
    broken = {key: ~all_finite(h) for key, h in {id(h): h for _, h in centres.values()}.items()}
    result = {}
    for name, (centre, h) in centres.items():
        empty = Agreement.empty(centre.moments_shape[0], h.device, reasons[name])
        result[name] = empty
        if reasons[name] is not None or not len(labels):
            continue
        nearest = centre.indices[answers[numbers[name]]]
        outside = (~centre.measured)[labels]
        counts = [(empty.samples, torch.ones_like(labels)), (empty.own, nearest == labels)]
        if head is not None and h is head[1]:
            own = head[0]
            linear = answers[0] if isinstance(own, LinearHead) else own.logits(h).argmax(dim=1)
            outside = outside | (~centre.measured)[linear]
            counts += [(empty.agreed, linear == nearest), (empty.correct, linear == labels)]
        for total, of_samples in counts:
            total.index_add_(0, labels, of_samples.long())
        result[name] = replace(empty, unmeasured=outside.sum(), broken=broken[id(h)])
    return result


class NearestCentre:
    """The nearest-class-centre decision by the means of the measured classes.

    Measured are the classes with at least `min_count` samples.

    Both decisions are those of exact arithmetic on the numbers given: float32 products screen the
    classes, and those that float32 cannot tell apart are decided in float64; classes equal to the
    rounding of float64 go to the lowest index.

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

    def __init__(self, m: ClassMoments, min_count: int = 10) -> None:
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
            self.means = measured.means.matrix()
            self.decide = AffineScores(self.means, measured.means.norms.square() / -2, self.centre)

    def nearest(self, features: Tensor) -> Tensor:
        """(B,) class, in [0, V), of the centre nearest to each feature row (B, d).

        Raises MomentsError if there is no centre (see `reason`) or a feature is infinite or NaN.
        """
        if self.reason is not None:
            raise MomentsError(f"there are no centres: {self.reason}")
        if not all_finite(features):
            raise MomentsError("features are infinite or NaN: no centre is nearest to them")
        return self.indices[self.decide.argmax(features.to(self.device))]

    def means_of(self, classes: Tensor) -> Tensor:
        """(B, d) float64 means of measured classes (B,), minus the mean of all centres."""
        return self.means[torch.searchsorted(self.indices, classes)]

    def centred(self, features: Tensor) -> Tensor:
        """(B, d) float64 features minus the mean of the centres, on their device."""
        return features.to(self.device).to(torch.float64) - self.centre

    def agreement(
        self,
        features: Tensor,
        labels: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
    ) -> Agreement:
        """The agreement of one batch.

        Features are (B, d), labels (B,) in [0, V), the head's weight (V, d), its bias (V,) or None.

        A batch with a non-finite feature, weight or bias has no decisions, and any sum with it is
        undefined with a reason. Raises MomentsError for shapes or labels that do not fit.
        """
        classes, dim = self.moments_shape
        check_head(weight, classes, dim)
        check_batch(features, labels, classes, dim)
        head = LinearHead(weight, bias, self.device)
        here = features.to(self.device)
        there = labels.to(self.device, torch.int64)
        return agreements(there, {"": (self, here)}, (head, here))[""]
