"""Out-of-distribution data against the class means (NC5)."""

from __future__ import annotations

import torch

from study.metrics.measured import MeasuredClasses, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.result import CollapseMetrics

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
