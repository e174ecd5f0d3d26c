"""What a treatment changes, from one difference a training.

Signed ranks, the interval that inverts them, equivalence.

Shapes: n differences, K treatments that were compared on the same trainings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.decide import MOST, Decided, settle
from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Codes, Floats, finite_columns
from analysis.statistics.permutation import (
    CHUNK_DOUBLES,
    TIE,
    Counts,
    PermutationResult,
    Seed,
    counted,
)
from analysis.statistics.walsh import WalshAverages

REMEMBERED = 2**25  # signs up to which random patterns are kept (32 MiB)
EXACT_ROWS = 100  # differences up to which the distribution of the signed ranks is convolved

Equivalence = Literal["no more than", "undecided", "changed"]


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test of n differences, its estimate and its interval.

    `nonzero` differences; `estimate` Hodges-Lehmann pseudo-median; `low`, `high` the shifts that
    the test does not reject, None where it can reject none; `statistic` sum of the ranks of the
    positive differences; `p` two-sided; `exact` false where p is normal with continuity
    correction; `cannot_reject`: no signs of these differences would give p <= ALPHA.
    """

    n: int
    nonzero: int
    estimate: float
    low: float | None
    high: float | None
    statistic: float
    p: float
    exact: bool
    cannot_reject: bool


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Signed-rank test of differences (n,), with the interval that inverts it.

    The estimate is the median of the Walsh averages (d_i + d_j) / 2, i <= j (Hodges & Lehmann
    1963). p is the share of the 2^n sign patterns whose signed ranks sum at least as far from
    zero; zeros are ranked with the others but have no sign (Pratt 1959), ties have their mean
    rank. Up to 100 differences that share is exact, beyond it is normal with continuity
    correction. The 95% interval holds the shifts m for which d - m has p > .05; without ties its
    ends are Walsh averages of fixed rank (Hollander, Wolfe & Chicken 2014, section 3.3), so that
    it covers zero exactly where p > .05. Raises ValueError for null input.
    """
    d = _one_column(differences)
    n, nonzero = len(d), int(np.count_nonzero(d))
    walsh = WalshAverages(d)
    estimate = walsh.median
    low, high = _interval(d, walsh)
    ranks = _ranks(d)
    return SignedRank(
        n=n,
        nonzero=nonzero,
        estimate=estimate,
        # Where most differences are equal every other shift may be rejected, on both sides.
        low=None if low is None else min(low, estimate),
        high=None if high is None else max(high, estimate),
        statistic=float(ranks[d > 0].sum()),
        p=_two_sided(d),
        exact=n <= EXACT_ROWS,
        cannot_reject=2.0 ** (1 - nonzero) > ALPHA,
    )


def _one_column(differences: ArrayLike) -> Floats:
    columns = finite_columns("differences", differences)
    if columns.shape[1] != 1:
        raise ValueError(f"differences must have shape (n,), not {np.shape(differences)}")
    return columns[:, 0]


def _ranks(d: Floats) -> Floats:
    """Mean ranks (n,) of |d|."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.abs(d)), dtype=np.float64)


def _tails(d: Floats) -> tuple[float, float]:
    """Shares of sign patterns that reach the positive ranks of d, and of -d."""
    ranks = _ranks(d)
    nonzero = ranks[d != 0]
    return (
        _upper_tail(nonzero, float(ranks[d > 0].sum()), len(d)),
        _upper_tail(nonzero, float(ranks[d < 0].sum()), len(d)),
    )


def _upper_tail(ranks: Floats, statistic: float, n: int) -> float:
    """Share of sign patterns of nonzero ranks, among n, that reach the statistic."""
    from scipy.special import ndtr

    if n <= EXACT_ROWS:
        distribution = _distribution(tuple(sorted(np.rint(2 * ranks).astype(int).tolist())))
        return float(distribution[round(2 * statistic) :].sum())
    spread = math.sqrt(float(np.square(ranks).sum()) / 4)
    return float(ndtr((float(ranks.sum()) / 2 - statistic + 0.5) / spread)) if spread else 1.0


@lru_cache(maxsize=256)
def _distribution(doubled: tuple[int, ...]) -> Floats:
    """Probability of each sum of a random subset of integers.

    Streitberg & Roehmel 1986.
    """
    chance = np.zeros(sum(doubled) + 1)
    chance[0], reach = 1.0, 0
    for rank in doubled:
        chance[: reach + 1] /= 2
        before = chance[: reach + 1].copy()
        chance[rank : rank + reach + 1] += before
        reach += rank
    return chance


def _two_sided(d: Floats) -> float:
    return min(1.0, 2 * min(_tails(d)))


def _interval(d: Floats, walsh: WalshAverages) -> tuple[float | None, float | None]:
    """The least and the greatest shift of which the test rejects no less than that."""
    size = np.sort(np.abs(d))
    if size[0] > 0 and (np.diff(size) > 0).all():
        rank = _rejected_ranks(len(d))
        return (None, None) if rank < 0 else (walsh.at(rank), walsh.at(walsh.total - 1 - rank))
    low = _low_end(d, walsh)
    high = _low_end(-d, walsh.negative)
    return low, None if high is None else 0.0 - high  # which gives no zero a sign


def _low_end(d: Floats, walsh: WalshAverages) -> float | None:
    """The least shift that is not rejected where differences are tied.

    With ties the distribution depends on the shift: between two Walsh averages it is constant. The
    end lies near the rank that it has without ties.
    """
    guess, reach = max(_rejected_ranks(len(d)), 0), len(d)
    while True:
        values, _ = walsh.around(max(guess - reach, 0), min(guess + reach, walsh.total - 1))
        steps = values[np.append(True, values[1:] != values[:-1])]
        inner = (steps[1:] + steps[:-1]) / 2
        if len(values) == walsh.total:
            shifts = np.concatenate([[steps[0] - max(float(np.ptp(steps)), 1.0)], inner])
            low = _first_kept(d, shifts, int(np.searchsorted(steps, walsh.median)))
            return None if low == 0 else float(steps[low - 1])
        if len(inner) and not _keeps(d, inner[0]) and _keeps(d, inner[-1]):
            return float(steps[_first_kept(d, inner, len(inner) - 1)])
        reach *= 8


def _first_kept(d: Floats, shifts: Floats, last: int) -> int:
    """Place of the first of ascending shifts that the test does not reject."""
    return _first(lambda at: _keeps(d, shifts[at]), 0, last)


def _keeps(d: Floats, shift: np.float64) -> bool:
    """Whether the test does not reject a shift."""
    return _two_sided(d - shift) > ALPHA


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Least place in low .. high from which `holds`.

    It is true at high + 1 at the latest.
    """
    while low <= high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle - 1
        else:
            low = middle + 1
    return low


@lru_cache(maxsize=256)
def _rejected_ranks(n: int) -> int:
    """Greatest sum of positive ranks that is rejected as too low.

    It is -1 where there is none.
    """
    if n <= EXACT_ROWS:
        below = np.cumsum(_distribution(tuple(2 * rank for rank in range(1, n + 1)))[::2])
        return int(np.searchsorted(below, ALPHA / 2 * (1 + TIE), side="right")) - 1
    from scipy.special import ndtri

    centre, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return math.floor(centre - 0.5 + float(ndtri(ALPHA / 2)) * spread)


def tost(differences: ArrayLike, margin: float) -> float:
    """p of equivalence of differences (n,).

    The alternative is that their pseudo-median lies within +-margin.

    The larger of the one-sided signed-rank p that it exceeds -margin and that it falls short of
    +margin (two one-sided tests; Schuirmann 1987). It is at most .025 where the 95% interval of
    `signed_rank` lies inside the margin. Raises ValueError for null input or margin <= 0.
    """
    if not margin > 0:
        raise ValueError(f"the margin of equivalence must be positive, not {margin}")
    d = _one_column(differences)
    return max(_tails(d + margin)[0], _tails(d - margin)[1])


def equivalence(low: float, high: float, margin: float) -> Equivalence:
    """What the interval of a change says of a margin > 0 around no change.

    "no more than" the margin where the interval lies inside it, else "undecided" where it covers
    zero and "changed" where it does not.
    """
    if -margin < low and high < margin:
        return "no more than"
    return "undecided" if low <= 0 <= high else "changed"


def joint_sign_flips(
    differences: ArrayLike,
    *,
    permutations: int = 10_000,
    most: int = MOST,
    level: float = ALPHA,
    seed: int = 0,
) -> Decided:
    """Signed-rank tests of K treatments (n, K).

    They are adjusted for being K by joint sign flips.

    A pattern of signs (n,) flips the differences of a training for all treatments at once, which
    keeps their dependence. The statistic is the sum of signed ranks over the root of the sum of
    their squares, `r` that sum over the sum of the ranks (matched-pairs rank-biserial
    correlation, Kerby 2014). Step-down max-T (Westfall & Young 1993, algorithm 4.1); all 2^n
    patterns where a round can hold them, else rounds as in `decide`. Raises ValueError for null
    input and for a treatment that changes nothing.
    """
    d = finite_columns("differences", differences)
    ranks = np.column_stack([np.sign(column) * _ranks(column) for column in d.T])
    zero = np.flatnonzero(~ranks.any(axis=0))
    if zero.size:
        raise ValueError(f"all differences of column {zero[0]} are zero: there is nothing to test")
    unit = ranks / np.linalg.norm(ranks, axis=0)
    order = np.argsort(np.abs(unit.sum(axis=0)), kind="stable")
    test = _Flips(
        np.ascontiguousarray(unit[:, order]),
        (ranks.sum(axis=0) / np.abs(ranks).sum(axis=0))[order],
        order,
        np.shape(differences)[1:],
    )
    return settle(test, permutations=permutations, most=most, level=level, seed=seed)


@dataclass(frozen=True)
class _Flips:
    """Signed ranks of unit length (n, K).

    Columns come from the least to the most significant.
    """

    ranks: Floats
    biserial: Floats
    order: Codes
    shape: tuple[int, ...]

    @property
    def total(self) -> int:
        return int(2 ** len(self.ranks))

    @property
    def least_p(self) -> float:
        return 2 / self.total

    def enumerated(self) -> Counts:
        n = len(self.ranks)
        return self._counts(
            (1 - 2 * ((np.arange(start, stop)[:, None] >> np.arange(n)) & 1)).astype(np.float64)
            for start, stop in _chunks(self.total, n)
        )

    def drawn(self, permutations: int, seed: Seed) -> Counts:
        n = len(self.ranks)
        few = n * permutations <= REMEMBERED
        chunks = _patterns(n, permutations, seed) if few else _drawn(n, permutations, seed)
        return self._counts(chunk.astype(np.float64) for chunk in chunks)

    def _counts(self, chunks: Iterable[Floats]) -> Counts:
        threshold = np.abs(self.ranks.sum(axis=0)) - TIE * len(self.ranks)
        return counted((np.abs(signs @ self.ranks) for signs in chunks), threshold)

    def result(self, counts: Counts, *, exact: bool) -> PermutationResult:
        return counts.result(
            self.biserial, self.ranks.sum(axis=0), self.order, self.shape, exact=exact
        )


@lru_cache(maxsize=4)
def _patterns(n: int, permutations: int, seed: Seed) -> tuple[NDArray[np.int8], ...]:
    """Chunks (c, n) of random signs, drawn once for the many columns that share them."""
    return tuple(_drawn(n, permutations, seed))


def _drawn(n: int, permutations: int, seed: Seed) -> Iterator[NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    for start, stop in _chunks(permutations, n):
        yield 1 - 2 * rng.integers(0, 2, size=(stop - start, n), dtype=np.int8)


def _chunks(total: int, n: int) -> Iterator[tuple[int, int]]:
    rows = max(1, CHUNK_DOUBLES // n)
    return itertools.zip_longest(range(0, total, rows), range(rows, total, rows), fillvalue=total)
