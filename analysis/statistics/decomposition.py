"""An association over all rows, taken apart within and between groups.

Shapes: n rows, g groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import Codes, Floats, codes
from analysis.statistics.regression import regress


def group_means(values: Floats, group: Codes) -> Floats:
    """Mean (g,) of the values (n,) of each group, `group` (n,) being 0 .. g-1."""
    return np.asarray(np.bincount(group, weights=values) / np.bincount(group), dtype=np.float64)


def mundlak(
    x: ArrayLike, y: ArrayLike, groups: ArrayLike
) -> tuple[tuple[float, float | None], tuple[float, float | None]]:
    """((slope within, se), (slope between, se)) of y on x (n,) and its group mean.

    y = a + w (x - mean of its group) + b (mean of its group) + error; standard errors are
    robust to dependence inside groups (CR1). Mundlak 1978. Raises ValueError where x varies
    only within or only between groups, or rows are too few.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    group = codes("groups", groups, len(x))
    mean = group_means(x, group)[group]
    within = regress(x - mean, y, covariates=mean, groups=group)
    between = regress(mean, y, covariates=x - mean, groups=group)
    return (within.slope, within.se), (between.slope, between.se)


def simpson(overall: float, between: float | None, within: float | None) -> str:
    """Whether r overall, between and within groups agree in sign; '' if unknown.

    Yule 1903; Simpson 1951.
    """
    if within is None or between is None:
        return ""
    signs = {"overall": overall > 0, "between": between > 0, "within": within > 0}
    if len(set(signs.values())) == 1:
        return "same sign"
    if signs["overall"] == signs["between"]:
        return "reversed within"
    return "reversed between" if signs["overall"] == signs["within"] else "overall alone"


def pooled_deviation(groups: Sequence[Floats]) -> float | None:
    """Standard deviation within groups: sqrt(squares about the group means / (n - g)).

    Groups (n_g,) without rows are passed over; None where no group has two rows.
    """
    free = sum(max(len(group) - 1, 0) for group in groups)
    if free < 1:
        return None
    squares = sum(np.square(group - group.mean()).sum() for group in groups if len(group))
    return float(np.sqrt(squares / free))
