"""Permutation tests that go on until their verdict is clear.

So no verdict depends on the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Floats
from analysis.statistics.permutation import Counts, PermutationResult, Seed, prepare

SURE = 0.99  # confidence that a p lies on one side of the level
STEP = 10  # each round takes the permutations so far to this multiple
MOST = 1_000_000  # permutations after which what is still unclear stays undecided

ASSOCIATED, NOT_FOUND, UNDECIDED = "associated", "not found", "undecided"
CANNOT_REJECT = "cannot reject"


class Repeatable(Protocol):
    """A test by rearrangements, of which any number may be drawn or all enumerated."""

    @property
    def total(self) -> int: ...

    @property
    def least_p(self) -> float: ...

    def enumerated(self) -> Counts: ...

    def drawn(self, permutations: int, seed: Seed) -> Counts: ...

    def result(self, counts: Counts, *, exact: bool) -> PermutationResult: ...


@dataclass(frozen=True)
class Decided:
    """Outcome for k metrics; every array has shape (k,), or () when x was one column.

    `r` signed (partial) correlation; `statistic` what is compared: the studentized t, or r;
    `p` two-sided and `p_maxt` its step-down max-T; `p_low`, `p_high`, `p_maxt_low`,
    `p_maxt_high` 99% Clopper-Pearson intervals of what infinitely many permutations would give,
    p itself when `exact`; `permutations` used; `level` at which is decided; `least_p` that any
    data could give under this design, as far as the number of permutations bounds it.
    """

    r: Floats
    statistic: Floats
    p: Floats
    p_low: Floats
    p_high: Floats
    p_maxt: Floats
    p_maxt_low: Floats
    p_maxt_high: Floats
    permutations: int
    exact: bool
    level: float
    least_p: float

    @property
    def verdict(self) -> NDArray[np.object_]:
        """What `p` says of each metric, alone, in the words of this module."""
        return self._verdict(self.p, self.p_low, self.p_high)

    @property
    def verdict_maxt(self) -> NDArray[np.object_]:
        """What `p_maxt` says of each metric, as one of a family."""
        return self._verdict(self.p_maxt, self.p_maxt_low, self.p_maxt_high)

    @property
    def cannot_reject(self) -> bool:
        """True where the design has too few permutations for any p below the level."""
        return self.least_p > self.level

    def _verdict(self, p: Floats, low: Floats, high: Floats) -> NDArray[np.object_]:
        if self.cannot_reject:
            return np.full(p.shape, CANNOT_REJECT, dtype=object)
        words = np.where(p <= self.level, ASSOCIATED, NOT_FOUND).astype(object)
        if not self.exact:
            words[_covers(low, high, self.level)] = UNDECIDED
        return words


def decide(
    x: ArrayLike,
    y: ArrayLike,
    *,
    permutations: int = 10_000,
    most: int = MOST,
    within: ArrayLike | None = None,
    units: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
    studentized: bool = True,
    level: float = ALPHA,
    seed: int = 0,
) -> Decided:
    """`permutation_test` with as many permutations as its verdicts need.

    x: (n,) or (n, k). y: (n,). Starts with `permutations`. While the 99% Clopper-Pearson
    interval of the p or p max-T of any metric covers `level`, ten times as many are drawn, up to
    `most`, from streams that do not depend on `seed`; what still covers it then is undecided.
    All permutations are enumerated as soon as a round could hold them. Raises ValueError as
    `permutation_test` does.
    """
    test = prepare(x, y, within=within, units=units, covariates=covariates, studentized=studentized)
    return settle(test, permutations=permutations, most=most, level=level, seed=seed)


def settle(
    test: Repeatable,
    *,
    permutations: int = 10_000,
    most: int = MOST,
    level: float = ALPHA,
    seed: int = 0,
) -> Decided:
    """`decide` for a test that is prepared."""
    if not 1 <= permutations <= most:
        raise ValueError(f"permutations must lie in 1 .. {most:,}, not {permutations:,}")
    if test.total <= permutations:
        return _decided(test.result(test.enumerated(), exact=True), test, level)
    counts, stream = test.drawn(permutations, seed), 0
    result = test.result(counts, exact=False)
    while counts.n < most and _unclear(result, level):
        goal, stream = min(STEP * counts.n, most), stream + 1
        if test.total <= goal:
            return _decided(test.result(test.enumerated(), exact=True), test, level)
        # What decides a close case is the same for every seed: the first round counts no more.
        if stream == 1:
            counts = test.drawn(goal, _stream(stream))
        else:
            counts += test.drawn(goal - counts.n, _stream(stream))
        result = test.result(counts, exact=False)
    return _decided(result, test, level)


def _stream(number: int) -> Seed:
    # Numbers from 1000 on: lower ones are the streams that one round draws from.
    return 0, 1000 + number


def _covers(low: Floats, high: Floats, level: float) -> NDArray[np.bool_]:
    return np.asarray((low <= level) & (level <= high))


def _unclear(result: PermutationResult, level: float) -> bool:
    intervals = result.interval(SURE), result.interval_maxt(SURE)
    return any(bool(_covers(low, high, level).any()) for low, high in intervals)


def _decided(result: PermutationResult, test: Repeatable, level: float) -> Decided:
    (low, high), (maxt_low, maxt_high) = result.interval(SURE), result.interval_maxt(SURE)
    return Decided(
        r=result.r,
        statistic=result.statistic,
        p=result.p,
        p_low=low,
        p_high=high,
        p_maxt=result.p_maxt,
        p_maxt_low=maxt_low,
        p_maxt_high=maxt_high,
        permutations=result.n_permutations,
        exact=result.exact,
        level=level,
        least_p=test.least_p,
    )
