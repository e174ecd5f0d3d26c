"""Partial correlation with an interval.

The interval holds where spread differs between rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.levels import CONFIDENCE
from analysis.statistics.linear import SINGULAR, Floats, finite_columns, nuisance


@dataclass(frozen=True)
class PartialCorrelation:
    """Partial correlation `r` (k,) in [-1, 1] with its 95% interval.

    `low` and `high` (k,), and the residual degrees of freedom `dof`.

    The interval is NaN where |r| is 1. It is NaN, too, where |r| becomes 1 if one row is left out.
    """

    r: Floats
    low: Floats
    high: Floats
    dof: int


def partial_correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    covariates: ArrayLike | None = None,
    within: ArrayLike | None = None,
) -> PartialCorrelation:
    """Correlation of what blocks and covariates leave of x (n,) or (n, k) and y (n,).

    The interval is artanh r -+ t sd, turned back: sd from the jackknife, which leaves out one row
    at a time and so holds where spread differs between rows, t Student's quantile with
    n - blocks - covariates - 1 degrees of freedom. With u, v the residuals and h the leverage of
    a row in blocks and covariates, leaving it out takes u v / (1 - h) from the sum of products
    and likewise from both sums of squares, so nothing is fitted again. A row with h = 1 is fitted
    exactly and leaves nothing. Efron & Stein 1981; Hinkley 1977. Raises ValueError for null or
    constant input, an x or y that is a linear function of covariates, or no degree of freedom.
    """
    from scipy.special import stdtrit

    shape = np.shape(x)[1:]
    metrics, response = finite_columns("x", x), finite_columns("y", y)
    n = len(metrics)
    removed = nuisance(n, within=within, covariates=covariates)
    dof = n - removed.dof - 1
    if dof < 1:
        raise ValueError(f"{n} rows leave no degree of freedom beside {removed.dof + 1} parameters")
    u, v = removed.vary("x", metrics), removed.vary("y", response)
    u, v = u / np.linalg.norm(u, axis=0), v / np.linalg.norm(v)
    r = np.clip((u * v).sum(axis=0), -1.0, 1.0)
    free = 1.0 - 1.0 / np.bincount(removed.block)[removed.block]
    free = (free - np.square(removed.basis).sum(axis=1))[:, None]
    free = np.where(free > SINGULAR, free, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (1.0 - u * u / free) * (1.0 - v * v / free)
        without = np.arctanh(np.clip((r - u * v / free) / np.sqrt(spread), -1.0, 1.0))
        pulls = without - without.mean(axis=0)
        half = stdtrit(dof, 0.5 + CONFIDENCE / 2) * np.sqrt(
            (n - 1) / n * np.square(pulls).sum(axis=0)
        )
        low, high = np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)
    sure = np.abs(r) >= 1.0 - SINGULAR  # the spread of artanh r is one of rounding errors
    low, high = np.where(sure, np.nan, low), np.where(sure, np.nan, high)
    return PartialCorrelation(r.reshape(shape), low.reshape(shape), high.reshape(shape), dof)
