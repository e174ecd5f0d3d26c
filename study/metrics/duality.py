"""Self-duality (NC3) of class means and head rows, and the head alone (NC0, NC2).

Shapes: C measured classes, d feature entries. Notation: w_c head row, m_c = mu_c - mu_G centred
class mean, u_c = m_c / ||m_c||.

Example: head rows that point at the class means, one of them twice as long as the other.

    >>> from study.metrics import ClassMoments, collapse_metrics
    >>> moments = ClassMoments(classes=2, dim=2)
    >>> moments.update(torch.tensor([[4., 1.], [0., 1.]]), torch.tensor([0, 1]))
    >>> metrics = collapse_metrics(moments, torch.tensor([[1., 0.], [-2., 0.]]), min_count=1)
    >>> metrics["nc3_cosine_mean"], metrics["nc3_distance"], metrics["unc3_cosine_std"]
    (1.0, 0.0, 0.0)
    >>> metrics["nc3_dot_mean"], metrics["nc3_dot_std"]  # of 2 and 4
    (3.0, 1.0)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from study.metrics.measured import no_direction
from study.metrics.result import ROUNDING, CollapseMetrics, mean_std
from study.metrics.spectra import centred_gram, cosine_mean_std, etf_error
from study.metrics.vectors import Vectors, inverse_or_zero

ROW_SUM_COLUMNS = ("nc0_row_sum", "nc0_row_sum_norm")
HEAD_COLUMNS = ("nc2_w_equinorm", "nc2_w_interference_std", "nc2_w_etf_error")
COSINE = ("nc3_cosine_mean", "unc3_cosine_std", "unc3_cosine_cov", "nc3_distance")
CENTRED = ("nc3_centred_error", "unc3_centred_variance")
DUALITY_COLUMNS = (
    *COSINE,
    *CENTRED,
    "nc3_dot_mean",
    "nc3_dot_std",
    "nc3_frobenius",
    "nc3_dual_error",
)

HEAD_EQUAL = "all head rows of the measured classes are equal"


def put_row_sum(out: CollapseMetrics, weight: Tensor) -> None:
    """Record the NC0 columns of a head: all V rows w_c (V, d), measured or not.

    nc0_row_sum = ||sum_c w_c||^2 / (V sum_c ||w_c||^2), in [0, 1] (Cauchy-Schwarz), whatever the
    scale of the head; nc0_row_sum_norm = ||mean_c w_c||. Rows that are dual to centred class means
    sum to zero (NC0 of Zhao et al. 2026, arXiv 2602.16642). Sums are in float64.
    """
    total = weight.sum(dim=0, dtype=torch.float64)
    squares = torch.linalg.vector_norm(weight, dtype=torch.float64).square()
    if not bool(squares.isfinite()):
        out.undefine("the head has an infinite, NaN or too large entry", *ROW_SUM_COLUMNS)
        return
    out.put("nc0_row_sum_norm", torch.linalg.vector_norm(total) / len(weight))
    out.put_ratio(
        "nc0_row_sum",
        total.square().sum(),
        len(weight) * squares,
        0,
        "all head rows are zero",
    )


def put_head(out: CollapseMetrics, head: Vectors) -> Tensor:
    """Record the NC2 columns of C >= 2 head rows around their mean.

    Returns the (d, d) Gram matrix of the centred rows.
    """
    head_gram = centred_gram(head)
    if head.vanishing == len(head):
        out.undefine(HEAD_EQUAL, *HEAD_COLUMNS)
        return head_gram
    mean, std = mean_std(head.norms)
    out.put("nc2_w_equinorm", std / mean)
    out.put("nc2_w_etf_error", etf_error(torch.linalg.eigvalsh(head_gram), len(head)))
    if head.vanishing:
        out.undefine(
            f"head rows that equal the mean row: {head.vanishing}; a zero vector has no direction",
            "nc2_w_interference_std",
        )
    else:
        out.put("nc2_w_interference_std", cosine_mean_std(head, centred=True)[1])
    return head_gram


def put_duality(
    out: CollapseMetrics, means: Vectors, head: Vectors, means_gram: Tensor, head_gram: Tensor
) -> None:
    """Record the NC3 columns of C >= 2 class means and their head rows.

    They follow from both and from their centred (d, d) Gram matrices.

    Angles enter as squared distances of unit vectors, cos = 1 - ||a - b||^2 / 2, which do not
    cancel at duality.
    """
    means_size, head_size = (
        torch.linalg.vector_norm(means.norms),
        torch.linalg.vector_norm(head.sizes),
    )
    head_scales = inverse_or_zero(head.sizes)
    dots, squares, centred_squares = torch.empty(
        3, len(means), dtype=torch.float64, device=means.norms.device
    )
    frobenius = means_size.new_zeros(())
    for rows in means.blocks():
        w, m = head.raw(rows), means.centred(rows)
        dots[rows] = torch.linalg.vecdot(w, m)
        frobenius += (w / head_size).sub_(m / means_size).square_().sum()
        u = m.mul_(means.scales[rows, None])
        squares[rows] = (w * head_scales[rows, None]).sub_(u).square_().sum(dim=1)
        centred_squares[rows] = (
            head.centred(rows).mul_(head.scales[rows, None]).sub_(u).square_().sum(dim=1)
        )
    mean, std = mean_std(dots)
    out.put("nc3_dot_mean", mean)
    out.put("nc3_dot_std", std)
    _put_cosines(out, squares, undirected(means, head.sizes))
    _put_centred(out, centred_squares, undirected(means, head.norms))
    if means.vanishing == len(means):
        out.undefine(
            "all class means are equal: there is nothing to be dual to",
            "nc3_frobenius",
            "nc3_dual_error",
        )
    elif float(head_size) == 0:
        out.undefine(
            "all head rows of the measured classes are zero", "nc3_frobenius", "nc3_dual_error"
        )
    else:
        out.put("nc3_frobenius", frobenius.sqrt())
        _put_dual_error(out, means, head, dots.sum(), means_gram, head_gram)


def undirected(means: Vectors, row_norms: Tensor) -> str | None:
    """Why the angles between centred means and head rows do not exist, or None.

    Both are given by their norms.
    """
    if means.vanishing:
        return no_direction(means)
    zero_rows = int((row_norms == 0).sum())
    return (
        f"zero head rows of measured classes: {zero_rows}; they have no direction"
        if zero_rows
        else None
    )


def _put_cosines(out: CollapseMetrics, squares_C: Tensor, reason: str | None) -> None:
    """Record cos(w_c, m_c) over c, and the distance of the directions.

    The cosine is that of Wu & Papyan 2024, eq. 8, the mean ||w_c/||w_c|| - u_c|| that of Papyan
    et al. 2020.
    """
    if reason:
        out.undefine(reason, *COSINE)
        return
    mean, std = mean_std(1 - squares_C / 2)
    out.put("nc3_cosine_mean", mean)
    out.put("unc3_cosine_std", std)
    out.put_ratio("unc3_cosine_cov", std, mean.abs(), ROUNDING, "the mean cosine is zero")
    out.put("nc3_distance", squares_C.sqrt().mean())


def _put_centred(out: CollapseMetrics, squares_C: Tensor, reason: str | None) -> None:
    """Mean and variance over c of 1 - cos(w_c - mean w, m_c)."""
    if reason:
        out.undefine(
            reason.replace("zero head rows", "head rows that equal the mean row,"), *CENTRED
        )
        return
    mean, std = mean_std(squares_C / 2)
    out.put("nc3_centred_error", mean)
    out.put("unc3_centred_variance", std.square())


def _put_dual_error(
    out: CollapseMetrics,
    means: Vectors,
    head: Vectors,
    trace: Tensor,
    means_gram: Tensor,
    head_gram: Tensor,
) -> None:
    """`nc3_dual_error` of means M and head rows W (Kothapalli 2023).

    || B/||B||_F - G* ||_F, B = W M^T, G* = (I - 11^T/C) / sqrt(C-1).

    1^T B 1 = 0 because the m_c sum to zero, so <B, G*> = tr B / sqrt(C-1), and ||B||_F^2 = <W^T W,
    M^T M>. That form cancels as the error vanishes, which takes C <= d + 1: there the C x C matrix
    is formed.
    """
    count, dim = len(means), means.dim
    scale = math.sqrt(count - 1)
    if count <= dim + 1:
        product = head.raw(slice(None)) @ means.matrix().T
        size = torch.linalg.vector_norm(product)
        frame = (torch.eye(count, dtype=product.dtype, device=product.device) - 1 / count) / scale
        error = torch.linalg.vector_norm(product / size - frame)
    else:
        # W^T W = (its centred form) + C mean mean^T
        squared = (head_gram * means_gram).sum() + count * (head.centre @ means_gram @ head.centre)
        size = squared.clamp(min=0).sqrt()
        error = (2 - 2 * trace / (scale * size)).clamp(min=0).sqrt()
    if float(size) == 0:
        out.undefine("every head row is orthogonal to every centred class mean", "nc3_dual_error")
    else:
        out.put("nc3_dual_error", error)
