"""The random-intercept model, profiled over one variance ratio.

statsmodels' MixedLM stops with a singular matrix, or away from the optimum, where the groups'
variance is near its bound of zero: the usual case for a handful of architectures. With one random
intercept the likelihood is a function of one number, so it is searched directly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import Codes, Floats, codes, finite_columns, nuisance

SEARCH = (
    -12.0,
    12.0,
)  # of the natural logarithm of the variance ratio; below it lies the bound, zero


@dataclass(frozen=True)
class MixedModel:
    """Slope of x, and the share of the groups.

    `slope` in standard deviations of y per standard deviation of x, its `se` and Wald `p`;
    `group_share` of the variance that x leaves, in [0, 1): 0 where the groups differ no more than
    their rows do.
    """

    slope: float
    se: float
    p: float
    group_share: float


def mixed_model(x: ArrayLike, y: ArrayLike, groups: ArrayLike) -> MixedModel:
    """y = a + b x + intercept of the group + error, x and y (n,) standardised.

    By restricted maximum likelihood.

    Laird & Ware 1982; each group is quasi-demeaned by 1 - 1/sqrt(1 + ratio n_g) for a given ratio
    of the variances. Raises ValueError with fewer than two groups or three degrees of freedom,
    without a group of two rows, for null or constant input.
    """
    columns = np.column_stack([finite_columns("x", x), finite_columns("y", y)])
    n = len(columns)
    group = codes("groups", groups, n)
    sizes = np.bincount(group)
    if len(sizes) < 2 or sizes.max() < 2 or n < 5:
        raise ValueError(
            "a mixed model needs two groups, one of two rows, and 5 rows; there are "
            f"{len(sizes)} and {n}"
        )
    columns = nuisance(n).vary("x and y", columns)
    columns = columns / columns.std(axis=0)
    best = _optimum(columns, group, sizes)
    slope, se, _ = _fit(best, columns, group, sizes)
    if se == 0:
        raise ValueError("the mixed model fits without error: its slope has no standard error")
    return MixedModel(slope, se, math.erfc(abs(slope / se) / math.sqrt(2)), best / (1.0 + best))


def _optimum(columns: Floats, group: Codes, sizes: Codes) -> float:
    """The variance ratio of least REML deviance.

    A grid, refined around its least point; zero if that is as good.
    """
    from scipy.optimize import minimize_scalar

    grid = np.linspace(*SEARCH, 49)
    values = [_fit(math.exp(point), columns, group, sizes)[2] for point in grid]
    at = int(np.argmin(values))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    optimum = minimize_scalar(
        lambda point: _fit(math.exp(point), columns, group, sizes)[2],
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-10},
    )
    none = _fit(0.0, columns, group, sizes)[2]
    return 0.0 if none <= float(optimum.fun) + 1e-9 else math.exp(float(optimum.x))


def _fit(ratio: float, columns: Floats, group: Codes, sizes: Codes) -> tuple[float, float, float]:
    """(slope, se, REML deviance up to a constant) at a variance ratio."""
    shrink = 1.0 - 1.0 / np.sqrt(1.0 + ratio * sizes)
    full = np.column_stack([np.ones(len(columns)), columns])
    means = (
        np.column_stack([np.bincount(group, weights=column) for column in full.T]) / sizes[:, None]
    )
    whitened = full - (shrink[:, None] * means)[group]
    design, response = whitened[:, :2], whitened[:, 2]
    q, r = np.linalg.qr(design)
    slope = (q.T @ response)[1] / r[1, 1]
    left = response - q @ (q.T @ response)
    free = len(columns) - 2
    variance = float(left @ left) / free
    deviance = (
        np.log1p(ratio * sizes).sum()
        + 2 * np.log(np.abs(np.diag(r))).sum()
        + free * math.log(max(variance, 1e-300))
    )
    return float(slope), math.sqrt(variance) / abs(float(r[1, 1])), float(deviance)
