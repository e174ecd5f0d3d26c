"""Adjusted p-values for families of tests that were not permuted together.

Holm's are two lines of our own, since scipy has none and statsmodels, against which they are
tested, collects garbage in every call, which takes up to a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from analysis.statistics.linear import Floats


def _p_values(p: ArrayLike) -> Floats:
    array = np.asarray(p, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"p-values must be a non-empty row of numbers in [0, 1], not {p!r}")
    return array


def holm(p: ArrayLike) -> Floats:
    """Family-wise error under any dependence: p (k,) -> adjusted (k,). Holm 1979.

    >>> holm([0.01, 0.04, 0.03]).round(4)
    array([0.03, 0.06, 0.06])
    """
    values = _p_values(p)
    order = np.argsort(values)
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.asarray(np.minimum(raised, 1.0)[np.argsort(order)])


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """False discovery rate: p (k,) -> q (k,).

    It holds for independent or positively dependent tests.

    Benjamini & Hochberg 1995.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(4)
    array([0.03, 0.04, 0.04])
    """
    return np.asarray(false_discovery_control(_p_values(p), method="bh"))
