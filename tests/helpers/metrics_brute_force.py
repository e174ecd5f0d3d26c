"""The metric definitions with numpy in float64: the reference of the tests.

They are written out pair by pair and class by class.

Nothing here shares code or algebra with the package: two passes over the samples, differences
of vectors, C x C matrices, and 40-digit eigenvalues for the pseudo-inverse.
"""

from __future__ import annotations

import mpmath
import numpy as np
import torch

Array = np.ndarray


def class_moments(
    features: Array, labels: Array, classes: int
) -> tuple[Array, Array, Array, Array]:
    """Counts, means, variance norms and the pooled scatter, in two passes.

    (V,), (V, d), (V,) and (d, d) / N.
    """
    x = features.astype(np.float64)
    dim = x.shape[1]
    counts, means, spreads, scatter = (
        np.zeros(classes),
        np.zeros((classes, dim)),
        np.zeros(classes),
        np.zeros((dim, dim)),
    )
    for c in range(classes):
        of_class = x[labels == c]
        if not len(of_class):
            continue
        counts[c] = len(of_class)
        means[c] = of_class.mean(axis=0)
        deviations = of_class - means[c]
        spreads[c] = (deviations**2).sum() / len(of_class)
        scatter += deviations.T @ deviations
    return counts, means, spreads, scatter / len(x)


def _cov(values: Array) -> float:
    return float(values.std() / abs(values.mean()))


def _frame(classes: int) -> Array:
    frame: Array = (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)
    return frame


def _etf_error(vectors: Array) -> float:
    gram = vectors @ vectors.T
    return float(np.linalg.norm(gram / np.linalg.norm(gram) - _frame(len(vectors))))


def _pair_cosines(vectors: Array) -> Array:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.concatenate([units[i + 1 :] @ units[i] for i in range(len(units) - 1)])


def pinv_trace(within: Array, means: Array) -> float:
    """tr(Sigma_W pinv(Sigma_B)) / C, in 40 digits.

    Over the min(C-1, d) leading eigenvalues above d eps max.
    """
    classes, dim = means.shape
    with mpmath.workdps(40):
        mu, sigma = mpmath.matrix(means.tolist()), mpmath.matrix(within.tolist())
        centre = [mpmath.fsum(mu[c, k] for c in range(classes)) / classes for k in range(dim)]
        m = mpmath.matrix(classes, dim)
        for c in range(classes):
            for k in range(dim):
                m[c, k] = mu[c, k] - centre[k]
        values, vectors = mpmath.eigsy(m.T * m / classes)
        order = sorted(range(dim), key=lambda i: values[i], reverse=True)[: min(classes - 1, dim)]
        large = [i for i in order if values[i] > dim * np.finfo(float).eps * values[order[0]]]
        return float(
            sum((vectors[:, i].T * sigma * vectors[:, i])[0] / values[i] for i in large) / classes
        )


def metrics(features: Array, labels: Array, weight: Array, min_count: int) -> dict[str, float]:
    """Every column that exists for at least two distinct measured classes.

    The classes have spread; columns are those of moments and head.
    """
    all_counts, all_means, all_spreads, within = class_moments(features, labels, len(weight))
    keep = all_counts >= min_count
    counts, mu, spreads, w = (
        all_counts[keep],
        all_means[keep],
        all_spreads[keep],
        weight[keep].astype(np.float64),
    )
    classes, dim = mu.shape
    m = mu - mu.mean(axis=0)
    norms = np.linalg.norm(m, axis=1)
    u = m / norms[:, None]
    trace = float((norms**2).mean())
    rank = min(dim, classes - 1)
    out: dict[str, float] = {
        "classes_measured": classes,
        "samples_measured": counts.sum(),
        "min_count": min_count,
    }

    head = weight.astype(np.float64)
    total, squares = np.zeros(dim), 0.0
    for row in head:
        total = total + row
        squares += float((row**2).sum())
    out["nc0_row_sum"] = float((total**2).sum()) / (len(head) * squares)
    out["nc0_row_sum_norm"] = float(np.linalg.norm(head.mean(axis=0)))

    cdnv, galanti, log_distance, coincident = [], [], [], 0
    for i in range(classes - 1):
        squared = ((mu[i] - mu[i + 1 :]) ** 2).sum(axis=1)
        coincident += int((squared == 0).sum())
        half = (spreads[i] + spreads[i + 1 :]) / 2
        cdnv.append(half / squared**2)
        galanti.append(half / squared)
        log_distance.append(-np.log(np.linalg.norm(u[i] - u[i + 1 :], axis=1)))
    pair_cdnv, pair_log = np.concatenate(cdnv), np.concatenate(log_distance)
    out["coincident_pairs"] = coincident
    out["nc1_cdnv"] = pair_cdnv.mean()
    out["nc1_cdnv_galanti"] = np.concatenate(galanti).mean()
    out["nc1_cdnv_log10"] = np.log10(pair_cdnv.mean())
    out["nc1_cdnv_log"] = np.log10(pair_cdnv).mean()
    pooled = (counts * spreads).sum()
    out["nc1_ratio"] = pooled / counts.sum() / trace
    if counts.min() > 1:
        bias = (classes - 1) / classes**2 * (spreads / (counts - 1)).sum()
        if trace > bias:
            out["nc1_ratio_debiased"] = pooled / (counts.sum() - classes) / (trace - bias)
    out["nc1_pinv"] = pinv_trace(within, mu)

    logs = np.log(norms)
    out["nc2_equinorm"] = _cov(norms)
    out["nc2_log_norm_mean"], out["nc2_log_norm_std"] = logs.mean(), logs.std()
    if (logs > 0).all() or (logs < 0).all():
        out["nc2_log_equinorm"] = _cov(logs)
    cosines = _pair_cosines(m)
    out["nc2_interference_mean"], out["nc2_interference_std"] = cosines.mean(), cosines.std()
    out["nc2_interference_cov"] = _cov(cosines)
    out["nc2_coherence"] = np.abs(cosines + 1 / (classes - 1)).mean()
    # 1 - cos as half a squared distance, because a common offset makes the cosines of the means
    # themselves nearly 1
    raw = mu / np.linalg.norm(mu, axis=1, keepdims=True)
    lack = np.concatenate(
        [((raw[i] - raw[i + 1 :]) ** 2).sum(axis=1) / 2 for i in range(classes - 1)]
    )
    out["gof_cos_abs_mean"] = np.abs(1 - lack).mean()
    eigenvalues = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    out["effective_rank"] = np.exp(-(shares * np.log(shares)).sum())
    out["feature_norm_rms"] = np.sqrt(
        np.mean([float(x @ x) for x in features.astype(np.float64)[keep[labels]]])
    )
    out["nc2_uncentred_cos_mean"], out["nc2_uncentred_cos_std"] = 1 - lack.mean(), lack.std()
    out["nc2_etf_error"] = _etf_error(m)
    out["nc2_etf_floor"] = np.sqrt(2 - 2 * np.sqrt(rank / (classes - 1)))
    out["gnc2_log_distance_mean"], out["gnc2_log_distance_std"] = pair_log.mean(), pair_log.std()
    out["gnc2_log_distance_cov"] = _cov(pair_log)

    centred_w = w - w.mean(axis=0)
    out["nc2_w_equinorm"] = _cov(np.linalg.norm(centred_w, axis=1))
    out["nc2_w_interference_std"] = _pair_cosines(centred_w).std()
    out["nc2_w_etf_error"] = _etf_error(centred_w)
    dots = np.array([w[c] @ m[c] for c in range(classes)])
    cos = dots / np.linalg.norm(w, axis=1) / norms
    centred_cos = (
        np.array([centred_w[c] @ m[c] for c in range(classes)])
        / np.linalg.norm(centred_w, axis=1)
        / norms
    )
    out["nc3_cosine_mean"], out["unc3_cosine_std"], out["unc3_cosine_cov"] = (
        cos.mean(),
        cos.std(),
        _cov(cos),
    )
    out["nc3_centred_error"], out["unc3_centred_variance"] = (
        (1 - centred_cos).mean(),
        centred_cos.var(),
    )
    out["nc3_dot_mean"], out["nc3_dot_std"] = dots.mean(), dots.std()
    out["nc3_distance"] = np.linalg.norm(
        w / np.linalg.norm(w, axis=1, keepdims=True) - u, axis=1
    ).mean()
    out["nc3_frobenius"] = float(np.linalg.norm(w / np.linalg.norm(w) - m / np.linalg.norm(m)))
    product = w @ m.T
    error = product / np.linalg.norm(product) - _frame(classes)
    out["nc3_dual_error"] = float(np.linalg.norm(error))
    return {name: float(value) for name, value in out.items()}


def decisions(
    means: Array, measured: Array, features: Array, weight: Array, bias: Array | None
) -> tuple[Array, Array]:
    """Linear and nearest-centre decisions (B,), (B,) of float64 features.

    Ties go to the lowest index.
    """
    x, w = features.astype(np.float64), weight.astype(np.float64)
    scores = x @ w.T if bias is None else x @ w.T + bias
    classes = np.flatnonzero(measured)
    nearest = [classes[((means[classes] - row) ** 2).sum(axis=1).argmin()] for row in x]
    return scores.argmax(axis=1), np.array(nearest, dtype=np.int64)


def as_numpy(tensor: torch.Tensor) -> Array:
    """The exact values in float64; numpy has no bfloat16."""
    return tensor.to(torch.float64).numpy()
