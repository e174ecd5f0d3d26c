"""Other data: against the class means (NC5), and told apart by scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from study.metrics.measured import MeasuredClasses, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.ood_scores import SCORES, ScoredSamples
from study.metrics.result import CollapseMetrics

Floats = npt.NDArray[np.float64]

ACCEPTED = 0.95
"""Share of in-distribution samples that the false positive rate goes with."""
OOD_COLUMN = "nc5_ood_orthogonality"


@torch.no_grad()
def ood_orthogonality(
    m: ClassMoments, other: ClassMoments, *, min_count: int = 10
) -> CollapseMetrics:
    """`nc5_ood_orthogonality` of class means and the mean of other data.

    It is the mean over measured classes of |cos(mu_c, mu)|, mu the mean feature of other data.

    In [0, 1]; 0 where the other data are orthogonal to every class mean (Ben Ammar et al. 2024,
    NECO, eq. 5). Means are not centred. `other` holds the other data as a single class. Raises
    MomentsError if it has more, or another dim.

    Example: other data that are orthogonal to one class and parallel to the other.

        >>> moments, other = ClassMoments(classes=2, dim=2), ClassMoments(classes=1, dim=2)
        >>> moments.update(torch.tensor([[2., 0.], [0., 3.]]), torch.tensor([0, 1]))
        >>> other.update(torch.tensor([[0., 5.]]), torch.tensor([0]))
        >>> ood_orthogonality(moments, other, min_count=1)["nc5_ood_orthogonality"]
        0.5
    """
    if (other.classes, other.dim) != (1, m.dim):
        raise MomentsError(
            f"the other data must be one class x {m.dim}, got {other.classes} classes x {other.dim}"
        )
    out = CollapseMetrics()
    measured = MeasuredClasses.of(m, min_count)
    mean = other.means[0].to(m.device)
    length = torch.linalg.vector_norm(mean)
    if reason := nonfinite_reason(m):
        out.undefine(reason, OOD_COLUMN)
    elif reason := nonfinite_reason(other):
        out.undefine(f"in the other data, {reason}", OOD_COLUMN)
    elif not len(measured):
        out.undefine(f"no class has at least {min_count} samples", OOD_COLUMN)
    elif float(length) == 0 or not bool((measured.means.sizes > 0).all()):
        out.undefine(
            "the mean of a class or of the other data is the zero vector, which has no direction",
            OOD_COLUMN,
        )
    else:
        products = torch.cat([measured.means.raw(rows) @ mean for rows in measured.means.blocks()])
        out.put(OOD_COLUMN, (products / (measured.means.sizes * length)).abs().mean())
    return out


def auroc(inside: Floats, outside: Floats) -> float:
    """Area under the ROC curve of scores that are to be larger inside, in [0, 1].

    Share of pairs of an in-distribution score (n,) and an other one (m,) of which the first is
    larger, ties counting half (Mann & Whitney 1947); 0.5 where the scores tell nothing. Raises
    ValueError where one of both is empty.

        >>> auroc(np.array([1., 2.]), np.array([0., 2.]))  # (1 + 0 + 1 + 1/2) / 4
        0.625
    """
    _check(inside, outside)
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(ordered, inside, side="right").sum(dtype=np.int64)
    return (int(below) + int(not_above)) / (2 * len(inside) * len(outside))


def fpr95(inside: Floats, outside: Floats) -> float:
    """Share of other samples that are accepted where 95% inside are, in [0, 1].

    Accepted are the scores that reach a threshold: the largest value of a score (n,) inside at
    which at least 95% of these are accepted; equal scores are accepted together. That is the first
    point of the ROC curve with a true positive rate of 0.95 (Liang et al. 2018, ODIN). Raises
    ValueError where one of both is empty.

        >>> fpr95(np.array([3., 2., 1.]), np.array([0., 1., 2., 4.]))
        0.75
    """
    _check(inside, outside)
    rates = np.arange(1, len(inside) + 1) / len(inside)
    threshold = np.sort(inside)[::-1][np.argmax(rates >= ACCEPTED)]
    return int((outside >= threshold).sum()) / len(outside)


def _check(inside: Floats, outside: Floats) -> None:
    if not (len(inside) and len(outside)):
        raise ValueError(f"{len(inside)} scores inside and {len(outside)} outside: none is missing")


@dataclass
class OtherData:
    """What is known of one set of other data.

    Its moments as a single class, and the scores of its samples.
    """

    moments: ClassMoments
    scores: ScoredSamples

    def merge(self, other: OtherData) -> None:
        """Add the samples of another, wherever it collected them."""
        self.moments.merge(other.moments)
        self.scores.merge(other.scores)


@torch.no_grad()
def ood_metrics(
    m: ClassMoments,
    inside: ScoredSamples,
    others: Mapping[str, OtherData],
    *,
    min_count: int = 10,
) -> CollapseMetrics:
    """`nc5_ood_orthogonality`, and `ood_auroc_*` and `ood_fpr95_*` of each score.

    Of one set of other data these are the columns. Of several they are the means over the sets,
    and each set has its own with `_NAME` behind them.

    Args:
        m: moments of training features.
        inside: scores of validation samples.
        others: other data by the name of the set.
        min_count: least samples of a measured class.
    """
    parts = {}
    for name, other in others.items():
        parts[name] = ood_orthogonality(m, other.moments, min_count=min_count)
        _put_detection(parts[name], inside, other.scores)
    if len(parts) == 1:
        return next(iter(parts.values()))
    out = CollapseMetrics()
    for column in next(iter(parts.values())):
        values = [part[column] for part in parts.values()]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            out.put(column, sum(known) / len(known))
        else:
            name = next(name for name, part in parts.items() if part[column] is None)
            out.undefine(f"of {name}, {parts[name].reasons[column]}", column)
    for name, part in parts.items():
        for column, value in part.items():
            if value is None:
                out.undefine(part.reasons[column], f"{column}_{name}")
            else:
                out.put(f"{column}_{name}", value)
    return out


def _put_detection(out: CollapseMetrics, inside: ScoredSamples, outside: ScoredSamples) -> None:
    """Record how well each score tells the samples apart."""
    for score in SCORES:
        columns = (f"ood_auroc_{score}", f"ood_fpr95_{score}")
        own, other = inside.values(score), outside.values(score)
        if reason := inside.reasons.get(score):
            out.undefine(reason, *columns)
        elif not len(own) or not len(other):
            out.undefine("there are no samples to tell apart", *columns)
        elif broken := int((~torch.cat([own, other]).isfinite()).sum()):
            out.undefine(
                f"{broken} of {len(own) + len(other)} samples have no finite score", *columns
            )
        else:
            a, b = own.numpy(), other.numpy()
            out.put(columns[0], auroc(a, b))
            out.put(columns[1], fpr95(a, b))
