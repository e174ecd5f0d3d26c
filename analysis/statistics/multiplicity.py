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
    """Holm 1979: family-wise error under any dependence. p (k,) -> adjusted (k,), in the order
    given."""
    array = _p_values(p)
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(
        np.maximum.accumulate(array[order] * np.arange(array.size, 0, -1)), 1.0
    )
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini & Hochberg 1995: false discovery rate for independent or positively dependent
    tests."""
    return _step_up(_p_values(p), 1.0)


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """Benjamini & Yekutieli 2001: false discovery rate under any dependence (the former times 1 +
    1/2 + ... + 1/k)."""
    array = _p_values(p)
    return _step_up(array, float((1.0 / np.arange(1, array.size + 1)).sum()))


def _step_up(p: Floats, factor: float) -> Floats:
    order = np.argsort(p, kind="stable")[::-1]
    adjusted = np.empty_like(p)
    scaled = p[order] * factor * p.size / np.arange(p.size, 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return adjusted
