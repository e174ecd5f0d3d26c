"""Self-duality (NC3) of the class means and the head's rows, and the frame geometry of the head.

Shapes: C measured classes, d feature entries. Notation: w_c head row, m_c = mu_c - mu_G centred class mean,
u_c = m_c / ||m_c||.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses, Vectors, unit_rows
from study.metrics.result import ROUNDING, CollapseMetrics, mean_std
from study.metrics.spectra import cosine_mean_std, etf_error, gram

HEAD_COLUMNS = ("nc2_w_equinorm", "nc2_w_interference_std", "nc2_w_etf_error")
COSINE = ("nc3_cosine_mean", "unc3_cosine_std", "unc3_cosine_cov", "nc3_distance")
CENTRED = ("nc3_centred_error", "unc3_centred_variance")
DUALITY_COLUMNS = (*COSINE, *CENTRED, "nc3_dot_mean", "nc3_dot_std", "nc3_frobenius", "nc3_dual_error")

HEAD_EQUAL = "all head rows of the measured classes are equal"


def put_head(out: CollapseMetrics, rows: Vectors) -> Tensor:
    """Record the NC2 columns of C >= 2 head rows around their mean; returns the (d, d) Gram matrix of the rows."""
    rows_gram = gram(rows.centred)
    if rows.vanishing == len(rows.norms):
        out.undefine(HEAD_EQUAL, *HEAD_COLUMNS)
        return rows_gram
    mean, std = mean_std(rows.norms)
    out.put("nc2_w_equinorm", std / mean)
    out.put("nc2_w_etf_error", etf_error(rows_gram, len(rows.norms)))
    if rows.vanishing:
        out.undefine(f"{rows.vanishing} head rows equal the mean row and have no direction", "nc2_w_interference_std")
    else:
        out.put("nc2_w_interference_std", cosine_mean_std(rows.directions())[1])
    return rows_gram


def put_duality(
    out: CollapseMetrics,
    measured: MeasuredClasses,
    weight_Cxd: Tensor,
    rows: Vectors,
    means_gram: Tensor,
    rows_gram: Tensor,
) -> None:
    """Record the NC3 columns of C >= 2 measured classes and their head rows.

    rows: the head rows around their mean; means_gram, rows_gram: (d, d) M^T M and the Gram matrix of the centred rows.
    """
    vectors = measured.around_mean
    norms = torch.linalg.vector_norm(weight_Cxd, dim=1)
    dots = torch.linalg.vecdot(weight_Cxd, vectors.centred)
    mean, std = mean_std(dots)
    out.put("nc3_dot_mean", mean)
    out.put("nc3_dot_std", std)
    put_cosines(out, vectors, weight_Cxd, norms)
    _put_centred(out, vectors, rows)
    if vectors.vanishing == len(measured):
        out.undefine("all class means are equal: there is nothing to be dual to", "nc3_frobenius", "nc3_dual_error")
    elif not bool(norms.any()):
        out.undefine("all head rows of the measured classes are zero", "nc3_frobenius", "nc3_dual_error")
    else:
        scaled_means = vectors.centred / torch.linalg.vector_norm(vectors.norms)
        distance = torch.linalg.vector_norm(torch.sub(weight_Cxd / torch.linalg.vector_norm(norms), scaled_means))
        out.put("nc3_frobenius", distance)
        _put_dual_error(out, vectors, weight_Cxd, rows.centre, dots.sum(), means_gram, rows_gram)


def undirected(vectors: Vectors, norms: Tensor) -> str | None:
    """Why the angles between centred means and head rows (of the given norms) do not exist, or None if they do."""
    if vectors.vanishing:
        return f"the mean of {vectors.vanishing} classes is the global mean: a zero vector has no direction"
    zero_rows = int((norms == 0).sum())
    return f"{zero_rows} measured classes have a zero head row, which has no direction" if zero_rows else None


def put_cosines(out: CollapseMetrics, vectors: Vectors, weight_Cxd: Tensor, norms: Tensor) -> None:
    """cos(w_c, m_c) over c (Wu & Papyan eq. 8) and mean ||w_c/||w_c|| - u_c|| (Papyan et al. 2020)."""
    if reason := undirected(vectors, norms):
        out.undefine(reason, *COSINE)
        return
    squares = _squared_distances(unit_rows(weight_Cxd, norms), vectors)
    mean, std = mean_std(1 - squares / 2)
    out.put("nc3_cosine_mean", mean)
    out.put("unc3_cosine_std", std)
    out.put_ratio("unc3_cosine_cov", std, mean.abs(), ROUNDING, "the mean cosine is zero")
    out.put("nc3_distance", squares.sqrt().mean())


def _put_centred(out: CollapseMetrics, vectors: Vectors, rows: Vectors) -> None:
    """Mean and variance over c of 1 - cos(w_c - mean w, m_c), as half squared distances, which do not cancel."""
    reason = undirected(vectors, rows.norms)
    if reason:
        out.undefine(reason.replace("a zero head row", "a head row equal to the mean row"), *CENTRED)
        return
    mean, std = mean_std(_squared_distances(rows.directions(), vectors) / 2)
    out.put("nc3_centred_error", mean)
    out.put("unc3_centred_variance", std.square())


def _squared_distances(units_Cxd: Tensor, vectors: Vectors) -> Tensor:
    """(C,) ||unit - u_c||^2; overwrites the units."""
    return units_Cxd.sub_(vectors.directions()).square_().sum(dim=1)


def _put_dual_error(
    out: CollapseMetrics,
    vectors: Vectors,
    weight_Cxd: Tensor,
    weight_mean: Tensor,
    trace: Tensor,
    means_gram: Tensor,
    rows_gram: Tensor,
) -> None:
    """|| B/||B||_F - G* ||_F, B = W M^T, G* = (I - 11^T/C) / sqrt(C-1) (Kothapalli 2023).

    1^T B 1 = 0 because the m_c sum to zero, so <B, G*> = tr B / sqrt(C-1), and ||B||_F^2 = <W^T W, M^T M>. That form
    cancels as the error vanishes, which takes C <= d + 1: there the C x C matrix is formed.
    """
    count, dim = weight_Cxd.shape
    scale = math.sqrt(count - 1)
    if count <= dim + 1:
        product = weight_Cxd @ vectors.centred.T
        size = torch.linalg.vector_norm(product)
        frame = (torch.eye(count, dtype=product.dtype, device=product.device) - 1 / count) / scale
        error = torch.linalg.vector_norm(product / size - frame)
    else:
        # W^T W = (its centred form) + C mean mean^T
        squared = (rows_gram * means_gram).sum() + count * (weight_mean @ means_gram @ weight_mean)
        size = squared.clamp(min=0).sqrt()
        error = (2 - 2 * trace / (scale * size)).clamp(min=0).sqrt()
    if float(size) == 0:
        out.undefine("every head row is orthogonal to every centred class mean", "nc3_dual_error")
    else:
        out.put("nc3_dual_error", error)
