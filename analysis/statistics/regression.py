"""Regression of one response on one metric, and how sure it is.

Robust errors, bootstrap, leave-one-out.

Shapes: n rows, k metrics, g clusters, b bootstrap replicates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.levels import CONFIDENCE
from analysis.statistics.linear import Codes, Floats, codes, finite_columns, nuisance


@dataclass(frozen=True)
class Regression:
    """y on x by least squares, with covariates if given.

    `r` signed Pearson correlation in [-1, 1] of x and y as they are and `r2` its square; `slope`
    coefficient of x beside the covariates; `se` its heteroskedasticity-robust (HC3), or with groups
    cluster-robust (CR1), standard error, None where a row (or group) alone determines the fit; `ci`
    95% interval of the slope by Student's t (n - parameters, or groups - 1, degrees of freedom);
    `r_ci` Fisher's 95% interval of r (None for n <= 3); `partial_r` and `partial_r2` given the
    covariates, None without; `model_r2` R^2 of the whole fit.
    """

    n: int
    r: float
    r2: float
    slope: float
    se: float | None
    ci: tuple[float, float] | None
    r_ci: tuple[float, float] | None
    partial_r: float | None
    partial_r2: float | None
    model_r2: float


def regress(
    x: ArrayLike,
    y: ArrayLike,
    *,
    covariates: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Regression:
    """Least squares of y (n,) on x (n,), an intercept and covariates.

    Covariates are (n,) or (n, c); `groups` (n,) are clusters of dependent rows.

    HC3: MacKinnon & White 1985. CR1: Liang & Zeger 1986 with the factor g/(g-1) (n-1)/(n-p). Raises
    ValueError for null or constant input, an x that is a linear function of the covariates, fewer
    rows than parameters + 1.

    >>> x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]  # Anscombe 1973, first data set
    >>> y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    >>> fit = regress(x, y)
    >>> f"slope {fit.slope:.3f}, r {fit.r:.3f}"
    'slope 0.500, r 0.816'
    """
    metric, response = finite_columns("x", x), finite_columns("y", y)
    n = metric.shape[0]
    if metric.shape[1] != 1 or response.shape != (n, 1):
        raise ValueError(f"x and y must both have shape (n,), not {np.shape(x)} and {np.shape(y)}")
    plain, removed = nuisance(n), nuisance(n, covariates=covariates)
    left = n - removed.dof - 1
    if left < 1:
        raise ValueError(
            f"{n} rows are too few for {removed.dof + 1} parameters: at least {removed.dof + 2} "
            "are needed"
        )
    free_x, free_y = plain.vary("x", metric)[:, 0], plain.vary("y", response)[:, 0]
    r = float(np.clip(_unit(free_x) @ _unit(free_y), -1.0, 1.0))
    own_x, own_y = removed.vary("x", metric)[:, 0], removed.residual(response)[:, 0]
    slope = float(own_x @ own_y / (own_x @ own_x))
    error = own_y - slope * own_x
    model_r2 = float(1.0 - error @ error / (free_y @ free_y))
    leverage = 1.0 / n + np.square(removed.basis).sum(axis=1) + np.square(_unit(own_x))
    partial = None
    if covariates is not None:
        spread = np.linalg.norm(own_y)
        partial = (
            float(np.clip(_unit(own_x) @ own_y / spread, -1.0, 1.0))
            if spread > 1e-10 * np.linalg.norm(free_y)
            else 0.0
        )
    clusters = None if groups is None else codes("groups", groups, n)
    se, dof = _robust_se(own_x, error, leverage, left, clusters)
    half = None if se is None else se * _t_quantile(dof)
    return Regression(
        n=n,
        r=r,
        r2=r * r,
        slope=slope,
        se=se,
        ci=None if half is None else (slope - half, slope + half),
        r_ci=fisher_interval(r, n),
        partial_r=partial,
        partial_r2=None if partial is None else partial * partial,
        model_r2=model_r2,
    )


def _unit(values: Floats) -> Floats:
    return np.asarray(values / np.linalg.norm(values))


def _robust_se(
    x: Floats, error: Floats, leverage: Floats, left: int, clusters: Codes | None
) -> tuple[float | None, int]:
    """Sandwich standard error of the slope of the residualised x, and its dof."""
    if clusters is None:
        if (1.0 - leverage).min() < 1e-10:
            return None, left
        scores = x * error / (1.0 - leverage)
        return float(np.linalg.norm(scores) / (x @ x)), left
    n, g = len(x), int(clusters.max()) + 1
    if g < 2:
        return None, 0
    scores = np.bincount(clusters, weights=x * error).astype(np.float64)
    factor = math.sqrt(g / (g - 1) * (n - 1) / left)
    return float(factor * np.linalg.norm(scores) / (x @ x)), g - 1


def _t_quantile(dof: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(dof, 0.5 + CONFIDENCE / 2))


def fisher_interval(r: float, n: int) -> tuple[float, float] | None:
    """Fisher's 95% interval of a correlation; None for n <= 3.

    tanh(artanh r -+ z / sqrt(n - 3)). Fisher 1921.

    >>> [round(end, 3) for end in fisher_interval(0.5, 28)]
    [0.156, 0.736]
    """
    from scipy.special import ndtri

    if n <= 3:
        return None
    if abs(r) == 1.0:
        return r, r
    half = float(ndtri(0.5 + CONFIDENCE / 2)) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


@dataclass(frozen=True)
class Influence:
    """Least and greatest r when one cluster is left out.

    `cluster` is the label of the one whose absence moves r furthest, `r_without` r then.
    """

    low: float
    high: float
    cluster: str
    r_without: float


def leave_one_out(x: ArrayLike, y: ArrayLike, clusters: ArrayLike) -> Influence:
    """Range of Pearson's r over leaving out one cluster (n,) of rows at a time.

    Of clusters with equal influence the first label in sorted order is named.

    Raises ValueError when fewer than three clusters exist, or when some choice leaves a constant
    column.
    """
    table = _moment_table(finite_columns("x", x), finite_columns("y", y))
    labels, code = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    if len(labels) < 3:
        raise ValueError(f"leaving one of {len(labels)} clusters out says nothing; 3 are needed")
    sums = np.zeros((len(labels), table.shape[1]))
    np.add.at(sums, code, table)
    without = _correlation(table.sum(axis=0) - sums)[:, 0]
    if np.isnan(without).any():
        raise ValueError(
            f"without {labels[int(np.argmax(np.isnan(without)))]} a column is constant: r is not "
            "defined"
        )
    full = _correlation(table.sum(axis=0)[None])[0, 0]
    most = int(np.argmax(np.abs(without - full)))
    return Influence(
        float(without.min()), float(without.max()), str(labels[most]), float(without[most])
    )


def bootstrap_r(
    x: ArrayLike, y: ArrayLike, clusters: ArrayLike, *, replicates: int = 2_000, seed: int = 0
) -> tuple[Floats, Floats]:
    """95% BCa bootstrap interval of Pearson's r of y (n,) with x (n, k).

    Returns (low (k,), high (k,)), one for each column of x.

    Whole clusters (n,) are drawn with replacement, the same draws for every metric; acceleration
    from the leave-one-cluster-out jackknife. Replicates in which a column is constant are left out.
    NaN where fewer than four clusters or half of the replicates remain: there is no interval. Efron
    1987; Davison & Hinkley 1997, sections 3.8 and 5.3.
    """
    from scipy.special import ndtr, ndtri

    table = _moment_table(finite_columns("x", x), finite_columns("y", y))
    code = np.unique(np.asarray(clusters).astype(str), return_inverse=True)[1]
    g = int(code.max()) + 1
    sums = np.zeros((g, table.shape[1]))
    np.add.at(sums, code, table)
    observed = _correlation(sums.sum(axis=0)[None])[0]
    none = np.full(observed.shape, np.nan)
    if g < 4:
        return none, none.copy()
    weights = _times_drawn(g, replicates, seed)
    drawn = np.concatenate(
        [
            _correlation(weights[start : start + 500].astype(float) @ sums)
            for start in range(0, replicates, 500)
        ]
    )
    left_out = _correlation(sums.sum(axis=0) - sums)
    low, high = none, none.copy()
    z = ndtri(np.array([0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2]))
    for column, r in enumerate(observed):
        defined = drawn[:, column][~np.isnan(drawn[:, column])]
        if len(defined) < replicates / 2 or np.isnan(left_out[:, column]).any() or np.isnan(r):
            continue
        below = (np.count_nonzero(defined < r) + np.count_nonzero(defined <= r)) / 2 / len(defined)
        if not 0.0 < below < 1.0:
            low[column], high[column] = np.quantile(defined, ndtr(z))
            continue
        bias = ndtri(below)
        pull = left_out[:, column].mean() - left_out[:, column]
        scale = 6.0 * np.square(pull).sum() ** 1.5
        acceleration = np.power(pull, 3).sum() / scale if scale > 0 else 0.0
        level = ndtr(bias + (bias + z) / (1.0 - acceleration * (bias + z)))
        low[column], high[column] = np.quantile(defined, level)
    return low, high


@lru_cache(maxsize=2)
def _times_drawn(clusters: int, replicates: int, seed: int) -> NDArray[np.uint16]:
    """How often each cluster is drawn (replicates, clusters).

    Kept in memory, since every metric of a table asks for the same.
    """
    rng, chance = np.random.default_rng(seed), np.full(clusters, 1.0 / clusters)
    sizes = [min(500, replicates - start) for start in range(0, replicates, 500)]
    return np.concatenate(
        [rng.multinomial(clusters, chance, size=size).astype(np.uint16) for size in sizes]
    )


def _moment_table(x: Floats, y: Floats) -> Floats:
    """(n, 3 + 3k): 1, y, y^2, then x, x^2, xy of centred, unit-sized columns.

    Sums of its rows give r of any weighting of them.
    """
    columns = np.column_stack([y, x])
    columns = columns - columns.mean(axis=0)
    size = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(size > 0, size, 1.0)
    y, x = columns[:, :1], columns[:, 1:]
    return np.column_stack([np.ones_like(y), y, y * y, x, x * x, x * y])


def _correlation(sums: Floats) -> Floats:
    """(b, k) Pearson's r from sums (b, 3 + 3k); NaN where a column is constant."""
    k = (sums.shape[1] - 3) // 3
    total, y, yy = (sums[:, i, None] for i in range(3))
    x, xx, xy = (sums[:, 3 + i * k : 3 + (i + 1) * k] for i in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance, spread_x, spread_y = xy - x * y / total, xx - x * x / total, yy - y * y / total
        defined = (spread_x > 1e-12 * xx) & (spread_y > 1e-12 * yy)
        return np.where(
            defined, np.clip(covariance / np.sqrt(spread_x * spread_y), -1.0, 1.0), np.nan
        )
