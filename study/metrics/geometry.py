"""Variability collapse (NC1) and geometry (NC2, GNC2) of the class means.

Shapes: C measured classes, d feature entries. Notation: mu_c class mean, mu_G their unweighted
mean, m_c = mu_c - mu_G, u_c = m_c / ||m_c||, s2_c variance norm, N_c count.

Example: a tetrahedron of class means of length sqrt 3, each sample 1/2 away from its own.

    >>> from study.metrics import ClassMoments, collapse_metrics
    >>> corners_Cxd = torch.tensor([[1., 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    >>> labels_N = torch.arange(4).repeat(2)
    >>> shifts_Nxd = torch.tensor([[.5, 0, 0]] * 4 + [[-.5, 0, 0]] * 4)
    >>> moments = ClassMoments(classes=4, dim=3, scatter=True)
    >>> moments.update(corners_Cxd[labels_N] + shifts_Nxd, labels_N)
    >>> metrics = collapse_metrics(moments, corners_Cxd, min_count=2)
    >>> round(metrics["nc1_ratio"], 6), round(metrics["nc1_cdnv"], 6)  # (1/4) / 3, (1/4) / 8^2
    (0.083333, 0.003906)
    >>> round(metrics["nc2_log_norm_mean"], 6), round(metrics["nc2_interference_mean"], 6)
    (0.549306, -0.333333)
    >>> round(metrics["gnc2_log_distance_mean"], 6)  # -log(8 / 3) / 2
    -0.490415
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.covariance import put_effective_rank
from study.metrics.measured import MeasuredClasses, no_direction
from study.metrics.pairs import pair_statistics
from study.metrics.result import ROUNDING, CollapseMetrics, mean_std
from study.metrics.spectra import centred_gram, cosine_mean_std, etf_error, etf_floor
from study.metrics.vectors import Vectors

CDNV = ("nc1_cdnv", "nc1_cdnv_galanti", "nc1_cdnv_log10", "nc1_cdnv_log")
RATIOS = ("nc1_ratio", "nc1_ratio_debiased")
LOG_NORMS = ("nc2_log_norm_mean", "nc2_log_norm_std", "nc2_log_equinorm")
INTERFERENCE = (
    "nc2_interference_mean",
    "nc2_interference_std",
    "nc2_interference_cov",
    "nc2_coherence",
)
UNCENTRED = ("nc2_uncentred_cos_mean", "nc2_uncentred_cos_std")
UNCENTRED_SIZE = "gof_cos_abs_mean"
FRAME = ("nc2_equinorm", "nc2_etf_error", "nc2_etf_floor")
LOG_DISTANCE = ("gnc2_log_distance_mean", "gnc2_log_distance_std", "gnc2_log_distance_cov")
FEATURE_COLUMNS = (
    UNCENTRED_SIZE, "effective_rank", "feature_norm_rms",
    *CDNV, *RATIOS, "nc1_pinv", *FRAME, *LOG_NORMS, *INTERFERENCE, *UNCENTRED, *LOG_DISTANCE,
    "coincident_pairs",
)  # fmt: skip

SMALL_EIGENVALUE = 1e-5
"""Relative to the largest; above it, eigenvalues of M^T M err by less than 1e-9."""

ALL_EQUAL = "all class means are equal: they have no between-class spread"


def put_geometry(out: CollapseMetrics, measured: MeasuredClasses) -> Tensor:
    """Record NC1, NC2 and GNC2 of at least two measured classes.

    Returns the (d, d) M^T M.
    """
    vectors = measured.means
    means_gram = centred_gram(vectors)
    eigenvalues, axes = torch.linalg.eigh(means_gram)
    _put_ratios(out, measured)
    _put_pinv(out, measured, eigenvalues, axes)
    _put_norms(out, vectors)
    _put_frame(out, vectors, eigenvalues)
    _put_uncentred(out, vectors)
    _put_pairs(out, measured)
    put_effective_rank(out, measured.moments)
    _put_feature_norm(out, measured)
    return means_gram


def _put_ratios(out: CollapseMetrics, measured: MeasuredClasses) -> None:
    """Record the pooled within-class over the between-class trace.

    Once as in Tirer et al. 2023, once without the bias of small classes.
    """
    counts, spreads, classes = measured.counts, measured.spreads, len(measured)
    within, between = (counts * spreads).sum(), measured.between_trace
    out.put_ratio("nc1_ratio", within / counts.sum(), between, 0, ALL_EQUAL)
    if float(between) == 0:
        out.undefine(ALL_EQUAL, "nc1_ratio_debiased")
    elif float(counts.min()) < 2:
        out.undefine(
            "a measured class has one sample, whose variance is unknown: raise min_count",
            "nc1_ratio_debiased",
        )
    else:
        bias = (classes - 1) / classes**2 * (spreads / (counts - 1)).sum()
        reason = "the between-class spread is no larger than the sampling noise of the class means"
        out.put_ratio(
            "nc1_ratio_debiased", within / (counts.sum() - classes), between - bias, 0, reason
        )


def _put_feature_norm(out: CollapseMetrics, measured: MeasuredClasses) -> None:
    """feature_norm_rms = sqrt(mean_i ||h_i||^2) of the samples of measured classes.

    By the decomposition of a square about a mean: a class has n_c (s2_c + ||mu_c||^2).
    """
    counts, spreads = measured.counts, measured.spreads
    squares = (counts * (spreads + measured.means.sizes.square())).sum()
    out.put("feature_norm_rms", (squares / counts.sum()).sqrt())


def _put_pinv(
    out: CollapseMetrics, measured: MeasuredClasses, eigenvalues_d: Tensor, axes_dxd: Tensor
) -> None:
    """nc1_pinv = tr(Sigma_W pinv(Sigma_B)) / C (Papyan et al. 2020).

    Sigma_W is over all classes collected.

    pinv keeps the eigenvalues above d * eps * largest. Small eigenvalues weigh most but carry the
    error of the largest, so they are taken again as Rayleigh quotients ||M v||^2 / C of their
    vectors; those beyond the rank min(C-1, d) of M then fall below the threshold.
    """
    scatter = measured.moments.scatter
    if scatter is None:
        out.undefine("needs the scatter: collect with ClassMoments(..., scatter=True)", "nc1_pinv")
        return
    if measured.means.vanishing == len(measured):
        out.undefine(ALL_EQUAL, "nc1_pinv")
        return
    classes, dim = len(measured), measured.means.dim
    values = eigenvalues_d / classes  # of Sigma_B, ascending
    small = int((values < SMALL_EIGENVALUE * values[-1]).sum())
    if small:
        values[:small] = _projected(measured.means, axes_dxd[:, :small]) / classes
    large = values > dim * torch.finfo(values.dtype).eps * values[-1]
    axes = axes_dxd[:, large]
    within = torch.linalg.vecdot(axes, scatter @ axes, dim=0) / measured.moments.counts.sum()
    out.put("nc1_pinv", (within / values[large]).sum() / classes)


def _projected(vectors: Vectors, axes_dxK: Tensor) -> Tensor:
    """(K,) sum over c of <m_c, axis>^2."""
    total = axes_dxK.new_zeros(axes_dxK.shape[1])
    for rows in vectors.blocks():
        total += (vectors.centred(rows) @ axes_dxK).square_().sum(dim=0)
    return total


def _put_norms(out: CollapseMetrics, vectors: Vectors) -> None:
    mean, std = mean_std(vectors.norms)
    out.put_ratio("nc2_equinorm", std, mean, 0, ALL_EQUAL)
    if vectors.vanishing:
        out.undefine(no_direction(vectors), *LOG_NORMS)
        return
    logs = vectors.norms.log()
    mean, std = mean_std(logs)
    out.put("nc2_log_norm_mean", mean)
    out.put("nc2_log_norm_std", std)
    if bool((logs > 0).all()) or bool((logs < 0).all()):
        out.put("nc2_log_equinorm", std / mean.abs())
    else:
        out.undefine(
            "log-norms of both signs: their coefficient of variation has no meaning",
            "nc2_log_equinorm",
        )


def _put_frame(out: CollapseMetrics, vectors: Vectors, eigenvalues_d: Tensor) -> None:
    classes, dim = len(vectors), vectors.dim
    out.put("nc2_etf_floor", etf_floor(classes, dim))
    if vectors.vanishing == classes:
        out.undefine(ALL_EQUAL, "nc2_etf_error")
    else:
        out.put("nc2_etf_error", etf_error(eigenvalues_d, classes))


def _put_uncentred(out: CollapseMetrics, vectors: Vectors) -> None:
    if reason := _zero_means(vectors):
        out.undefine(reason, *UNCENTRED)
        return
    mean, std = cosine_mean_std(vectors, centred=False)
    out.put("nc2_uncentred_cos_mean", mean)
    out.put("nc2_uncentred_cos_std", std)


def _zero_means(vectors: Vectors) -> str | None:
    """Why angles of class means from the origin do not exist, or None."""
    zeros = int((vectors.sizes == 0).sum())
    return (
        f"class means that are the zero vector: {zeros}; they have no direction" if zeros else None
    )


def _put_pairs(out: CollapseMetrics, measured: MeasuredClasses) -> None:
    statistics = pair_statistics(measured)
    out.put("coincident_pairs", statistics.coincident)
    if statistics.coincident:
        out.undefine(
            f"pairs of classes with the same mean: {statistics.coincident}; their distance is zero",
            *CDNV,
        )
    else:
        out.put("nc1_cdnv", statistics.cdnv)
        out.put("nc1_cdnv_galanti", statistics.galanti)
        without_spread = int((measured.spreads == 0).sum())
        if without_spread == len(measured):
            out.undefine(
                "no measured class has any spread: the logarithm of zero", "nc1_cdnv_log10"
            )
        else:
            out.put("nc1_cdnv_log10", statistics.cdnv.log10())
        if without_spread > 1:
            out.undefine(
                f"measured classes without any spread: {without_spread}; the logarithm of zero",
                "nc1_cdnv_log",
            )
        else:
            out.put("nc1_cdnv_log", statistics.log10_cdnv)
    vectors = measured.means
    if reason := _zero_means(vectors):
        out.undefine(reason, UNCENTRED_SIZE)
    else:
        out.put(UNCENTRED_SIZE, statistics.uncentred_size)
    if vectors.vanishing:
        out.undefine(no_direction(vectors), *INTERFERENCE, *LOG_DISTANCE)
        return
    mean, std = statistics.interference_mean, statistics.interference_std
    out.put("nc2_interference_mean", mean)
    out.put("nc2_interference_std", std)
    out.put_ratio(
        "nc2_interference_cov", std, mean.abs(), ROUNDING, "the mean interference is zero"
    )
    out.put("nc2_coherence", statistics.coherence)
    if statistics.parallel:
        out.undefine(
            f"pairs of centred class means with the same direction: {statistics.parallel}; their "
            "distance is zero",
            *LOG_DISTANCE,
        )
        return
    mean, std = statistics.log_distance_mean, statistics.log_distance_std
    out.put("gnc2_log_distance_mean", mean)
    out.put("gnc2_log_distance_std", std)
    out.put_ratio(
        "gnc2_log_distance_cov", std, mean.abs(), ROUNDING, "the mean log-distance is zero"
    )
