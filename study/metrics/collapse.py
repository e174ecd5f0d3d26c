"""All columns that follow from moments and head."""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.duality import (
    DUALITY_COLUMNS,
    HEAD_COLUMNS,
    put_duality,
    put_head,
    put_row_sum,
)
from study.metrics.geometry import FEATURE_COLUMNS, put_geometry
from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments
from study.metrics.result import CollapseMetrics


@torch.no_grad()
def collapse_metrics(m: ClassMoments, weight: Tensor, *, min_count: int = 10) -> CollapseMetrics:
    """The nc0 to unc3 columns, and what was measured.

    Computed from the moments of V classes x d and the head's weight (V, d).

    Classes with at least `min_count` samples are measured; nc0 columns take every row of the head.
    Formulas and sources: `study.columns.METRICS` and the functions of geometry.py,
    duality.py, pairs.py and spectra.py. Time is that of half the pair matrix as a float64 product
    (C^2 d flops) and a little; memory O(tile^2 + C d).

    Every column is in the result; those that do not exist for these data are None with a reason.
    Raises MomentsError if the weight does not fit the moments or min_count < 1.

    Example: two classes of two samples each on a line, one of them twice as wide as the other.

        >>> moments = ClassMoments(classes=3, dim=1)
        >>> x_Bxd = torch.tensor([[-3.], [-1.], [4.], [8.]])
        >>> moments.update(x_Bxd, torch.tensor([0, 0, 1, 1]))
        >>> metrics = collapse_metrics(moments, torch.tensor([[-1.], [2.], [9.]]), min_count=2)
        >>> metrics["classes_measured"], metrics["nc3_cosine_mean"]
        (2, 1.0)
        >>> metrics["nc1_cdnv_galanti"]  # (1 + 4) / (2 * 8^2)
        0.0390625
        >>> metrics["nc1_pinv"] is None, metrics.reasons["nc1_pinv"]
        (True, 'needs the scatter: collect with ClassMoments(..., scatter=True)')
    """
    check_head(weight, m.classes, m.dim)
    measured = MeasuredClasses.of(m, min_count)
    out = CollapseMetrics()
    out.put("classes_measured", len(measured))
    out.put("samples_measured", int(measured.counts.sum()))
    out.put("min_count", min_count)
    put_row_sum(out, weight)
    infinite = nonfinite_reason(m)
    if len(measured) < 2:
        reason = f"{len(measured)} classes have at least {min_count} samples; two are needed"
        out.undefine(infinite or reason, *FEATURE_COLUMNS, *DUALITY_COLUMNS)
        out.undefine(reason, *HEAD_COLUMNS)
        return out
    head = measured.head(weight)
    if head.in_range:
        head_gram = put_head(out, head)
    else:
        reason = "the head has an infinite, NaN or too large entry in the row of a measured class"
        out.undefine(reason, *HEAD_COLUMNS, *DUALITY_COLUMNS)
    if not infinite and not (measured.means.in_range and bool(measured.spreads.isfinite().all())):
        infinite = "the squares of the features are beyond the range of float64"
    if infinite:
        out.undefine(infinite, *FEATURE_COLUMNS, *DUALITY_COLUMNS)
        return out
    means_gram = put_geometry(out, measured)
    if head.in_range:
        put_duality(out, measured.means, head, means_gram, head_gram)
    return out
