"""Association among replicates.

x and y are centred in their design cell, and moved only inside it.

Shapes: n rows, k columns, C cells, b bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.levels import CONFIDENCE
from analysis.statistics.linear import Codes, Floats, codes, finite_columns, nuisance
from analysis.statistics.permutation import CHUNK_DOUBLES

FLAT = 1e-10  # relative size below which what is left of a column in a cell is rounding error


@dataclass(frozen=True)
class CellCorrelation:
    """Correlations `r` (k,) of the `n` rows of one cell.

    NaN for a column that is constant.
    """

    label: object
    n: int
    r: Floats


def replicates(cells: ArrayLike) -> int:
    """r_w = sum over cells of (rows - 1): what the replicates leave for a test."""
    labels = np.asarray(cells)
    return len(labels) - len(np.unique(codes("cells", labels, len(labels))))


def correlations_by_cell(
    x: ArrayLike, y: ArrayLike, cells: ArrayLike, *, covariates: ArrayLike | None = None
) -> tuple[CellCorrelation, ...]:
    """r of x (n,) or (n, k) and y (n,) in each cell (n,).

    It is that of residuals where covariates are given.

    Raises ValueError for null input.
    """
    metrics, response = finite_columns("x", x), finite_columns("y", y)
    labels = np.asarray(cells)
    cell = codes("cells", labels, len(metrics))
    removed = nuisance(len(response), within=cell, covariates=covariates)
    left_x, left_y = removed.residual(metrics), removed.residual(response)[:, 0]
    first, sizes = np.unique(cell, return_index=True, return_counts=True)[1:]
    products, squares = _sums(left_x * left_y[:, None], cell), _sums(np.square(left_x), cell)
    size_x, size_y = np.sqrt(squares), np.sqrt(_sums(np.square(left_y)[:, None], cell))
    varies = (size_x > FLAT * np.linalg.norm(left_x, axis=0)) & (
        size_y > FLAT * np.linalg.norm(left_y)
    )
    r = np.clip(products / np.where(varies, size_x * size_y, 1.0), -1.0, 1.0)
    r[~varies] = np.nan
    return tuple(
        CellCorrelation(labels[row], int(n), values)
        for row, n, values in zip(first, sizes, r, strict=True)
    )


def _sums(columns_NxK: Floats, cell: Codes) -> Floats:
    """The sum of each column in each cell (C, k)."""
    return np.stack([np.bincount(cell, weights=column) for column in columns_NxK.T], axis=1)


def bootstrap_within(
    x: ArrayLike,
    y: ArrayLike,
    cells: ArrayLike,
    *,
    units: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
    bootstrap: int = 2_000,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """95% interval (low (k,), high (k,)) of the pooled r.

    The columns are centred in their cell.

    In each cell (n,) as many rows, or whole `units` (n,), are drawn with replacement as it has,
    and centred again in their cell, or in the finer `blocks` (n,). The standard deviation of
    artanh r over the draws times Student's quantile spans the interval around artanh r. Its
    degrees of freedom are r_w - 1, less one a covariate, or fewer where a few cells with a large
    spread decide about r (Satterthwaite 1946). A sum of products that is centred again varies
    less over draws than over data, by ((m - 1)^2 + 1) / (m (m - 1)) for m independent normal
    units in a cell; the deviation is divided by the root of the mean of that. NaN where fewer
    than half of the draws define r, or r_w leaves no degrees of freedom. Covariates are projected
    out before rows are drawn. Davison & Hinkley 1997, sections 2.3 and 3.2 (stratified draws).
    """
    from scipy.special import stdtrit

    metrics, response = finite_columns("x", x), finite_columns("y", y)
    n, k = metrics.shape
    cell = codes("cells", cells, n)
    unit = np.arange(n) if units is None else codes("units", units, n)
    block = cell if blocks is None else codes("blocks", blocks, n)
    removed = nuisance(n, within=block, covariates=covariates)
    left = removed.residual(np.column_stack([response, metrics]))
    size = np.linalg.norm(left, axis=0)
    left /= np.where(size > 0, size, 1.0)
    own = np.unique(np.column_stack([unit, cell]), axis=0)
    sizes = np.bincount(own[:, 1], minlength=int(cell.max()) + 1)
    members = sizes[sizes > 1]
    lost = 1 + removed.basis.shape[1]
    none = np.full(k, np.nan)
    if int((members - 1).sum()) <= lost:
        return none, none.copy()
    drawn = _correlations_of_draws(left, cell, unit, block, bootstrap, seed)
    shrunk = float((((members - 1) ** 2 + 1) / members).sum() / (members - 1).sum())
    dof = np.maximum(_degrees_of_freedom(left, cell, (sizes - 1).astype(np.float64)) - lost, 1.0)
    reach = stdtrit(dof, 0.5 + CONFIDENCE / 2) / np.sqrt(shrunk)
    r = left[:, 0] @ left[:, 1:]
    low, high = none, none.copy()
    for column in range(k):
        values = drawn[:, column]
        values = np.arctanh(values[np.abs(values) < 1.0 - 1e-12])
        if len(values) < bootstrap / 2 or not abs(r[column]) < 1.0:
            continue
        centre, half = np.arctanh(r[column]), reach[column] * values.std()
        low[column], high[column] = np.tanh(centre - half), np.tanh(centre + half)
    return low, high


def _degrees_of_freedom(left_NxK1: Floats, cell: Codes, free_C: Floats) -> Floats:
    """Degrees of freedom (k,) of the variance of sums of products.

    The products are those of y, the first column, with the others. A cell adds
    v = (sum x^2) (sum y^2) / f to the variance, f its own degrees of freedom `free_C`; together
    they have (sum v)^2 / sum (v^2 / f), at most sum f. Squares of v are too large on average, by
    (1 + 2 / f) for each of both sums of normal values, and are taken down by that.
    """
    several = free_C > 0
    squares = np.stack([np.bincount(cell, weights=c * c)[several] for c in left_NxK1.T])
    free = free_C[several]
    part = squares[0] * squares[1:] / free
    square = np.square(part * free / (free + 2.0)) / free
    size = square.sum(axis=1)
    ratio = np.square(part.sum(axis=1)) / np.where(size > 0, size, 1.0)
    return np.asarray(np.where(size > 0, np.minimum(ratio, free.sum()), free.sum()))


def _correlations_of_draws(
    left_NxK1: Floats, cell: Codes, unit: Codes, block: Codes, draws: int, seed: int
) -> Floats:
    """(b, k) r of y, the first column, with the others; NaN where a draw leaves none."""
    from scipy.sparse import csr_array

    rng, n = np.random.default_rng(seed), len(cell)
    first = np.unique(unit, return_index=True)[1]
    order = np.argsort(block, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(block[order], prepend=-1)), n)
    left, unit = left_NxK1[order], unit[order]
    by_block = [csr_array((c, np.arange(n), ends), shape=(len(ends) - 1, n)) for c in left.T]
    ones = csr_array((np.ones(n), np.arange(n), ends), shape=(len(ends) - 1, n))
    products, squares = left[:, 1:] * left[:, :1], left * left
    parts = []
    rows = max(1, CHUNK_DOUBLES // (2 * n))
    for start in range(0, draws, rows):
        weight = _times_drawn(rng, cell[first], min(rows, draws - start))[unit]  # (n, b)
        total = np.maximum(ones @ weight, 1.0)
        sums = [matrix @ weight for matrix in by_block]
        square = squares.T @ weight
        square -= np.stack([(one * one / total).sum(axis=0) for one in sums])
        product = products.T @ weight
        product -= np.stack([(sums[0] * one / total).sum(axis=0) for one in sums[1:]])
        defined = (square[1:] > FLAT) & (square[0] > FLAT)
        spread = np.where(defined, square[1:] * square[0], 1.0)
        parts.append(np.where(defined, np.clip(product / np.sqrt(spread), -1.0, 1.0), np.nan).T)
    return np.concatenate(parts)


def _times_drawn(rng: np.random.Generator, cell: Codes, draws: int) -> Floats:
    """(units, draws) how often each unit is drawn.

    As many are drawn in a cell (units,) as it has.
    """
    times = np.empty((len(cell), draws))
    size = np.bincount(cell)[cell]
    for m in np.unique(size):
        alike = np.flatnonzero(size == m)
        alike = alike[np.argsort(cell[alike], kind="stable")]
        drawn = rng.multinomial(m, np.full(m, 1.0 / m), size=(draws, len(alike) // m))
        times[alike] = drawn.reshape(draws, -1).T
    return times
