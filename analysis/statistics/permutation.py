"""Permutation tests of association.

Free, within blocks, of whole units, given covariates.

All metrics are permuted together, so that step-down max-T over them costs nothing more.

Shapes: n rows, k metrics, c permutations in a chunk, q rank of the covariates, m exchangeable
places of s rows each in each of g orbits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.levels import ALPHA, CONFIDENCE
from analysis.statistics.linear import (
    SINGULAR,
    Codes,
    Floats,
    Nuisance,
    codes,
    finite_columns,
    nuisance,
)
from analysis.statistics.order_pairs import EMPTY, paired_statistics

CHUNK_DOUBLES = 2**20  # values held at once (8 MiB), whatever n and the number of permutations
REMEMBERED = 2**25  # rows x permutations up to which random orders are kept (64 MiB)
TIE = 1e-12  # statistics closer than this are ties: sums of the same numbers in another order
LISTED = 6  # places of which all orders are listed to draw from
PAIRED = 100_000  # permutations from which each order of x meets each of `ORDERS` orders of y
ORDERS = 1_000
MIXED = 30  # products of a metric and a covariate up to which sums over pairs need no residuals

Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class PermutationResult:
    """Outcome for k metrics; every array has shape (k,), or () when x was one column.

    `r` signed (partial) correlation; `statistic` what is compared: r, or the studentized t;
    `exceedances` permutations with a statistic at least as far from zero; `exceedances_maxt`
    the same for the step-down maxima, already monotone; `exact` all permutations were
    enumerated.
    """

    r: Floats
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
        """Two-sided p: (b+1)/(n+1), or b/N of all N when exact. Phipson & Smyth 2010."""
        return self._p(self.exceedances)

    @property
    def p_paper(self) -> Floats:
        """b/n, the estimate that Wu & Papyan publish; it can be 0."""
        return np.asarray(self.exceedances / self.n_permutations)

    @property
    def p_maxt(self) -> Floats:
        """Step-down max-T p over the k metrics. Westfall & Young 1993, algorithm 4.1."""
        return self._p(self.exceedances_maxt)

    @property
    def p_interval(self) -> Floats:
        """(2, ...) 95% interval of the p of infinitely many permutations.

        It is p itself when exact.
        """
        return self.interval(CONFIDENCE)

    def interval(self, confidence: float) -> Floats:
        """(2, ...) Clopper-Pearson interval of `p` at that confidence.

        It is p itself when exact.
        """
        return self._interval(self.exceedances, self.p, confidence)

    def interval_maxt(self, confidence: float) -> Floats:
        """(2, ...) the same of `p_maxt`."""
        return self._interval(self.exceedances_maxt, self.p_maxt, confidence)

    def _interval(self, count: Floats, p: Floats, confidence: float) -> Floats:
        if self.exact:
            return np.stack([p, p])
        return np.stack(clopper_pearson(count, self.n_permutations, confidence=confidence))


def clopper_pearson(
    count: ArrayLike, total: int, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Exact interval (low, high) of a share.

    `count` of `total` draws were successes.

    Clopper & Pearson 1934; shapes are those of `count`, values in [0, 1].
    """
    from scipy.special import betaincinv

    b, tail = np.asarray(count, dtype=np.float64), (1.0 - confidence) / 2
    low = np.where(b > 0, betaincinv(np.maximum(b, 1), total - b + 1, tail), 0.0)
    high = np.where(b < total, betaincinv(b + 1, np.maximum(total - b, 1), 1.0 - tail), 1.0)
    return low, high


def monte_carlo_interval(p: float, permutations: int, *, confidence: float) -> tuple[float, float]:
    """(low, high) of the p that infinitely many permutations would give.

    `p` is (b + 1) / (n + 1), where b of the n `permutations` were at least as large.
    """
    count = max(round(p * (permutations + 1)) - 1, 0)
    low, high = clopper_pearson(count, permutations, confidence=confidence)
    return float(low), float(high)


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    *,
    permutations: int = 10_000,
    within: ArrayLike | None = None,
    units: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
    studentized: bool = False,
    seed: int = 0,
) -> PermutationResult:
    """Two-sided test of the correlation of each metric with y.

    All metrics are permuted together.

    x: (n,) or (n, k). y: (n,). The statistic is Pearson's r, of values centred within blocks if
    `within` (n,) is given, and the partial r given `covariates` (n,) or (n, c); then residuals
    of y given the covariates are permuted and projected again (Freedman & Lane 1983; exact only
    asymptotically). Rows move freely, inside their block of `within`, or, with `units` (n,), as
    whole units: the rows of a unit, in the order in which they stand, take the places of another
    unit of the same size (and of the same block). All permutations are enumerated when there are
    no more than `permutations`.

    `studentized`: the statistic is t = sum x~ y~ / sqrt(sum (x~ y~)^2), x~ and y~ being what
    blocks and covariates leave of x and (permuted) y. Its level holds also where the spread of y
    depends on x (DiCiccio & Romano 2017), which that of r does not. With covariates (x~ y~)^2 is
    divided by (1 - h)^2, h the leverage of the row in blocks and covariates (HC3; MacKinnon &
    White 1985). y~ and not the residual of the full model stands in the variance, as in a score
    test: with a spread that grows tenfold along an axis and ten parameters, a test at 5% then
    rejects in 5 to 6.5% of studies, and in up to 10% with the latter; and a permutation costs two
    products and no regression. With `units`, of which there are few and whose exchange is exact,
    that residual is taken, since it finds strong associations more often: its products with x~
    are summed in each unit before they are squared (Liang & Zeger 1986).

    Raises ValueError for null, infinite or constant input, for a metric that is a linear function
    of covariates and blocks, for too few rows and for a design under which nothing can move.

    >>> result = permutation_test([1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
    >>> result.n_permutations, result.exact, round(float(result.p), 4)  # 2 of 5! are as far
    (120, True, 0.0167)
    """
    test = prepare(x, y, within=within, units=units, covariates=covariates, studentized=studentized)
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, not {permutations}")
    exact = test.total <= permutations
    counts = test.enumerated() if exact else test.drawn(permutations, seed)
    return test.result(counts, exact=exact)


@dataclass(frozen=True)
class Counts:
    """Of `n` permutations, those at least as far from zero (k,).

    The least significant metric comes first.

    `maxt` is the same for the running maxima, before it is made monotone.
    """

    alone: Floats
    maxt: Floats
    n: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.alone + other.alone, self.maxt + other.maxt, self.n + other.n)

    def result(
        self, r: Floats, statistic: Floats, order: Codes, shape: tuple[int, ...], *, exact: bool
    ) -> PermutationResult:
        """The outcome with r and statistic (k,), as `order` and `shape` say."""
        back = np.argsort(order)
        maxt = np.maximum.accumulate(self.maxt[::-1])[::-1]
        return PermutationResult(
            r=r[back].reshape(shape),
            statistic=statistic[back].reshape(shape),
            exceedances=self.alone[back].reshape(shape),
            exceedances_maxt=maxt[back].reshape(shape),
            n_permutations=self.n,
            exact=exact,
        )


def counted(chunks: Iterable[Floats], threshold_K: Floats) -> Counts:
    """Counts of statistics (c, k) that reach their threshold (k,).

    The least significant column comes first. The chunks may be overwritten.
    """
    alone, maxt, n = np.zeros(len(threshold_K)), np.zeros(len(threshold_K)), 0
    for statistics in chunks:
        alone += np.count_nonzero(statistics >= threshold_K, axis=0)
        np.maximum.accumulate(statistics, axis=1, out=statistics)
        maxt += np.count_nonzero(statistics >= threshold_K, axis=0)
        n += len(statistics)
    return Counts(alone, maxt, n)


@dataclass(frozen=True)
class Prepared:
    """A test made ready for any number of permutations.

    `columns` (n, k) and `response` (n,) are residuals of unit length, the columns from the least
    to the most significant, as `order` (k,) says, so that running maxima are the step-down;
    `squares` (n, k) are those of the columns, weighted, where rows are studentized;
    `unit` (n,) is the unit of each row where it is studentized unit by unit; `total` is the
    number of all permutations; `shape` is that of the results.
    """

    columns: Floats
    response: Floats
    basis: Floats
    orbits: list[Codes]
    order: Codes
    squares: Floats | None
    unit: Codes | None
    total: int
    shape: tuple[int, ...]

    @property
    def least_p(self) -> float:
        """Least two-sided p that the number of permutations allows."""
        # Where only pairs swap, swapping all of them turns the sign of the statistic around.
        pairs = all(places.shape[1] == 2 for places in self.orbits)
        return (2 if pairs else 1) / self.total

    def statistics(self, permuted_CxN: Floats) -> Floats:
        """Absolute statistics (c, k) of permuted residuals, which are overwritten."""
        if self.squares is None and self.unit is None:
            return _correlations(permuted_CxN, self.columns, self.basis)
        if self.basis.shape[1]:
            permuted_CxN = _projected(permuted_CxN, self.basis)
        if self.unit is not None:
            return _by_units(permuted_CxN, self.columns, self.unit)
        assert self.squares is not None
        sums = np.asarray(permuted_CxN @ self.columns)
        np.square(permuted_CxN, out=permuted_CxN)
        return _ratio(np.abs(sums, out=sums), permuted_CxN @ self.squares)

    def signed(self) -> tuple[Floats, Floats]:
        """Signed (r, statistic) of the data as they are, each (k,).

        In the order of `columns`.
        """
        r = self.response @ self.columns
        return r, np.sign(r) * self.statistics(self.response[None].copy())[0]

    def enumerated(self) -> Counts:
        """Counts over all permutations."""
        chunks = _enumerated(self.response, self.orbits, self.total)
        return self._counts(map(self.statistics, chunks))

    def drawn(self, permutations: int, seed: Seed) -> Counts:
        """Counts over random permutations."""
        return self._counts(self._drawn(permutations, seed))

    def _drawn(self, permutations: int, seed: Seed) -> Iterator[Floats]:
        """Absolute statistics (c, k) of random permutations: from `PAIRED` on of pairs."""
        if permutations >= PAIRED:
            return self._of_pairs(permutations, seed)
        n, k = self.columns.shape
        chunks = _random(self.response, self.orbits, permutations, seed, _chunk_rows(n + 3 * k))
        return map(self.statistics, chunks)

    def _of_pairs(self, permutations: int, seed: Seed) -> Iterator[Floats]:
        """Absolute statistics (c, k) of so many pairs of an order of x and one of y."""
        n, k = self.columns.shape
        of_x = side(self.orbits, n, math.ceil(permutations / ORDERS), seed, 0)
        of_y = side(self.orbits, n, ORDERS, seed, 1)
        pairs: Iterator[Floats]
        if self.basis.shape[1] * k > MIXED:
            moved = self.response[of_y]
            pairs = (self._with_x(order).statistics(moved.copy()) for order in of_x)
        else:
            places = None if self.unit is None else _rows_of(self.unit)
            data = self.columns, self.response, self.basis, self.squares, places
            pairs = paired_statistics(*data, of_x, of_y)
        for statistics in pairs:
            yield statistics[:permutations]
            permutations -= len(statistics)

    def _with_x(self, order: Codes) -> Prepared:
        """The test with all but the response in another order of rows."""
        squares = None if self.squares is None else self.squares[order]
        return replace(self, columns=self.columns[order], basis=self.basis[order], squares=squares)

    def _counts(self, chunks: Iterable[Floats]) -> Counts:
        observed = np.abs(self.signed()[1])
        return counted(chunks, observed - TIE * np.maximum(observed, 1.0))

    def interval(self, permutations: int, seed: Seed) -> tuple[Floats, Floats]:
        """95% interval (low (k,), high (k,)) of r, which inverts the test.

        With q the 5% point of |t| over permutations it holds the slopes b of y on x, residuals of
        unit length, for which |t| of y - b x is at most q: (r - b)^2 <= q^2 sum w x^2 (y - b x)^2,
        w the weights of the squares; where t is r itself, <= q^2 sum (y - b x)^2; by units, q
        times the error of the slope, which is the same for all b. Their ends are carried over to
        r by sin(b arcsin(r) / r), which leaves 0 and r where they are: 0 lies outside where p, of
        as many permutations, is at most 5%. An end is NaN where the slopes have no bound there,
        or its angle is none of a correlation; of slopes that 0 separates those on the side of r
        are held. That q is the same for all slopes is approximate, and so is the scale. In the
        order in which metrics were given.
        """
        point = np.square(self.critical(permutations, seed))
        x, y, r = self.columns, self.response[:, None], self.response @ self.columns
        if self.squares is not None:
            weighted = self.squares
            spread, mixed, own = ((weighted * part).sum(axis=0) for part in (y * y, x * y, x * x))
        elif self.unit is not None:
            error = r / np.where(r == 0, 1.0, self.signed()[1])
            spread, mixed, own = np.square(error), np.zeros_like(r), np.zeros_like(r)
        else:
            spread, mixed, own = np.ones_like(r), r, np.ones_like(r)
        lead, half, rest = 1.0 - point * own, r - point * mixed, r * r - point * spread
        root = np.sqrt(np.maximum(half * half - lead * rest, 0.0))
        scale = np.arcsin(np.clip(r, -1.0, 1.0)) / np.where(r == 0, 1.0, r)
        scale[r == 0] = 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.sort((half + np.array([[-1.0], [1.0]]) * root) / lead * scale, axis=0)
        ends[np.abs(ends) >= np.pi / 2] = np.nan
        # Without a bound they are all slopes, or those beyond two of which 0 lies between.
        open_ = lead <= 0
        ends[:, open_ & (rest <= 0)] = np.nan
        split = open_ & (rest > 0)
        beyond = np.where(
            r > 0, [ends[1], np.full_like(r, np.nan)], [np.full_like(r, np.nan), ends[0]]
        )
        low, high = np.sin(np.where(split, beyond, ends))[:, np.argsort(self.order)]
        return low, high

    def critical(self, permutations: int, seed: Seed) -> Floats:
        """The |t| (k,) above which p of these permutations, or of all, is at most 5%."""
        exact = self.total <= permutations
        if exact:
            chunks = _enumerated(self.response, self.orbits, self.total)
            statistics = np.concatenate([self.statistics(chunk) for chunk in chunks])
        else:
            statistics = np.concatenate(list(self._drawn(permutations, seed)))
        # As many as `beyond` permutations may be at least as far, the data as they are included.
        beyond = math.floor(ALPHA * (len(statistics) + (not exact))) + exact
        if not beyond:
            return np.full(self.columns.shape[1], np.inf)
        statistics.partition(len(statistics) - beyond, axis=0)  # in place: they may be many
        point = statistics[-beyond]
        return np.asarray(point + TIE * np.maximum(point, 1.0))

    def result(self, counts: Counts, *, exact: bool) -> PermutationResult:
        """The outcome in the order in which the metrics were given."""
        return counts.result(*self.signed(), self.order, self.shape, exact=exact)


def prepare(
    x: ArrayLike,
    y: ArrayLike,
    *,
    within: ArrayLike | None = None,
    units: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
    centred_in: ArrayLike | None = None,
    studentized: bool = False,
) -> Prepared:
    """The test of `permutation_test` before any permutation.

    Raises ValueError as that does.

    `centred_in` (n,) are the blocks whose means are taken out where they are not those inside
    which rows or units move; each move must then leave the rows of a block in it.
    """
    metrics, response = finite_columns("x", x), finite_columns("y", y)
    n = metrics.shape[0]
    if response.shape != (n, 1):
        raise ValueError(f"y must have shape ({n},) like x, not {np.shape(y)}")
    removed = nuisance(
        n, within=within if centred_in is None else centred_in, covariates=covariates
    )
    if n - removed.dof < 2:
        raise ValueError(
            f"{n} rows leave {n - removed.dof} degrees of freedom beside {removed.dof} for means "
            "and covariates; 2 are needed"
        )
    block = removed.block
    if centred_in is not None:
        block = np.zeros(n, dtype=np.intp) if within is None else codes("within", within, n)
    orbits = _orbits(block, units)
    if centred_in is not None and any(
        (removed.block[places] != removed.block[places[:, :1]]).any() for places in orbits
    ):
        raise ValueError("units that are exchanged must have their rows in the same blocks")
    columns, left_y = removed.vary("x", metrics), removed.vary("y", response)[:, 0]
    columns /= np.linalg.norm(columns, axis=0)
    left_y /= np.linalg.norm(left_y)
    clusters = studentized and units is not None
    test = Prepared(
        columns=columns,
        response=left_y,
        basis=removed.basis,
        orbits=orbits,
        order=np.arange(columns.shape[1]),
        squares=_weighted_squares(columns, removed) if studentized and not clusters else None,
        unit=codes("units", units, n) if clusters and units is not None else None,
        total=math.prod(math.factorial(o.shape[1]) ** len(o) for o in orbits),
        shape=np.shape(x)[1:],
    )
    order = np.argsort(np.abs(test.signed()[1]), kind="stable")
    return replace(
        test,
        columns=np.ascontiguousarray(columns[:, order]),
        order=order,
        squares=None if test.squares is None else np.ascontiguousarray(test.squares[:, order]),
    )


def _weighted_squares(columns_NxK: Floats, removed: Nuisance) -> Floats:
    """Squares over (1 - leverage)^2; without covariates the squares as they are."""
    squares = np.square(columns_NxK)
    if removed.basis.shape[1]:
        size = np.bincount(removed.block)[removed.block]
        free = 1.0 - 1.0 / size - np.square(removed.basis).sum(axis=1)
        fitted = free < SINGULAR  # a row that is fitted exactly has no residual to weigh
        squares[fitted] = 0.0
        squares /= np.square(np.where(fitted, 1.0, free))[:, None]
    return squares


def _correlations(permuted_CxN: Floats, columns_NxK: Floats, basis_NxQ: Floats) -> Floats:
    """|partial r| (c, k) of unit columns with permuted unit residuals.

    With covariates the permuted residuals are projected again.
    """
    statistics = np.asarray(permuted_CxN @ columns_NxK)
    np.abs(statistics, out=statistics)
    if basis_NxQ.shape[1]:
        explained = np.square(permuted_CxN @ basis_NxQ).sum(axis=1)
        left = np.sqrt(np.maximum(1.0 - explained, 0.0))
        # A permuted residual inside the span of the covariates has no correlation with anything.
        np.divide(statistics, left[:, None], out=statistics, where=left[:, None] > 1e-7)
        statistics[left <= 1e-7] = 0.0
    return statistics


def _projected(permuted_CxN: Floats, basis_NxQ: Floats) -> Floats:
    """What the covariates leave of permuted residuals.

    It is zero where only rounding error is left.
    """
    permuted_CxN -= (permuted_CxN @ basis_NxQ) @ basis_NxQ.T
    permuted_CxN[np.einsum("cn,cn->c", permuted_CxN, permuted_CxN) <= 1e-14] = 0.0
    return permuted_CxN


def _ratio(sums_CxK: Floats, squares_CxK: Floats) -> Floats:
    """|sum| / sqrt(sum of squares) (c, k), 0 where all products are zero."""
    empty = squares_CxK <= EMPTY
    squares_CxK[empty] = 1.0
    np.sqrt(squares_CxK, out=squares_CxK)
    sums_CxK /= squares_CxK
    sums_CxK[empty] = 0.0
    return sums_CxK


def _by_units(permuted_CxN: Floats, columns_NxK: Floats, unit_N: Codes) -> Floats:
    """abs(t) (c, k) of slopes.

    From sums in each unit of a column times the full model's residual.
    """
    slopes = np.asarray(permuted_CxN @ columns_NxK)  # columns have unit length
    if len(permuted_CxN) == 1:  # the data as they are, which every test asks for several times
        scores = permuted_CxN.T * columns_NxK - slopes * np.square(columns_NxK)
        by_unit = [np.bincount(unit_N, weights=score).astype(np.float64) for score in scores.T]
        squares = np.square(np.stack(by_unit)).sum(axis=1)[None]
    else:
        squares = np.zeros_like(slopes)
        for rows in _rows_of(unit_N):
            sums = permuted_CxN[:, rows] @ columns_NxK[rows]
            sums -= slopes * np.square(columns_NxK[rows]).sum(axis=0)
            squares += np.square(sums, out=sums)
    np.sqrt(np.maximum(squares, EMPTY, out=squares), out=squares)
    return np.asarray(np.abs(slopes, out=slopes) / squares)


def _rows_of(label: Codes) -> list[Codes]:
    """The rows of each group, by label."""
    order, ends = np.argsort(label, kind="stable"), np.cumsum(np.bincount(label)).tolist()
    return [order[start:end] for start, end in itertools.pairwise([0, *ends])]


def _orbits(block: Codes, units: ArrayLike | None) -> list[Codes]:
    """Exchangeable places (g, m, s), m > 1, one array for each m and s.

    In each of g orbits, m places of s rows may swap their contents.
    """
    unit = np.arange(len(block)) if units is None else codes("units", units, len(block))
    order, sizes = np.argsort(unit, kind="stable"), np.bincount(unit)
    starts = np.cumsum(sizes) - sizes
    own = block[order[starts]]
    if (block != own[unit]).any():
        at = int(unit[block != own[unit]].min())
        rows = np.flatnonzero(unit == at)
        raise ValueError(
            f"a unit (label {np.asarray(units)[rows[0]]!r}) lies in {len(np.unique(block[rows]))} "
            "blocks of `within`; a unit that moves as a whole must lie in one"
        )
    alike = _rows_of(np.unique(own * (sizes.max() + 1) + sizes, return_inverse=True)[1])
    orbits: dict[tuple[int, int], list[Codes]] = {}
    for members in sorted(alike, key=lambda members: int(members[0])):
        if len(members) > 1:
            size = int(sizes[members[0]])
            places = order[starts[members][:, None] + np.arange(size)]
            orbits.setdefault(places.shape, []).append(places)
    if not orbits:
        raise ValueError(
            "nothing is exchangeable: no block has two rows (or two units of equal size) that "
            "could swap"
        )
    return [np.stack(members) for members in orbits.values()]


def orders_of(within: ArrayLike) -> list[Codes]:
    """Exchangeable places of rows that move inside their block of `within` (n,).

    Raises ValueError where no block has two rows.
    """
    labels = np.asarray(within)
    return _orbits(codes("within", labels, len(labels)), None)


def every_order(orbits: list[Codes], n: int, rows: int) -> Iterator[Codes]:
    """Chunks (c, n) of all orders of n rows."""
    total = math.prod(math.factorial(o.shape[1]) ** len(o) for o in orbits)
    for chunk in _enumerated(np.arange(n, dtype=np.float64), orbits, total):
        for start in range(0, len(chunk), rows):
            yield chunk[start : start + rows].astype(np.intp)


def random_orders(
    orbits: list[Codes], n: int, permutations: int, seed: Seed, rows: int
) -> Iterator[Codes]:
    """Chunks (c, n) of random orders of n rows, at most `rows` of them."""
    for chunk in _random(np.arange(n, dtype=np.float64), orbits, permutations, seed, rows):
        yield chunk.astype(np.intp)


def _chunk_rows(doubles_per_permutation: int) -> int:
    return max(1, CHUNK_DOUBLES // doubles_per_permutation)


def _random(
    values: Floats, orbits: list[Codes], total: int, seed: Seed, rows: int
) -> Iterator[Floats]:
    """Chunks (c, n) of randomly permuted values, in a buffer that may be overwritten."""
    if values.size * total > REMEMBERED:
        yield from _moved(values, orbits, total, seed, rows)
        return
    key = tuple((places.shape, places.tobytes()) for places in orbits)
    orders = _orders(values.size, key, total, seed)
    for start in range(0, total, rows):
        yield values.take(orders[start : start + rows])


def side(orbits: list[Codes], n: int, total: int, seed: Seed, side: int) -> Codes:
    """(total, n) random orders of n rows, those of x (side 0) or of y (side 1)."""
    first = (seed,) if isinstance(seed, int) else seed
    # Numbers from 2000 on: those below are the streams of other rounds and of orbits.
    chunks = _moved(np.arange(n, dtype=np.float64), orbits, total, (*first, 2000 + side), total)
    return np.concatenate([chunk.astype(np.intp) for chunk in chunks])


def _moved(
    values: Floats, orbits: list[Codes], total: int, seed: Seed, rows: int
) -> Iterator[Floats]:
    """The chunks as they are drawn, in one buffer that the next chunk overwrites."""
    free = orbits[0].shape == (1, values.size, 1)
    # One generator for each shape, so that no draw depends on the size of the chunks.
    first = (seed,) if isinstance(seed, int) else seed
    streams = [
        np.random.default_rng(seed if at == 0 else (*first, at)) for at in range(len(orbits))
    ]
    buffer = np.empty((min(rows, total), values.size))
    for start in range(0, total, rows):
        chunk = buffer[: min(rows, total - start)]
        chunk[:] = values  # whoever took the last chunk may have overwritten it
        for places, rng in zip(orbits, streams, strict=True):
            if free:
                rng.permuted(chunk, axis=1, out=chunk)
                continue
            g, m, s = places.shape
            source = _moves(rng, len(chunk), g, m) + np.arange(g)[:, None] * m
            moved = values[places].reshape(g * m, s).take(source, axis=0)
            chunk[:, places.ravel()] = moved.reshape(len(chunk), -1)
        yield chunk


def _moves(rng: np.random.Generator, draws: int, orbits: int, m: int) -> Codes:
    """(draws, orbits, m) random orders of m places."""
    if m <= LISTED:  # to look an order up takes a tenth of the time of shuffling
        return _all_orders(m)[rng.integers(0, math.factorial(m), size=(draws, orbits))]
    source = np.tile(np.arange(m, dtype=np.intp), (draws, orbits, 1))
    return rng.permuted(source, axis=2, out=source)


@lru_cache(maxsize=16)
def _all_orders(m: int) -> Codes:
    """(m!, m) orders of m places."""
    return np.array(list(itertools.permutations(range(m))), dtype=np.intp)


@lru_cache(maxsize=4)
def _orders(
    n: int, orbits: tuple[tuple[tuple[int, ...], bytes], ...], total: int, seed: Seed
) -> NDArray[np.integer]:
    """(total, n) random orders of n rows.

    They are drawn once for the many tests that share them.
    """
    places = [np.frombuffer(rows, dtype=np.intp).reshape(shape) for shape, rows in orbits]
    rows = _chunk_rows(n)
    chunks = _moved(np.arange(n, dtype=np.float64), places, total, seed, rows)
    kind = np.uint16 if n <= np.iinfo(np.uint16).max else np.int32
    return np.concatenate([chunk.astype(kind) for chunk in chunks])


def _enumerated(values: Floats, orbits: list[Codes], total: int) -> Iterator[Floats]:
    """Chunks (c, n) with every permutation once.

    The index of a permutation is read in mixed radix, one digit per orbit.
    """
    rows = _chunk_rows(values.size)
    for start in range(0, total, rows):
        index = np.arange(start, min(start + rows, total))
        chunk = np.tile(values, (len(index), 1))
        for places in itertools.chain.from_iterable(orbits):
            order = _all_orders(len(places))
            index, digit = np.divmod(index, len(order))
            chunk[:, places.ravel()] = values[places][order[digit]].reshape(len(chunk), -1)
        yield chunk
