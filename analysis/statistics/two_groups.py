"""Two unpaired groups: exact test of the difference of means, and its interval.

Shapes: a values in the first group, b in the second, N = C(a + b, a) partitions of all values into
groups of these sizes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Floats, finite_columns

MOST = 200_000  # partitions enumerated: two groups of ten have 184,756
# Relative: statistics closer than this are ties, sums of the same numbers in another order.
TIE = 1e-12


@dataclass(frozen=True)
class GroupDifference:
    """Mean of the first group minus that of the second, and what partitions say.

    `p` is two-sided, the share of partitions whose difference is at least as far from zero; the
    observed one is among them. `low` and `high` bound the shifts of the second group that the same
    test does not reject; infinite where the groups are so small that it can reject none.
    """

    difference: float
    p: float
    low: float
    high: float
    partitions: int


def compare_groups(first: ArrayLike, second: ArrayLike, *, level: float = ALPHA) -> GroupDifference:
    """Exact unpaired permutation test of the difference of means.

    With its 1 - level interval. Fisher 1935; Pitman 1937.

    first: (a,). second: (b,). The interval inverts the test: it holds every shift d for which the
    test of `first` - d against `second` has p > level (Ernst 2004, section 2.3), so it assumes that
    the groups differ in location alone.

    With D the observed difference and a partition that leaves k of the first group's values in it,
    the shifted statistic is T - d c, where T is its statistic at d = 0 and c = k / a - (a - k) / b.
    It is at least as far from zero as D - d exactly for d between (D - T) / (1 - c) and (D + T) /
    (1 + c), so the ends of the interval are order statistics of these bounds and nothing is
    searched for.

    Raises ValueError for null or infinite values, an empty group, or more than `MOST` partitions.

    >>> result = compare_groups([1, 2, 3], [4, 5, 6])
    >>> result.difference, result.partitions, result.p  # 2 of 20 are as far from zero
    (-3.0, 20, 0.1)
    """
    one, two = finite_columns("first", first)[:, 0], finite_columns("second", second)[:, 0]
    a, b = len(one), len(two)
    partitions = math.comb(a + b, a)
    if partitions > MOST:
        raise ValueError(
            f"{a} and {b} values have {partitions:,} partitions; at most {MOST:,} are enumerated"
        )
    pooled = np.concatenate([one, two])
    pooled = pooled - pooled.mean()  # no digits lost to a common offset
    chosen = np.array(list(itertools.combinations(range(a + b), a)), dtype=np.intp)
    sums = pooled[chosen].sum(axis=1)
    statistics = sums / a - (pooled.sum() - sums) / b
    stayed = (chosen < a).sum(axis=1)
    coefficients = stayed / a - (a - stayed) / b
    observed = float(statistics[0])  # the first combination is the first group itself
    tie = TIE * max(float(np.abs(pooled).max()), np.finfo(float).tiny)
    low, high = _bounds(observed, statistics, coefficients)
    rank = math.floor(level * partitions)
    return GroupDifference(
        difference=observed,
        p=float(np.count_nonzero(np.abs(statistics) >= abs(observed) - tie) / partitions),
        low=float(np.sort(low)[rank]),
        high=float(-np.sort(-high)[rank]),
        partitions=partitions,
    )


def _bounds(observed: float, statistics: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
    """Shifts from low to high at which a partition is at least as far from zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one = (observed - statistics) / (1 - coefficients)
        other = (observed + statistics) / (1 + coefficients)
    always = (
        np.abs(coefficients) > 1 - 1e-9
    )  # the observed partition, and its mirror image in groups of equal size
    low = np.where(always, -np.inf, np.minimum(one, other))
    high = np.where(always, np.inf, np.maximum(one, other))
    return low, high
