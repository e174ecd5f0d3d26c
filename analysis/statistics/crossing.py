"""When a course of values first reaches a threshold, and a mean with its interval."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.levels import CONFIDENCE


def first_crossing(
    times: ArrayLike, values: ArrayLike, threshold: float, side: Literal["lower", "higher"]
) -> float | None:
    """The first time at which values (n,) are at most (or at least) the threshold.

    `side` lower: at most, higher: at least. Between two times the values are taken to lie on a
    line, so the time is interpolated between the last value outside and the first inside; it is the
    first time itself where the first value is inside, and None where no value is. A course that
    leaves again counts from when it first came. `times` (n,) ascend; all numbers are finite.

    Raises ValueError for empty input, or times that do not ascend.

    >>> first_crossing([0, 10, 20], [4.0, 2.0, 0.0], 1.0, "lower")
    15.0
    >>> first_crossing([0, 10, 20], [4.0, 2.0, 3.0], 1.0, "lower") is None
    True
    """
    t, y = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if not len(t) or len(t) != len(y) or (np.diff(t) <= 0).any():
        raise ValueError("a course needs as many ascending times as values, at least one")
    inside = y <= threshold if side == "lower" else y >= threshold
    if not inside.any():
        return None
    place = int(inside.argmax())
    if place == 0:
        return float(t[0])
    share = (threshold - y[place - 1]) / (y[place] - y[place - 1])
    return float(t[place - 1] + share * (t[place] - t[place - 1]))


def mean_interval(values: ArrayLike) -> tuple[float, float | None, float | None]:
    """Mean of values (n,) with the ends of its 95% interval by Student's t.

    mean -+ t_(n-1) s / sqrt n; the ends are None for a single value, whose spread is unknown.

    >>> [round(end, 3) for end in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    from scipy.stats import t

    y = np.asarray(values, dtype=np.float64)
    mean = float(y.mean())
    if len(y) < 2:
        return mean, None, None
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(y) - 1) * y.std(ddof=1) / np.sqrt(len(y)))
    return mean, mean - reach, mean + reach
