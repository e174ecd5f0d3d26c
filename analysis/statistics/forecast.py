"""What a metric adds to a forecast of groups that the model has not seen.

Shapes: n rows, k metrics, q columns of the model of the design, G groups that are left out in
turn, b permutations at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import SINGULAR, Codes, Floats, codes, finite_columns, nuisance
from analysis.statistics.permutation import permuted_rows
from analysis.statistics.within import replicates

BATCH = 500  # permutations that are forecast at once
PENALTIES = np.logspace(-4, 4, 17)  # of standardised metrics, in rows


@dataclass(frozen=True)
class Forecast:
    """Q^2 of forecasts of y without a metric, and with each of k metrics (k,).

    `gain` = q2_with - q2_without; `p` (k,) one-sided, of a gain as large when the metric is
    exchanged inside design cells, NaN where nothing can move (`permutations` is 0 then); `exact`
    all exchanges were enumerated.
    """

    q2_without: float
    q2_with: Floats
    gain: Floats
    p: Floats
    permutations: int
    exact: bool


@dataclass(frozen=True)
class RidgeForecast:
    """The same of all metrics at once, by a ridge regression.

    `p` is None where nothing moves.
    """

    q2_without: float
    q2_with: float
    gain: float
    p: float | None
    permutations: int
    exact: bool


def forecast(
    x: ArrayLike,
    y: ArrayLike,
    columns: ArrayLike,
    groups: ArrayLike,
    cells: ArrayLike,
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> Forecast:
    """What each metric of x adds to the forecast of y (n,).

    x is (n,) or (n, k), the columns of the design (n, q).

    Each group (n,) is predicted from all others by least squares on an intercept, the columns of
    the design and one metric; Q^2 = 1 - sum of squared errors of prediction / sum of squares of y
    about its mean. Nothing is fitted again: with u, v what the columns leave of metric and y and
    H_gg their hat matrix in a group, the errors without the metric are (I - H_gg)^-1 v_g, and
    those with it less the slope of the other groups times (I - H_gg)^-1 u_g (Frisch, Waugh &
    Lovell with the update of Cook & Weisberg 1982, section 3.4). Raises ValueError for null or
    constant input and where the others do not determine the forecast of a group.
    """
    metrics, state = _prepare(x, y, columns, groups)
    q2_with = np.array([state.alone(metric[None])[0] for metric in metrics.T])
    gain = q2_with - state.q2
    p, used, exact = _exceedance(
        cells,
        permutations,
        seed,
        gain,
        lambda order: np.column_stack([state.alone(m[order]) for m in metrics.T]) - state.q2,
    )
    shape = np.shape(x)[1:]
    return Forecast(
        state.q2, q2_with.reshape(shape), gain.reshape(shape), p.reshape(shape), used, exact
    )


def ridge_forecast(
    x: ArrayLike,
    y: ArrayLike,
    columns: ArrayLike,
    groups: ArrayLike,
    cells: ArrayLike,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> RidgeForecast:
    """What all metrics of x (n, k) together add.

    Arguments and errors as of `forecast`.

    In each training part columns of the design are fitted without penalty and the metrics, in
    standard deviations of what the columns leave of them there, with a ridge penalty. It is the
    one of `PENALTIES` with the least generalised cross-validation in the training part alone
    (Golub, Heath & Wahba 1979). The rows of x are exchanged as wholes.
    """
    metrics, state = _prepare(x, y, columns, groups)
    q2 = float(state.together(metrics[None])[0])
    p, used, exact = _exceedance(
        cells,
        permutations,
        seed,
        np.array([q2 - state.q2]),
        lambda order: state.together(metrics[order])[:, None] - state.q2,
    )
    value = None if np.isnan(p[0]) else float(p[0])
    return RidgeForecast(state.q2, q2, q2 - state.q2, value, used, exact)


@dataclass(frozen=True)
class _State:
    """y and the columns of the design made ready.

    `parts` are rows and (I - H_gg)^-1 of a group.
    """

    basis: Floats
    error: Floats
    total: float
    parts: tuple[tuple[Codes, Floats], ...]

    @property
    def q2(self) -> float:
        square = sum(np.square(inverse @ self.error[rows]).sum() for rows, inverse in self.parts)
        return float(1.0 - square / self.total)

    def _residual(self, values_BxN: Floats) -> Floats:
        for _ in range(2):
            values_BxN = values_BxN - values_BxN.mean(axis=1, keepdims=True)
            values_BxN = values_BxN - (values_BxN @ self.basis) @ self.basis.T
        return values_BxN

    def alone(self, metric_BxN: Floats) -> Floats:
        """Q^2 (b,) with one metric beside the columns, for each of its permutations."""
        u, v = self._residual(metric_BxN), self.error
        uu, uv = np.square(u).sum(axis=1), u @ v
        square = np.zeros(len(u))
        for rows, inverse in self.parts:
            ahead, without = u[:, rows] @ inverse, inverse @ v[rows]
            own = uu - (ahead * u[:, rows]).sum(axis=1)
            free = own > SINGULAR * uu  # else the metric is constant in the training part
            slope = np.where(free, (uv - ahead @ v[rows]) / np.where(free, own, 1.0), 0.0)
            square += np.square(without - slope[:, None] * ahead).sum(axis=1)
        return np.asarray(1.0 - square / self.total)

    def together(self, metrics_BxNxK: Floats) -> Floats:
        """Q^2 (b,) with all metrics by ridge, for each of their permutations."""
        b, n, k = metrics_BxNxK.shape
        u = self._residual(metrics_BxNxK.transpose(0, 2, 1).reshape(b * k, n))
        u, v = u.reshape(b, k, n), self.error
        gram, cross, square = u @ u.transpose(0, 2, 1), u @ v, np.zeros(b)
        for rows, inverse in self.parts:
            ahead, without = u[:, :, rows] @ inverse, inverse @ v[rows]
            slopes = _ridge(
                gram - ahead @ u[:, :, rows].transpose(0, 2, 1),
                cross - ahead @ v[rows],
                float(v @ v - without @ v[rows]),
                n - len(rows),
                self.basis.shape[1] + 1,
            )
            square += np.square(without - np.einsum("bk,bkr->br", slopes, ahead)).sum(axis=1)
        return np.asarray(1.0 - square / self.total)


def _ridge(gram: Floats, cross: Floats, square: float, rows: int, fitted: int) -> Floats:
    """Slopes (b, k) from products of training residuals: the penalty of least GCV."""
    scale = np.sqrt(np.einsum("bkk->bk", gram) / rows)
    scale = np.where(scale > 0, scale, np.inf)
    values, vectors = np.linalg.eigh(gram / (scale[:, :, None] * scale[:, None, :]))
    values = np.maximum(values, 0.0)
    turned = np.einsum("bkj,bk->bj", vectors, cross / scale)
    shrunk = 1.0 / (values[:, None, :] + rows * PENALTIES[:, None])  # (b, penalties, k)
    left = square - (np.square(turned)[:, None] * (2 * shrunk - values[:, None] * shrunk**2)).sum(2)
    free = rows - fitted - (values[:, None] * shrunk).sum(axis=2)
    best = np.argmin(left / np.square(np.maximum(free, SINGULAR)), axis=1)
    chosen = np.take_along_axis(shrunk, best[:, None, None], axis=1)[:, 0]
    return np.asarray(np.einsum("bkj,bj->bk", vectors, turned * chosen) / scale)


def _prepare(
    x: ArrayLike, y: ArrayLike, columns: ArrayLike, groups: ArrayLike
) -> tuple[Floats, _State]:
    metrics, response = finite_columns("x", x), finite_columns("y", y)
    n = len(metrics)
    if response.shape != (n, 1):
        raise ValueError(f"y must have shape ({n},) like x, not {np.shape(y)}")
    removed = nuisance(n, covariates=columns)
    removed.vary("x", metrics)
    error = removed.vary("y", response)[:, 0]
    group, parts = codes("groups", groups, n), []
    for label in range(int(group.max()) + 1):
        rows = np.flatnonzero(group == label)
        inner = np.eye(len(rows)) - 1.0 / n - removed.basis[rows] @ removed.basis[rows].T
        values, vectors = np.linalg.eigh(inner)
        if values[0] <= 1e-8:
            raise ValueError(
                f"the design does not determine the forecast of group "
                f"{np.asarray(groups)[rows[0]]}: it has a term that no other group has"
            )
        parts.append((rows, (vectors / values) @ vectors.T))
    total = float(np.square(response - response.mean()).sum())
    return metrics, _State(removed.basis, error, total, tuple(parts))


def _exceedance(
    cells: ArrayLike,
    permutations: int,
    seed: int,
    gain: Floats,
    gains: Callable[[Codes], Floats],
) -> tuple[Floats, int, bool]:
    """One-sided p (k,) of gains under exchange inside cells.

    With the permutations used, and whether these were all.
    """
    if replicates(cells) == 0:
        return np.full(gain.shape, np.nan), 0, False
    exact, total, orders = permuted_rows(cells, permutations, seed, BATCH)
    count = np.zeros(gain.shape)
    for order in orders:
        count += np.count_nonzero(gains(order) >= gain - 1e-12, axis=0)
    extra = 0 if exact else 1
    return (count + extra) / (total + extra), total, exact
