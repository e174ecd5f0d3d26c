"""Adjusted p-values for families of tests that were not permuted together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import Floats


def _p_values(p: ArrayLike) -> Floats:
    array = np.asarray(p, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"p-values must be a non-empty row of numbers in [0, 1], not {p!r}")
    return array


def holm(p: ArrayLike) -> Floats:
    """Family-wise error under any dependence: p (k,) -> adjusted (k,).

    In the order given. Holm 1979.

    >>> holm([0.01, 0.04, 0.03]).round(4)
    array([0.03, 0.06, 0.06])
    """
    array = _p_values(p)
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(
        np.maximum.accumulate(array[order] * np.arange(array.size, 0, -1)), 1.0
    )
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """False discovery rate of independent or positively dependent tests.

    Benjamini & Hochberg 1995.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(4)
    array([0.03, 0.04, 0.04])
    """
    return _step_up(_p_values(p), 1.0)


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """False discovery rate under any dependence.

    That of Benjamini & Hochberg times 1 + 1/2 + ... + 1/k. Benjamini & Yekutieli 2001.

    >>> benjamini_yekutieli([0.01, 0.04, 0.03]).round(4)
    array([0.055 , 0.0733, 0.0733])
    """
    array = _p_values(p)
    return _step_up(array, float((1.0 / np.arange(1, array.size + 1)).sum()))


def _step_up(p: Floats, factor: float) -> Floats:
    order = np.argsort(p, kind="stable")[::-1]
    adjusted = np.empty_like(p)
    scaled = p[order] * factor * p.size / np.arange(p.size, 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return adjusted
