"""Frames that class sizes shape: orthogonal (GOF), and of encoded labels (SELI).

Shapes: V classes of the head, C measured classes, d feature entries, K nodes of a quadrature.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.result import CollapseMetrics
from study.metrics.spectra import gram
from study.metrics.vectors import Vectors

GOF_COLUMNS = ("gof_norm_slope", "gof_distance")
SELI_COLUMN = "seli_w_distance"
STEP, REACH = 0.3, 32.0
"""Of the quadrature, in log t: its error is below exp(-pi^2 / STEP) and exp(-REACH)."""


@torch.no_grad()
def imbalance_geometry(
    m: ClassMoments, weight: Tensor | None, class_counts: Tensor, *, min_count: int = 10
) -> CollapseMetrics:
    """Distance of class means and head rows to the frames of imbalanced classes.

    With n_c samples of class c in the training split and measured classes alone:

        gof_norm_slope   least-squares slope of log ||mu_c|| on log n_c over classes; means are not
                         centred
        gof_distance     ||A/||A||_F - D/||D||_F||_F, A = (<mu_c, mu_c'>), D = diag(n_c^-1/2)
        seli_w_distance  ||B/||B||_F - G/||G||_F||_F, B = (<w_c, w_c'>), G = V L V^T, with V L U^T
                         the singular value decomposition of the centred one-hot labels
                         (I - 11^T/C) Y, Y (C, sum_c n_c)

    Distances lie in [0, sqrt 2] and do not change with rotation or scale. Under squared error
    without bias the means of unconstrained features are orthogonal, with
    ||mu_c||^2 = (lambda_W / (lambda_H n_c))^1/2 - N lambda_W / n_c (Dang et al. 2023, imbalanced
    data without bias: the general orthogonal frame); with small decay the first term stays, which
    gives D and the slope -1/4. Under cross-entropy with vanishing decay head rows have the Gram
    matrix G (simplex-encoded-labels interpolation, Thrampoulidis et al. 2022): a simplex frame
    where classes are balanced. Where they are, the slope does not exist.

    G = (P N P)^1/2, with P = I - 11^T/C and N = diag(n_c), and no C x C matrix is formed unless
    C <= d + 1, where the distance can vanish: ||G||_F^2 = tr(P N), and <B, G> is an integral whose
    integrand is known in closed form (`_encoded_trace`).

    Args:
        m: moments of V classes x d.
        weight: (V, d) of the head; None for a layer without one, which then has no column of it.
        class_counts: (V,) samples of each class in the training split.
        min_count: least measured samples of a measured class.

    Raises:
        MomentsError: the weight or the counts do not fit.

    Example: orthogonal means and rows of lengths n_c^-1/4, of 16 and 1 samples.

        >>> moments = ClassMoments(classes=2, dim=2)
        >>> frame_Vxd = torch.tensor([[0.5, 0.], [0., 1.]])
        >>> moments.update(frame_Vxd, torch.tensor([0, 1]))
        >>> counts_V = torch.tensor([16, 1])
        >>> columns = imbalance_geometry(moments, frame_Vxd, counts_V, min_count=1)
        >>> round(columns["gof_norm_slope"], 6), round(columns["gof_distance"], 6)
        (-0.25, 0.0)
    """
    if weight is not None:
        check_head(weight, m.classes, m.dim)
    if class_counts.shape != (m.classes,):
        raise MomentsError(
            f"class_counts must have shape ({m.classes},), got {tuple(class_counts.shape)}"
        )
    out = CollapseMetrics()
    columns = GOF_COLUMNS if weight is None else (*GOF_COLUMNS, SELI_COLUMN)
    measured = MeasuredClasses.of(m, min_count)
    if len(measured) < 2:
        reason = f"{len(measured)} classes have at least {min_count} samples; two are needed"
        out.undefine(reason, *columns)
        return out
    sizes = class_counts.to(m.device)[measured.indices].double()
    if float(sizes.min()) < 1:
        out.undefine("the training split is said to have none of a measured class", *columns)
        return out
    if infinite := nonfinite_reason(m):
        out.undefine(infinite, *GOF_COLUMNS)
    else:
        _put_orthogonal(out, measured.means, sizes)
    if weight is not None:
        _put_encoded(out, measured.head(weight), sizes)
    return out


def _put_orthogonal(out: CollapseMetrics, means: Vectors, sizes_C: Tensor) -> None:
    if not means.in_range:
        out.undefine("the squares of the features are beyond the range of float64", *GOF_COLUMNS)
        return
    zeros = int((means.sizes == 0).sum())
    logs = sizes_C.log()
    logs = logs - logs.mean()
    if zeros:
        out.undefine(f"class means that are the zero vector: {zeros}", "gof_norm_slope")
    elif float(sizes_C.min()) == float(sizes_C.max()):
        out.undefine("all measured classes have equally many samples", "gof_norm_slope")
    else:
        out.put("gof_norm_slope", (logs @ means.sizes.log()) / logs.square().sum())
    if zeros == len(means):
        out.undefine("all class means are the zero vector", "gof_distance")
        return
    squares, frame = means.sizes.square(), sizes_C.rsqrt()
    if len(means) <= means.dim + 1:
        rows = means.raw(slice(None))
        out.put("gof_distance", _distance(rows @ rows.T, frame.diag()))
        return
    products = gram((means.raw(rows) for rows in means.blocks()), means.dim, sizes_C.device)
    norms = torch.linalg.vector_norm(products) * torch.linalg.vector_norm(frame)
    out.put("gof_distance", (2 - 2 * (squares @ frame) / norms).clamp(min=0).sqrt())


def _put_encoded(out: CollapseMetrics, head: Vectors, sizes_C: Tensor) -> None:
    if not head.in_range:
        out.undefine(
            "the head has an infinite, NaN or too large entry in the row of a measured class",
            SELI_COLUMN,
        )
    elif float(head.sizes.max()) == 0:
        out.undefine("all head rows of the measured classes are zero", SELI_COLUMN)
    elif len(head) <= head.dim + 1:
        rows = head.raw(slice(None))
        out.put(SELI_COLUMN, _distance(rows @ rows.T, encoded_gram(sizes_C)))
    else:
        products = gram((head.raw(rows) for rows in head.blocks()), head.dim, sizes_C.device)
        size = (sizes_C.sum() * (1 - 1 / len(head))).sqrt() * torch.linalg.vector_norm(products)
        out.put(SELI_COLUMN, (2 - 2 * _encoded_trace(head, sizes_C) / size).clamp(min=0).sqrt())


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """||a/||a||_F - b/||b||_F||_F."""
    scaled = a / torch.linalg.vector_norm(a) - b / torch.linalg.vector_norm(b)
    distance: Tensor = torch.linalg.vector_norm(scaled)
    return distance


def encoded_gram(sizes_C: Tensor) -> Tensor:
    """(C, C) G = V L V^T = (P N P)^1/2 of classes with n_c samples (SELI).

    Thrampoulidis et al. 2022.

    Example: equal classes give a simplex frame, I - 11^T/C times sqrt n.

        >>> encoded_gram(torch.tensor([4.0, 4.0], dtype=torch.float64)).round(decimals=6).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    count = len(sizes_C)
    centred = sizes_C.diag() - (sizes_C[:, None] + sizes_C) / count + sizes_C.sum() / count**2
    values, axes = torch.linalg.eigh(centred)
    # The least eigenvalue is that of the vector of ones, zero but for rounding.
    result: Tensor = (axes[:, 1:] * values[1:].clamp(min=0).sqrt()) @ axes[:, 1:].T
    return result


def _encoded_trace(head: Vectors, sizes_C: Tensor) -> Tensor:
    """tr(W^T G W) of head rows W without a C x C matrix.

    On vectors that sum to zero, A = P N P has A^1/2 = (2/pi) integral_0^inf A (A + t^2)^-1 dt. For
    the columns b of the centred rows, Lagrange's condition that the solution sums to zero gives

        b^T A (A + s)^-1 b = sum_c n_c b_c^2 / (n_c + s)
                             + [sum_c n_c b_c / (n_c + s)]^2 / (s sum_c 1 / (n_c + s)),

    s = t^2, all terms positive. The trapezoidal rule in log t converges geometrically (Trefethen &
    Weideman 2014), and all eigenvalues of A on these vectors lie between the least and the largest
    n_c.
    """
    low, high = (math.log(float(value)) / 2 for value in (sizes_C.min(), sizes_C.max()))
    t_K = torch.arange(low - REACH, high + REACH, STEP, dtype=torch.float64).exp()
    s_K = t_K.square().to(sizes_C.device)
    inverse_K, squares_K = torch.zeros_like(s_K), torch.zeros_like(s_K)
    sums_Kxd = s_K.new_zeros(len(s_K), head.dim)
    for rows in head.blocks():
        n_R = sizes_C[rows]
        shares_KxR = n_R / (n_R + s_K[:, None])
        inverse_K += (shares_KxR / n_R).sum(dim=1)
        squares_K += shares_KxR @ head.norms[rows].square()
        sums_Kxd += shares_KxR @ head.centred(rows)
    integrand_K = squares_K + sums_Kxd.square().sum(dim=1) / (s_K * inverse_K)
    integral: Tensor = (integrand_K * t_K.to(s_K.device)).sum() * STEP
    return integral * 2 / math.pi
