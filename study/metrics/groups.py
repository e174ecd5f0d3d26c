"""How far groups of samples are treated apart: accuracy and self-duality by group.

Shapes: V classes of the head, C measured classes, K of them with samples of a group, d feature
entries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.result import ROUNDING, CollapseMetrics
from study.metrics.scores import Scores
from study.metrics.vectors import Vectors

ACCURACY_COLUMNS = ("group_accuracy_gap", "group_accuracy_gap_se", "group_accuracy_worst")


@dataclass(frozen=True)
class GroupSums:
    """Sums over the samples of one group.

    moments  of training samples, by class
    scores   of validation samples
    """

    moments: ClassMoments
    scores: Scores


@torch.no_grad()
def group_gaps(
    m: ClassMoments, groups: Mapping[str, GroupSums], weight: Tensor, *, min_count: int = 10
) -> CollapseMetrics:
    """Gaps between the groups of samples g.

    With a_g the accuracy on the n_g validation samples of group g,

        group_accuracy_gap      max_g a_g - min_g a_g, in [0, 1]
        group_accuracy_gap_se   sqrt(sum of a_g (1 - a_g) / n_g over these two groups), the standard
                                error that the gap has where samples are independent
        group_accuracy_worst    min_g a_g (worst-group accuracy; Sagawa et al. 2020, section 2)

    and with c_g the mean of cos(w_c - mean w, mu_(c,g) - mu_G) over the K classes with at least
    `min_count` training samples of the group, mu_(c,g) their mean in it, mu_G and mean w over all
    measured classes,

        group_cosine_gap        max_g c_g - min_g c_g, in [0, 2]

    Where each class has one group, mu_(c,g) is its mean mu_c and c_g the self-duality (NC3) of the
    classes of a group, as Xu et al. 2025 (arXiv 2410.04472) measure it on gendered words alone. All
    are largest differences, which chance alone keeps above zero. Of equal gaps that of the first
    groups counts.

    Args:
        m: moments of all training samples, V classes x d.
        groups: at least two by name, moments of V classes x d.
        weight: (V, d) of the head.
        min_count: least samples of a measured class, and of a class in a group.

    Raises MomentsError for fewer than two groups, or shapes that do not fit.

    Example: the head errs on a sample of the second group, whose means lie across its rows.

        >>> h_Nxd = torch.tensor([[1., 0.], [-1., 0.], [0., 1.], [0., -1.]])
        >>> whole, y_N = ClassMoments(2, 2), torch.tensor([0, 1, 0, 1])
        >>> whole.update(h_Nxd, y_N)
        >>> groups = {name: GroupSums(ClassMoments(2, 2), Scores()) for name in ("a", "b")}
        >>> groups["a"].moments.update(h_Nxd[:2], y_N[:2])
        >>> groups["b"].moments.update(h_Nxd[2:], y_N[2:])
        >>> groups["a"].scores.update(torch.eye(2), torch.tensor([0, 1]))
        >>> groups["b"].scores.update(torch.eye(2), torch.tensor([0, 0]))
        >>> gaps = group_gaps(whole, groups, h_Nxd[:2], min_count=1)
        >>> gaps["group_accuracy_gap"], gaps["group_accuracy_worst"], gaps["group_cosine_gap"]
        (0.5, 0.5, 1.0)
    """
    check_head(weight, m.classes, m.dim)
    if len(groups) < 2:
        raise MomentsError(f"gaps need two groups, got {len(groups)}")
    for name, sums in groups.items():
        if (sums.moments.classes, sums.moments.dim) != (m.classes, m.dim):
            raise MomentsError(
                f"moments of group {name!r} are of {sums.moments.classes} classes x "
                f"{sums.moments.dim}, those of all samples of {m.classes} x {m.dim}"
            )
    out = CollapseMetrics()
    _put_accuracies(out, {name: sums.scores for name, sums in groups.items()})
    _put_cosines(out, m, {name: sums.moments for name, sums in groups.items()}, weight, min_count)
    return out


def _put_accuracies(out: CollapseMetrics, scores: Mapping[str, Scores]) -> None:
    if empty := [name for name, own in scores.items() if not own.samples]:
        out.undefine(f"no validation sample in {_listed(empty)}", *ACCURACY_COLUMNS)
        return
    if not all(math.isfinite(own.loss) for own in scores.values()):
        out.undefine("the logits of a measured sample are not finite", *ACCURACY_COLUMNS)
        return
    best, worst = (choose(scores.values(), key=_accuracy) for choose in (max, min))
    out.put("group_accuracy_gap", best.accuracy - worst.accuracy)
    variances = (own.accuracy * (1 - own.accuracy) / own.samples for own in (best, worst))
    out.put("group_accuracy_gap_se", math.sqrt(math.fsum(variances)))
    out.put("group_accuracy_worst", worst.accuracy)


def _accuracy(scores: Scores) -> float:
    return scores.accuracy


def _put_cosines(
    out: CollapseMetrics,
    m: ClassMoments,
    groups: Mapping[str, ClassMoments],
    weight: Tensor,
    min_count: int,
) -> None:
    column, measured = "group_cosine_gap", MeasuredClasses.of(m, min_count)
    if reason := nonfinite_reason(m):
        out.undefine(reason, column)
        return
    if len(measured) < 2:
        out.undefine(
            f"{len(measured)} classes have at least {min_count} samples; two are needed", column
        )
        return
    few = [name for name, own in groups.items() if not bool((own.counts >= min_count).any())]
    if few:
        out.undefine(
            f"no class has {min_count} training samples in {_listed(few)}; lower measure.min_count",
            column,
        )
        return
    head = measured.head(weight)
    if not (head.in_range and measured.means.in_range):
        out.undefine("head or class means are infinite, NaN or too large to be squared", column)
        return
    means = []
    for name, own in groups.items():
        cosine = _mean_cosine(measured, own, head, min_count)
        if cosine is None:
            out.undefine(
                f"a class mean in {_listed([name])}, or its row of the head, equals the mean of "
                "all: it has no direction",
                column,
            )
            return
        means.append(cosine)
    out.put(column, max(means) - min(means))


def _mean_cosine(
    measured: MeasuredClasses, own: ClassMoments, head: Vectors, min_count: int
) -> float | None:
    """c_g of a group; None where a vector has no direction."""
    classes_K = (own.counts >= min_count).nonzero().squeeze(1)
    places_K = torch.searchsorted(measured.indices, classes_K.to(measured.indices.device))
    source, rows = own.rows_of(classes_K)
    means = Vectors.of(source, rows)
    total, centre = 0.0, measured.means.centre
    for part in means.blocks():
        m_Rxd, w_Rxd = means.raw(part).to(centre.device) - centre, head.centred(places_K[part])
        sizes_R = torch.linalg.vector_norm(m_Rxd, dim=1)
        noise_R = ROUNDING * (means.sizes[part].to(centre.device) + centre.norm())
        if bool((sizes_R <= noise_R).any()) or bool((head.norms[places_K[part]] == 0).any()):
            return None
        cosines_R = torch.linalg.vecdot(w_Rxd, m_Rxd) / (sizes_R * head.norms[places_K[part]])
        total += float(cosines_R.sum())
    return total / len(classes_K)


def _listed(names: list[str]) -> str:
    return f"group{'s' * (len(names) > 1)} {', '.join(names)}"
