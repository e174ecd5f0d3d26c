"""What a metric adds to a forecast of groups that the model has not seen.

Shapes: n rows, k metrics, q columns of the model of the design, G groups that are left out in
turn, c permutations at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.levels import CONFIDENCE
from analysis.statistics.linear import SINGULAR, Codes, Floats, codes, finite_columns, nuisance
from analysis.statistics.order_pairs import TILE, products
from analysis.statistics.permutation import (
    ORDERS,
    PAIRED,
    TIE,
    Counts,
    PermutationResult,
    Seed,
    counted,
    every_order,
    orders_of,
    random_orders,
    side,
)

CHUNK = 500  # permutations that are forecast at once
PENALTIES = np.logspace(-4, 4, 17)  # of standardised metrics, in rows


@dataclass(frozen=True)
class ForecastTest:
    """What metrics add to the forecast of y, and the test of it.

    `q2_without` is Q^2 of the design alone; `q2_with` (k,) with each metric, or (1,) with all of
    them by ridge; `gain` the difference. The test is one-sided: the share of exchanges of the
    metric inside design cells with as large a gain, which is the r of its outcome. `total` is 1
    where nothing can move.
    """

    metrics: Floats
    response: Floats
    orbits: list[Codes]
    parts: tuple[_Part | _RidgePart, ...]
    square: float
    shape: tuple[int, ...]
    total: int = field(init=False)

    def __post_init__(self) -> None:
        total = math.prod(math.factorial(o.shape[1]) ** len(o) for o in self.orbits)
        object.__setattr__(self, "total", total)

    @property
    def least_p(self) -> float:
        """Least p that the number of exchanges allows."""
        return 1 / self.total

    @cached_property
    def q2_without(self) -> float:
        """Q^2 of the design alone."""
        return float(1.0 - sum(part.error for part in self.parts) / self.square)

    @cached_property
    def gain(self) -> Floats:
        """Q^2 with less Q^2 without, as `shape` says."""
        return np.asarray(self._gains(self._sums(self.response[None]))[0].reshape(self.shape))

    @property
    def q2_with(self) -> Floats:
        """Q^2 of the design and the metrics."""
        return np.asarray(self.q2_without + self.gain)

    def interval(self) -> tuple[Floats, Floats]:
        """95% interval (low, high) of the gain, by what is spared in each group.

        gain -+ t sqrt(G var) / square, with the variance of what is spared over the G groups and
        Student's t with G - 1 degrees of freedom (Diebold & Mariano 1995, of groups in place of
        times). Groups are taken as independent, though they share parts of their training data.
        """
        from scipy.special import stdtrit

        sums, groups = self._sums(self.response[None]), len(self.parts)
        spared_GxK = np.concatenate(self._spared(sums)) / self.square
        deviation = np.sqrt(groups * spared_GxK.var(axis=0, ddof=1)).reshape(self.shape)
        half = float(stdtrit(groups - 1, 0.5 + CONFIDENCE / 2)) * deviation
        return np.asarray(self.gain - half), np.asarray(self.gain + half)

    def enumerated(self) -> Counts:
        """Counts over all exchanges."""
        orders = every_order(self.orbits, len(self.response), CHUNK)
        return self._counts(self._sums(self.response[order]) for order in orders)

    def drawn(self, permutations: int, seed: Seed) -> Counts:
        """Counts over random exchanges: from `PAIRED` on of pairs of orders."""
        if permutations >= PAIRED:
            return self._counts(self._of_pairs(permutations, seed))
        orders = random_orders(self.orbits, len(self.response), permutations, seed, CHUNK)
        return self._counts(self._sums(self.response[order]) for order in orders)

    def result(self, counts: Counts, *, exact: bool) -> PermutationResult:
        """The outcome in the order of the metrics."""
        gain = self.gain.ravel()
        return counts.result(
            gain[self._order], gain[self._order], self._order, self.shape, exact=exact
        )

    @cached_property
    def _order(self) -> Codes:
        """From the least gain to the largest, so that running maxima are the step-down."""
        return np.argsort(self.gain.ravel(), kind="stable")

    def _counts(self, sums: Iterable[Sequence[Floats]]) -> Counts:
        threshold = self.gain.ravel()[self._order] - TIE
        return counted((self._gains(each)[:, self._order] for each in sums), threshold)

    def _sums(self, moved_CxN: Floats) -> list[Floats]:
        """Products (c, k) of metrics and moved response in each group.

        The response is moved in place of the metrics, so that all metrics share it: what the
        columns of the design leave of a metric changes by nothing else, as the columns are
        constant in a design cell.
        """
        return [moved_CxN[:, part.rows] @ self.metrics[part.rows] for part in self.parts]

    def _of_pairs(self, permutations: int, seed: Seed) -> Iterator[list[Floats]]:
        """The same of pairs of an order of the metrics and one of the response."""
        n, k = self.metrics.shape
        y = self.response[side(self.orbits, n, ORDERS, seed, 1)]
        of_x = side(self.orbits, n, math.ceil(permutations / ORDERS), seed, 0)
        tile = max(1, TILE // (ORDERS * k))
        for start in range(0, len(of_x), tile):
            x = self.metrics[of_x[start : start + tile]]
            sums = [
                products(y[:, part.rows], x[:, part.rows]).reshape(-1, k) for part in self.parts
            ]
            yield [each[:permutations] for each in sums]
            permutations -= len(sums[0])

    def _gains(self, sums: Sequence[Floats]) -> Floats:
        """Gains (c, k), or (c, 1) of all metrics together."""
        return np.asarray(sum(self._spared(sums)) / self.square)

    def _spared(self, sums: Sequence[Floats]) -> list[Floats]:
        """Squared errors (c, k) that metrics spare in each group."""
        total = np.sum(sums, axis=0)
        return [part.spared(total - own, own) for part, own in zip(self.parts, sums, strict=True)]


def prepare_forecast(
    x: ArrayLike,
    y: ArrayLike,
    columns: ArrayLike,
    groups: ArrayLike,
    cells: ArrayLike,
    *,
    together: bool = False,
) -> ForecastTest:
    """The test of what metrics add to the forecast of y (n,), alone or `together`.

    x is (n,) or (n, k), the columns of the design (n, q).

    Each group (n,) is predicted from all others by least squares on an intercept, the columns of
    the design and one metric; Q^2 = 1 - sum of squared errors of prediction / sum of squares of y
    about its mean. Nothing is fitted again: with u, v what the columns leave of metric and y and
    H_gg their hat matrix in a group, the errors without the metric are (I - H_gg)^-1 v_g, and
    those with it less the slope of the other groups times (I - H_gg)^-1 u_g (Frisch, Waugh &
    Lovell with the update of Cook & Weisberg 1982, section 3.4).

    `together`: in each training part the columns are fitted without penalty and the metrics, in
    standard deviations of what the columns leave of them there, with a ridge penalty. It is the
    one of `PENALTIES` with the least generalised cross-validation in the training part alone
    (Golub, Heath & Wahba 1979).

    Raises ValueError for null or constant input, where the others do not determine the forecast of
    a group, and for design cells (n,) that lie in several groups or differ in a column.
    """
    metrics, response = finite_columns("x", x), finite_columns("y", y)
    n = len(metrics)
    if response.shape != (n, 1):
        raise ValueError(f"y must have shape ({n},) like x, not {np.shape(y)}")
    removed = nuisance(n, covariates=columns)
    u, v = removed.vary("x", metrics), removed.vary("y", response)[:, 0]
    u /= np.linalg.norm(u, axis=0)
    group, cell = codes("groups", groups, n), codes("cells", cells, n)
    first = np.unique(cell, return_index=True)[1][cell]
    alike = np.abs(removed.basis - removed.basis[first]).max(initial=0.0) <= SINGULAR
    if not alike or (group != group[first]).any():
        raise ValueError("the rows of a design cell must share their group and columns")
    parts: list[_Part | _RidgePart] = []
    span = np.column_stack([np.full(n, 1 / math.sqrt(n)), removed.basis])
    for label in range(int(group.max()) + 1):
        rows = np.flatnonzero(group == label)
        values, vectors = np.linalg.eigh(np.eye(span.shape[1]) - span[rows].T @ span[rows])
        if values[0] <= 1e-8:
            raise ValueError(
                f"the design does not determine the forecast of "
                f"{np.asarray(groups)[rows[0]]}: it has a term that no other group has"
            )
        # (I - H_gg)^-1 by the identity of Woodbury.
        spread = span[rows] @ (vectors / values) @ vectors.T
        ahead = u[rows] + spread @ (span[rows].T @ u[rows])
        without = v[rows] + spread @ (span[rows].T @ v[rows])
        part = _Part(
            rows=rows,
            gram=u.T @ u - u[rows].T @ ahead,
            ahead=ahead.T @ ahead,
            cross=u[rows].T @ (without - v[rows]),
            lead=ahead.T @ without - u[rows].T @ v[rows],
            error=float(without @ without),
        )
        if together:
            left = float(v @ v - v[rows] @ without)
            parts.append(_RidgePart.of(part, left, n - len(rows), removed.basis.shape[1] + 1))
        else:
            parts.append(part)
    several = np.flatnonzero(np.bincount(cell)[cell] > 1)
    return ForecastTest(
        metrics=u,
        response=v,
        orbits=orders_of(cell) if len(several) else [],
        parts=tuple(parts),
        square=float(np.square(response - response.mean()).sum()),
        shape=() if together else np.shape(x)[1:],
    )


@dataclass(frozen=True)
class _Part:
    """A group of `rows` that is left out, and what no exchange changes of it.

    `gram` (k, k) products of the metrics in the training part, `ahead` (k, k) of their forecasts in
    the group; `error` squares of the errors without a metric. With s (k,) the products of metrics
    and y in the group, and t those in the others, the products in the training part are t - `cross`
    and those of both errors ahead s + `lead`.
    """

    rows: Codes
    gram: Floats
    ahead: Floats
    cross: Floats
    lead: Floats
    error: float

    def spared(self, others_CxK: Floats, own_CxK: Floats) -> Floats:
        """By how much each metric (c, k) lessens the squares of the errors."""
        own, ahead = np.diag(self.gram), np.diag(self.ahead)
        free = own > SINGULAR  # else the metric, of unit length, is constant in the training part
        slope = np.where(free, (others_CxK - self.cross) / np.where(free, own, 1.0), 0.0)
        return np.asarray(slope * (2.0 * (own_CxK + self.lead) - slope * ahead))


@dataclass(frozen=True)
class _RidgePart:
    """The same of all metrics at once, by ridge regressions made ready.

    `turned` (k, j) takes products in the training part to its eigenvectors, `shrunk` (penalties, j)
    are the inverse eigenvalues with the penalty, `fit` (j, penalties) what is explained, `left` the
    squares of y there, `free` (penalties,) the degrees of freedom.
    """

    part: _Part
    turned: Floats
    shrunk: Floats
    fit: Floats
    left: float
    free: Floats

    @classmethod
    def of(cls, part: _Part, left: float, rows: int, fitted: int) -> _RidgePart:
        """The part with `left` squares of y over training `rows`, `fitted` columns out."""
        scale = np.sqrt(np.diag(part.gram) / rows)
        scale = np.where(scale > 0, scale, np.inf)
        values, vectors = np.linalg.eigh(part.gram / (scale[:, None] * scale))
        values = np.maximum(values, 0.0)
        shrunk = 1.0 / (values + rows * PENALTIES[:, None])
        free = rows - fitted - (values * shrunk).sum(axis=1)
        return cls(
            part=part,
            turned=vectors / scale[:, None],
            shrunk=shrunk,
            fit=(2 * shrunk - values * shrunk**2).T,
            left=left,
            free=np.maximum(free, SINGULAR),
        )

    @property
    def rows(self) -> Codes:
        return self.part.rows

    @property
    def error(self) -> float:
        return self.part.error

    def spared(self, others_CxK: Floats, own_CxK: Floats) -> Floats:
        """By how much all metrics together lessen the squares of the errors, (c, 1)."""
        turned = (others_CxK - self.part.cross) @ self.turned
        scores = (self.left - np.square(turned) @ self.fit) / np.square(self.free)
        slopes = (turned * self.shrunk[np.argmin(scores, axis=1)]) @ self.turned.T
        gained = 2.0 * (own_CxK + self.part.lead) - slopes @ self.part.ahead
        return np.asarray((slopes * gained).sum(axis=1, keepdims=True))
