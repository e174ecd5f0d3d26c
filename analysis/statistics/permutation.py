"""Permutation tests of association: free, within blocks, of whole units, Freedman-Lane with covariates, max-T over
metrics.

Shapes: n rows, k metrics, c permutations in a chunk, m exchangeable places of s rows each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import Codes, Floats, Nuisance, codes, finite_columns, nuisance

CHUNK_DOUBLES = 2**20  # values held at once (8 MiB), whatever n and the number of permutations
REMEMBERED = (
    2**22
)  # rows times permutations up to which random orders are kept for the next test (32 MiB)
TIE = 1e-12  # statistics closer than this are ties: sums of the same numbers in another order


@dataclass(frozen=True)
class PermutationResult:
    """Outcome for k metrics; every array has shape (k,), or () when x was one column.

    `statistic` signed (partial) correlation; `exceedances` permutations with a statistic at least as far from zero;
    `exceedances_maxt` the same for the step-down maxima, already monotone; `exact` all permutations were enumerated.
    """

    statistic: Floats
    exceedances: Floats
    exceedances_maxt: Floats
    n_permutations: int
    exact: bool

    def _p(self, count: Floats) -> Floats:
        extra = 0 if self.exact else 1  # an enumeration contains the observed order itself
        return np.asarray((count + extra) / (self.n_permutations + extra))

    @property
    def p(self) -> Floats:
        """Two-sided p: (b+1)/(n+1), or b/N of all N permutations when exact. Phipson & Smyth 2010."""
        return self._p(self.exceedances)

    @property
    def p_paper(self) -> Floats:
        """b/n, the estimate that Wu & Papyan publish; it can be 0."""
        return np.asarray(self.exceedances / self.n_permutations)

    @property
    def p_maxt(self) -> Floats:
        """Step-down max-T p: family-wise error over the k metrics. Westfall & Young 1993, algorithm 4.1."""
        return self._p(self.exceedances_maxt)

    @property
    def p_interval(self) -> Floats:
        """(2, ...) 95% Clopper-Pearson interval of the p that infinitely many permutations would give; p itself when
        exact.
        """
        if self.exact:
            return np.stack([self.p, self.p])
        from scipy.special import betaincinv

        b, n = self.exceedances, self.n_permutations
        low = np.where(b > 0, betaincinv(np.maximum(b, 1), n - b + 1, 0.025), 0.0)
        high = np.where(b < n, betaincinv(b + 1, np.maximum(n - b, 1), 0.975), 1.0)
        return np.stack([low, high])


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    *,
    permutations: int = 10_000,
    within: ArrayLike | None = None,
    units: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
    seed: int = 0,
) -> PermutationResult:
    """Two-sided test of the correlation of each metric with y, with all metrics permuted together.

    x: (n,) or (n, k). y: (n,). The statistic is Pearson's r, of values centred within blocks if `within` (n,) is given,
    and the partial r given `covariates` (n,) or (n, c); then residuals of y given the covariates are permuted and
    projected again (Freedman & Lane 1983; exact only asymptotically). Rows move freely, inside their block of `within`,
    or, with `units` (n,), as whole units: the rows of a unit, in the order in which they stand, take the places of
    another unit of the same size (and of the same block). All permutations are enumerated when there are no more than
    `permutations`.

    Raises ValueError for null, infinite or constant input, for a metric that is a linear function of covariates and
    blocks, for too few rows and for a design under which nothing can move.
    """
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, not {permutations}")
    shape = np.shape(x)[1:]
    metrics, response = finite_columns("x", x), finite_columns("y", y)
    n = metrics.shape[0]
    if response.shape != (n, 1):
        raise ValueError(f"y must have shape ({n},) like x, not {np.shape(y)}")
    removed = nuisance(n, within=within, covariates=covariates)
    if n - removed.dof < 2:
        raise ValueError(
            f"{n} rows leave {n - removed.dof} degrees of freedom beside {removed.dof} for means and covariates; "
            "2 are needed"
        )
    orbits = _orbits(n, removed, units)
    left_x, left_y = removed.vary("x", metrics), removed.vary("y", response)[:, 0]
    left_x /= np.linalg.norm(left_x, axis=0)
    left_y /= np.linalg.norm(left_y)
    observed = left_x.T @ left_y
    order = np.argsort(
        np.abs(observed), kind="stable"
    )  # least significant first, so that running maxima are the step-down
    threshold = np.abs(observed)[order] - TIE
    columns = np.ascontiguousarray(left_x[:, order])

    total = math.prod(math.factorial(len(places)) for places in orbits)
    exact = total <= permutations
    drawn = (
        _enumerated(left_y, orbits, total)
        if exact
        else _random(left_y, orbits, permutations, seed, _chunk_rows(n + 3 * len(order)))
    )
    count, count_maxt = np.zeros(len(order)), np.zeros(len(order))
    for permuted in drawn:
        statistics = _statistics(permuted, columns, removed.basis)
        count += np.count_nonzero(statistics >= threshold, axis=0)
        np.maximum.accumulate(statistics, axis=1, out=statistics)
        count_maxt += np.count_nonzero(statistics >= threshold, axis=0)
    count_maxt = np.maximum.accumulate(count_maxt[::-1])[::-1]
    back = np.argsort(order)
    return PermutationResult(
        statistic=observed.reshape(shape),
        exceedances=count[back].reshape(shape),
        exceedances_maxt=count_maxt[back].reshape(shape),
        n_permutations=total if exact else permutations,
        exact=exact,
    )


def _statistics(permuted_CxN: Floats, columns_NxK: Floats, basis_NxQ: Floats) -> Floats:
    """|partial r| (c, k) of unit columns with permuted unit residuals, projected again when there are covariates."""
    statistics = np.asarray(permuted_CxN @ columns_NxK)
    np.abs(statistics, out=statistics)
    if basis_NxQ.shape[1]:
        explained = np.square(permuted_CxN @ basis_NxQ).sum(axis=1)
        left = np.sqrt(np.maximum(1.0 - explained, 0.0))
        # A permuted residual inside the span of the covariates has no correlation with anything.
        np.divide(statistics, left[:, None], out=statistics, where=left[:, None] > 1e-7)
        statistics[left <= 1e-7] = 0.0
    return statistics


def _orbits(n: int, removed: Nuisance, units: ArrayLike | None) -> list[Codes]:
    """Sets of exchangeable places, each (m, s): m places of s rows that may swap their contents; m > 1."""
    if units is None:
        places: list[tuple[int, tuple[int, ...]]] = [
            (int(block), (row,)) for row, block in enumerate(removed.block)
        ]
    else:
        unit = codes("units", units, n)
        rows_of: dict[int, list[int]] = {}
        for row, label in enumerate(unit):
            rows_of.setdefault(int(label), []).append(row)
        places = []
        for rows in rows_of.values():
            blocks = set(removed.block[rows].tolist())
            if len(blocks) > 1:
                raise ValueError(
                    f"a unit (label {np.asarray(units)[rows[0]]!r}) lies in {len(blocks)} blocks of `within`; "
                    "a unit that moves as a whole must lie in one"
                )
            places.append((blocks.pop(), tuple(rows)))
    sets: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for block, rows_at in places:
        sets.setdefault((block, len(rows_at)), []).append(rows_at)
    orbits = [np.array(members, dtype=np.intp) for members in sets.values() if len(members) > 1]
    if not orbits:
        raise ValueError(
            "nothing is exchangeable: no block has two rows (or two units of equal size) that could swap"
        )
    return orbits


def _chunk_rows(doubles_per_permutation: int) -> int:
    return max(1, CHUNK_DOUBLES // doubles_per_permutation)


def _random(
    values: Floats, orbits: list[Codes], total: int, seed: int, rows: int
) -> Iterator[Floats]:
    """Chunks (c, n) of randomly permuted values. The buffer is reused: what was yielded is overwritten."""
    if orbits[0].shape == (values.size, 1) and values.size * total <= REMEMBERED:
        orders = _orders(values.size, total, seed)
        for start in range(0, total, rows):
            yield values[orders[start : start + rows]]
        return
    rng = np.random.default_rng(seed)
    buffer = np.tile(values, (min(rows, total), 1))
    for start in range(0, total, rows):
        chunk = buffer[: min(rows, total - start)]
        for places in orbits:
            if places.shape == (values.size, 1):
                chunk[:] = values
                rng.permuted(chunk, axis=1, out=chunk)
            elif places.shape[1] == 1:
                moved = np.tile(values[places[:, 0]], (len(chunk), 1))
                chunk[:, places[:, 0]] = rng.permuted(moved, axis=1, out=moved)
            else:
                source = np.tile(np.arange(len(places), dtype=np.intp), (len(chunk), 1))
                rng.permuted(source, axis=1, out=source)
                chunk[:, places.ravel()] = values[places][source].reshape(len(chunk), -1)
        yield chunk


@lru_cache(maxsize=2)
def _orders(n: int, total: int, seed: int) -> Codes:
    """(total, n): random permutations of n rows, drawn once for the many tests of a report that share them."""
    orders = np.tile(np.arange(n, dtype=np.intp), (total, 1))
    return np.random.default_rng(seed).permuted(orders, axis=1, out=orders)


def _enumerated(values: Floats, orbits: list[Codes], total: int) -> Iterator[Floats]:
    """Chunks (c, n) with every permutation once: the index of a permutation is read in mixed radix, one digit per
    orbit.
    """
    orders = [
        np.array(list(itertools.permutations(range(len(places)))), dtype=np.intp)
        for places in orbits
    ]
    rows = _chunk_rows(values.size)
    for start in range(0, total, rows):
        index = np.arange(start, min(start + rows, total))
        chunk = np.tile(values, (len(index), 1))
        for places, order in zip(orbits, orders, strict=True):
            index, digit = np.divmod(index, len(order))
            chunk[:, places.ravel()] = values[places][order[digit]].reshape(len(chunk), -1)
        yield chunk
