"""One difference per training: whether they lie about zero, and their median.

Shapes: n differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.levels import CONFIDENCE, LEAST_ROWS
from analysis.statistics.linear import finite_columns
from analysis.statistics.permutation import CHUNK_DOUBLES, TIE


@dataclass(frozen=True)
class SignFlip:
    """The mean difference, its two-sided p, patterns used, whether these were all."""

    mean: float
    p: float
    n_patterns: int
    exact: bool


def sign_flip_test(
    differences: ArrayLike, *, permutations: int = 10_000, seed: int = 0
) -> SignFlip:
    """Two-sided test that independent differences (n,) are symmetric about zero.

    Their signs are flipped; the statistic is the mean. All 2^n patterns are enumerated when
    there are no more than `permutations`, else p = (b+1)/(permutations+1). Fisher 1935,
    section 21. Raises ValueError for null input or if all differences are zero.
    """
    values = finite_columns("differences", differences)
    if values.shape[1] != 1:
        raise ValueError(f"differences must have shape (n,), not {np.shape(differences)}")
    d = values[:, 0]
    scale = np.abs(d).sum()
    if scale == 0:
        raise ValueError("all differences are zero: there is nothing to test")
    n, d = len(d), d / scale
    threshold = abs(float(d.sum())) - TIE
    exact = 2**n <= permutations
    total = 2**n if exact else permutations
    signs = _flips(n, permutations, seed)
    rows = max(1, CHUNK_DOUBLES // n)
    count = sum(
        int(
            np.count_nonzero(
                np.abs(signs[start : start + rows].astype(np.float64) @ d) >= threshold
            )
        )
        for start in range(0, total, rows)
    )
    extra = 0 if exact else 1
    return SignFlip(float(values.mean()), (count + extra) / (total + extra), total, exact)


@lru_cache(maxsize=4)
def _flips(n: int, permutations: int, seed: int) -> NDArray[np.float32]:
    """Signs (patterns, n): all when there are no more than `permutations`, else drawn."""
    if 2**n <= permutations:
        return (1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)).astype(np.float32)
    rng = np.random.default_rng(seed)
    return (1 - 2 * rng.integers(0, 2, size=(permutations, n), dtype=np.int8)).astype(np.float32)


def median_interval(
    differences: ArrayLike, *, replicates: int = 2_000, seed: int = 0
) -> tuple[float, float] | None:
    """95% bootstrap interval of the median of differences (n,); None for n < 5.

    By percentiles.
    """
    d = finite_columns("differences", differences)[:, 0]
    if len(d) < LEAST_ROWS:
        return None
    medians = np.sort(d)[_middle_places(len(d), replicates, seed)].mean(axis=1)
    low, high = np.quantile(medians, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


@lru_cache(maxsize=8)
def _middle_places(n: int, replicates: int, seed: int) -> NDArray[np.intp]:
    """Places (replicates, 2), among n sorted values, of each draw's middle ones.

    The draws with replacement are places in the sorted values, so that columns of the same
    length share them.
    """
    rng = np.random.default_rng(seed)
    middle = [(n - 1) // 2, n // 2]
    rows = max(1, CHUNK_DOUBLES // n)
    parts = []
    for start in range(0, replicates, rows):
        drawn = rng.integers(0, n, size=(min(rows, replicates - start), n))
        parts.append(np.partition(drawn, middle, axis=1)[:, middle])
    return np.concatenate(parts)
