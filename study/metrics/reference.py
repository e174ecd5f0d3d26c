"""A quantized model against the class means of its reference precision."""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.duality import undirected
from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.result import CollapseMetrics
from study.metrics.vectors import Vectors

REFERENCE_COLUMNS = ("nc3_cosine_mean_refmeans", "mean_drift")


@torch.no_grad()
def reference_drift(
    m: ClassMoments, reference: ClassMoments, weight: Tensor, *, min_count: int = 10
) -> CollapseMetrics:
    """`nc3_cosine_mean_refmeans` and `mean_drift` of a precision.

    Computed from its moments and head and the moments of its reference.

    nc3_cosine_mean_refmeans = mean_c cos(w_c, m_c) with w_c of the precision and m_c of the
    reference; mean_drift = mean_c ||mu_c^q - mu_c||^2 / tr Sigma_B, mu_c and Sigma_B of the
    reference. Both moments must come from the same samples. (The decisions with reference means are
    those of `NearestCentre(reference)`.)

    Raises MomentsError if the shapes do not fit or the class counts differ.

    Example: the precision moves every mean by 1; the reference's lie 3 from their centre.

        >>> reference, quantized = ClassMoments(2, 1), ClassMoments(2, 1)
        >>> reference.update(torch.tensor([[-3.], [3.]]), torch.tensor([0, 1]))
        >>> quantized.update(torch.tensor([[-2.], [4.]]), torch.tensor([0, 1]))
        >>> drift = reference_drift(quantized, reference, torch.tensor([[-1.], [1.]]), min_count=1)
        >>> round(drift["mean_drift"], 6), drift["nc3_cosine_mean_refmeans"]
        (0.111111, 1.0)
    """
    check_head(weight, m.classes, m.dim)
    out = CollapseMetrics()
    if (m.classes, m.dim) != (reference.classes, reference.dim):
        raise MomentsError(
            f"moments of {m.classes} classes x {m.dim} cannot be compared with a reference of "
            f"{reference.classes} classes x {reference.dim}"
        )
    if reason := nonfinite_reason(reference):
        out.undefine(f"in the reference, {reason}", *REFERENCE_COLUMNS)
        return out
    measured = MeasuredClasses.of(reference, min_count)
    if len(measured) < 2:
        out.undefine(
            f"{len(measured)} classes have at least {min_count} samples; two are needed",
            *REFERENCE_COLUMNS,
        )
        return out
    _put_cosine(out, measured.means, measured.head(weight))
    _put_drift(out, m, measured)
    return out


def _put_cosine(out: CollapseMetrics, means: Vectors, head: Vectors) -> None:
    if not head.in_range:
        broken = "the head has an infinite, NaN or too large entry in the row of a measured class"
        out.undefine(broken, "nc3_cosine_mean_refmeans")
    elif reason := undirected(means, head.sizes):
        out.undefine(reason, "nc3_cosine_mean_refmeans")
    else:
        dots = torch.cat(
            [torch.linalg.vecdot(head.raw(rows), means.centred(rows)) for rows in means.blocks()]
        )
        out.put("nc3_cosine_mean_refmeans", (dots / (head.sizes * means.norms)).mean())


def _put_drift(out: CollapseMetrics, m: ClassMoments, reference: MeasuredClasses) -> None:
    if reason := nonfinite_reason(m):
        out.undefine(reason, "mean_drift")
        return
    if not bool((m.counts == reference.moments.counts.to(m.device)).all()):
        raise MomentsError(
            "the moments and their reference count different samples; collect both from the same "
            "ones"
        )
    means, numbers = m.rows_of(reference.indices.to(m.device))
    device = reference.moments.device
    shifts = [
        (means[numbers[rows]].to(device) - reference.means.raw(rows)).square().sum(dim=1)
        for rows in reference.means.blocks()
    ]
    equal = "all class means of the reference are equal: they have no between-class spread"
    out.put_ratio("mean_drift", torch.cat(shifts).mean(), reference.between_trace, 0, equal)
