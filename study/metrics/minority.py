"""Minority collapse under imbalance.

Classes with few samples lose their own directions.

Shapes: V classes of the head, C measured classes, K of them in the minority, d feature entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments
from study.metrics.result import CollapseMetrics
from study.metrics.vectors import Vectors

IMBALANCED = 2.0
"""Least ratio of the largest class to the smallest at which some classes are called a minority."""

MINORITY_COLUMNS = ("minority_classes", "minority_means_cos", "minority_head_cos")


def minority_classes(class_counts: Tensor) -> Tensor:
    """(K,) classes with fewer training samples than the middle of the sizes.

    They have at least one sample and fewer than the geometric mean of the largest and the smallest.

    Under step imbalance these are the small classes, under exponential imbalance the smaller half.
    None where the largest class is less than twice the smallest.

    Args:
        class_counts: (V,) samples of each class in the training split.

    Example:
        >>> minority_classes(torch.tensor([100, 9, 0, 60, 10])).tolist()
        [1, 4]
    """
    used = class_counts[class_counts > 0].double()
    if not len(used) or used.max() < IMBALANCED * used.min():
        return torch.empty(0, dtype=torch.int64, device=class_counts.device)
    between = (used.max() * used.min()).sqrt()
    return ((class_counts > 0) & (class_counts.double() < between)).nonzero().squeeze(1)


@torch.no_grad()
def minority_collapse(
    m: ClassMoments, weight: Tensor, class_counts: Tensor, *, min_count: int = 10
) -> CollapseMetrics:
    """The mean cosine over pairs of minority classes.

    One of their centred means and one of their centred head rows.

    minority_means_cos = mean over pairs of <u_c, u_c'>, u_c = m_c / ||m_c||, m_c = mu_c - mu_G,
    over the measured classes of the minority, mu_G over all measured classes; minority_head_cos the
    same of w_c - mean w over all classes with training samples. In [-1, 1]: -1/(C-1) in a simplex
    frame, 1 where all have merged (Fang et al. 2021, section 4). Empty where there is no minority.

    Args:
        m: moments of V classes x d.
        weight: (V, d) of the head.
        class_counts: (V,) samples of each class in the training split.
        min_count: least samples of a measured class.

    Example: the two small classes share one mean, their head rows do not.

        >>> moments, means_Vxd = ClassMoments(3, 2), torch.tensor([[1., 0.], [0., 1.], [0., 1.]])
        >>> moments.update(means_Vxd, torch.tensor([0, 1, 2]))
        >>> head_Vxd = torch.tensor([[0., 0.], [1., 0.], [-1., 0.]])
        >>> counts_V = torch.tensor([100, 10, 10])
        >>> columns = minority_collapse(moments, head_Vxd, counts_V, min_count=1)
        >>> {name: round(value, 6) for name, value in columns.items()}
        {'minority_classes': 2, 'minority_means_cos': 1.0, 'minority_head_cos': -1.0}
    """
    check_head(weight, m.classes, m.dim)
    out = CollapseMetrics()
    minority = minority_classes(class_counts.to(m.device))
    if not len(minority):
        return out
    out.put("minority_classes", len(minority))
    measured = MeasuredClasses.of(m, min_count)
    if reason := nonfinite_reason(m):
        out.undefine(reason, "minority_means_cos")
    else:
        among = torch.isin(measured.indices, minority).nonzero().squeeze(1)
        _put_cosine(
            out,
            "minority_means_cos",
            measured.means,
            among,
            f"at least {min_count} measured samples",
        )
    used = (class_counts > 0).nonzero().squeeze(1).to(m.device)
    head = Vectors.of(weight.to(m.device), used)
    if not head.in_range:
        out.undefine("the head has an infinite, NaN or too large entry", "minority_head_cos")
    else:
        among = torch.isin(used, minority).nonzero().squeeze(1)
        _put_cosine(out, "minority_head_cos", head, among, "a training sample")
    return out


def _put_cosine(
    out: CollapseMetrics, column: str, vectors: Vectors, among_K: Tensor, requirement: str
) -> None:
    """Mean over pairs of <u, u'> = (||sum of u||^2 - K) / (K (K - 1))."""
    K = len(among_K)
    if K < 2:
        out.undefine(f"{K} classes of the minority have {requirement}; two are needed", column)
    elif not bool((vectors.norms[among_K] > 0).all()):
        out.undefine(
            "a vector of a minority class equals the mean of all: it has no direction", column
        )
    else:
        total = torch.zeros(vectors.dim, dtype=torch.float64, device=among_K.device)
        for rows in torch.split(among_K, 8192):
            total += (vectors.centred(rows) * vectors.scales[rows, None]).sum(dim=0)
        out.put(column, (total.square().sum() - K) / (K * (K - 1)))
