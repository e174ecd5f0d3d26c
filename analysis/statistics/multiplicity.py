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
    """Family-wise error under any dependence: p (k,) -> adjusted (k,). Holm 1979.

    >>> holm([0.01, 0.04, 0.03]).round(4)
    array([0.03, 0.06, 0.06])
    """
    return _adjusted(p, "holm")


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """False discovery rate of independent or positively dependent tests: p (k,) -> q (k,).

    Benjamini & Hochberg 1995.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(4)
    array([0.03, 0.04, 0.04])
    """
    return _adjusted(p, "fdr_bh")


def _adjusted(p: ArrayLike, method: str) -> Floats:
    # It takes most of a second to import, which a report without a family does not need.
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(_p_values(p), method=method)[1], dtype=np.float64)
