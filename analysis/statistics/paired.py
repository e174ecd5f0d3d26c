"""Mean of paired differences.

Exact sign flips, and the interval that inverts them.

Shapes: n differences, N = 2^n patterns of signs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import finite_columns

MOST = 20  # differences whose patterns, about a million, are enumerated
TIE = 1e-12  # relative: closer statistics are sums of the same numbers in another order


@dataclass(frozen=True)
class MeanDifference:
    """Mean of `n` differences, and what their `patterns` of signs say.

    `p` is two-sided, the share of patterns whose mean is at least as far from zero; the observed
    one is among them. `low` and `high` bound the shifts that the same test does not reject;
    infinite where there are so few differences that it can reject none (`cannot_reject`).
    """

    n: int
    mean: float
    p: float
    low: float
    high: float
    patterns: int
    cannot_reject: bool


def mean_difference(differences: ArrayLike, *, level: float = ALPHA) -> MeanDifference:
    """Exact test that differences (n,) are symmetric about zero.

    It also gives the 1 - level interval of their mean.

    The statistic is the mean (Fisher 1935, section 21). The interval holds every shift m for
    which the test of d - m has p > level. A pattern flips a part of the differences. It is at
    least as far from zero as the observed one exactly where m lies between the mean of that part
    and the mean of the rest. So the ends of the interval are order statistics of such means
    (Hartigan 1969), and no search is needed. Raises ValueError for null or infinite values, for
    none at all, and for more than `MOST`.
    """
    d = finite_columns("differences", differences)[:, 0]
    n = len(d)
    if n > MOST:
        raise ValueError(f"{n} differences have 2^{n} patterns of signs; at most 2^{MOST} are done")
    centre = float(d.mean())
    flipped, count = np.zeros(1), np.zeros(1)
    for value in d - centre:  # no digits lost to a common offset
        flipped = np.concatenate([flipped, flipped + value])
        count = np.concatenate([count, count + 1])
    patterns = len(flipped)
    means = centre * (1 - 2 * count / n) - 2 * flipped / n
    tie = TIE * max(float(np.abs(d).max()), np.finfo(float).tiny)
    part, size = flipped[1:-1], count[1:-1]  # the first flips nothing, the last everything
    one, other = part / size, -part / (n - size)
    # Those two are never nearer to zero than the observed one, whatever the shift.
    rank = math.floor(level * patterns) - 2
    bounded = rank >= 0
    return MeanDifference(
        n=n,
        mean=centre,
        p=float(np.count_nonzero(np.abs(means) >= abs(centre) - tie) / patterns),
        low=centre + float(np.sort(np.minimum(one, other))[rank]) if bounded else -math.inf,
        high=centre + float(-np.sort(-np.maximum(one, other))[rank]) if bounded else math.inf,
        patterns=patterns,
        cannot_reject=2 / patterns > level,
    )
