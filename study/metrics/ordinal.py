"""Ordinal neural collapse (ONC) of classes in an order and a cumulative link.

Shapes: N samples, V classes of the model, C measured classes, d feature entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.result import CollapseMetrics

ONC = ("onc1", "onc2", "onc3", "onc3_thresholds")


@torch.no_grad()
def ordinal_collapse(
    m: ClassMoments, weight: Tensor, thresholds: Tensor, *, min_count: int = 10
) -> CollapseMetrics:
    """The onc columns of moments, the head's row (1, d) and thresholds (V - 1,).

    Classes are in their order; measured are those with at least `min_count` samples. The latent of
    a class is z_c = <w, mu_c>, threshold b_c lies between the classes c and c + 1 of the model, and
    neighbours are measured classes with no measured one between them (Ma, Obuchi & Tanaka 2025,
    ONC1 to ONC3; the numbers are this project's):

        onc1              [sum_c N_c s2_c / N] / tr Sigma_B, the formula of nc1_ratio
        onc2              1 - l_1 / sum_i l_i, l_i the eigenvalues of Sigma_B: share of the class
                          means' variance off their first principal axis, in [0, 1)
        onc3              share of the C - 1 pairs of neighbours whose latents do not ascend
        onc3_thresholds   share of those pairs between whose latents not all of their thresholds lie

    All are 0 at full collapse. onc1 and onc2 do not change with rotation, translation or scale of
    the features. Two class means lie on a line always, so that onc2 needs three classes.

    Raises MomentsError for shapes that do not fit.

    Example: three classes on a line in the head's direction, the last two in the wrong order.

        >>> moments = ClassMoments(classes=3, dim=2)
        >>> x = torch.tensor([[0., 0.], [4., 0.], [2., 0.]])
        >>> moments.update(x, torch.tensor([0, 1, 2]))
        >>> columns = ordinal_collapse(
        ...     moments, torch.tensor([[1., 0.]]), torch.tensor([1., 3.]), min_count=1
        ... )
        >>> columns["onc1"], columns["onc2"], columns["onc3"], columns["onc3_thresholds"]
        (0.0, 0.0, 0.5, 0.5)
    """
    if tuple(weight.shape) != (1, m.dim) or tuple(thresholds.shape) != (m.classes - 1,):
        raise MomentsError(
            f"a cumulative link over {m.classes} classes has a weight of shape (1, {m.dim}) and "
            f"{m.classes - 1} thresholds, not {tuple(weight.shape)} and {tuple(thresholds.shape)}"
        )
    out = CollapseMetrics()
    measured = MeasuredClasses.of(m, min_count)
    reason = nonfinite_reason(m)
    if reason is None and len(measured) < 2:
        reason = f"{len(measured)} classes have at least {min_count} samples; two are needed"
    if reason is not None:
        out.undefine(reason, *ONC)
        return out
    counts = measured.counts
    equal = "all class means are equal: they have no between-class spread"
    within = (counts * measured.spreads).sum() / counts.sum()
    out.put_ratio("onc1", within, measured.between_trace, 0, equal)
    _put_onc2(out, measured, equal)
    _put_onc3(out, measured, weight, thresholds.to(m.device, torch.float64))
    return out


def _put_onc2(out: CollapseMetrics, measured: MeasuredClasses, equal: str) -> None:
    if len(measured) < 3:
        out.undefine("the means of two classes always lie on a line", "onc2")
        return
    sizes = torch.linalg.svdvals(measured.means.matrix()).square()
    # The sum of the others, which is small where the means are on a line, cancels nothing.
    out.put_ratio("onc2", sizes[1:].sum(), sizes.sum(), 0, equal)


def _put_onc3(
    out: CollapseMetrics, measured: MeasuredClasses, weight: Tensor, thresholds: Tensor
) -> None:
    w = weight[0].to(thresholds.device, torch.float64)
    if not bool(w.isfinite().all()) or not bool(thresholds.isfinite().all()):
        text = "the head or a threshold is infinite or NaN"
        out.undefine(text, "onc3", "onc3_thresholds")
        return
    latents = torch.cat([measured.means.raw(rows) @ w for rows in measured.means.blocks()])
    below, above = latents[:-1], latents[1:]
    classes = measured.indices
    # With unmeasured classes between two neighbours, several thresholds are between them.
    first, last = thresholds[classes[:-1]], thresholds[classes[1:] - 1]
    between = (below < first) & (last < above)
    out.put("onc3", (above <= below).double().mean())
    out.put("onc3_thresholds", (~between).double().mean())
