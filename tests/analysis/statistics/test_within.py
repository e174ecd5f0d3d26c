"""Association within design cells against plain loops, and what its interval covers."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.permutation import prepare
from analysis.statistics.within import (
    _degrees_of_freedom,
    bootstrap_within,
    correlations_by_cell,
    replicates,
)


def study(
    seed: int, sizes: list[int], rho: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and cell of rows whose cells differ in mean, against the sign of rho, and in spread."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(len(sizes)), sizes)
    spread = np.exp(np.linspace(0, np.log(10), len(sizes)))[cell]
    a, b = rng.standard_normal((2, len(cell)))
    x = spread * a + 50.0 * cell
    y = spread * (rho * a + np.sqrt(1 - rho**2) * b) - 50.0 * cell
    return x, y, cell


def pooled(x: np.ndarray, y: np.ndarray, cell: np.ndarray) -> float:
    a, b = x.copy(), y.copy()
    for label in np.unique(cell):
        a[cell == label] -= a[cell == label].mean()
        b[cell == label] -= b[cell == label].mean()
    return float(a @ b / np.sqrt(a @ a * (b @ b)))


def test_correlations_by_cell_by_a_plain_loop() -> None:
    x, y, cell = study(0, [5, 1, 6, 4, 2])
    assert replicates(cell) == 13
    parts = correlations_by_cell(x, y, cell)
    assert [(part.label, part.n) for part in parts] == [(0, 5), (1, 1), (2, 6), (3, 4), (4, 2)]
    r = [np.corrcoef(x[cell == c], y[cell == c])[0, 1] for c in (0, 2, 3, 4)]
    assert [part.r[0] for part in parts if part.n > 1] == pytest.approx(r)
    assert np.isnan(parts[1].r[0])


def test_covariates_are_taken_out_within_cells() -> None:
    """r of the test, and of each cell, is that of residuals of one regression over all cells."""
    x, y, cell = study(1, [6] * 5, 0.0)
    z = np.random.default_rng(2).standard_normal(30)
    test = prepare(x + 9 * z, y + 9 * z, within=cell, covariates=z, studentized=True)
    design = np.column_stack([np.eye(5)[cell], z])
    a = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    b = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert test.signed()[0] == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)))
    assert pooled(x + 9 * z, y + 9 * z, cell) > 0.2
    parts = correlations_by_cell(x + 9 * z, y + 9 * z, cell, covariates=z)
    r = [np.corrcoef(a[cell == c], b[cell == c])[0, 1] for c in range(5)]
    assert [part.r[0] for part in parts] == pytest.approx(r)


def test_columns_together_are_those_alone() -> None:
    x, y, cell = study(3, [4] * 6)
    both = np.column_stack([x, x**2])
    low, high = bootstrap_within(both, y, cell, bootstrap=300)
    for column in range(2):
        alone = bootstrap_within(both[:, column], y, cell, bootstrap=300)
        assert (alone[0][0], alone[1][0]) == pytest.approx((low[column], high[column]))


def test_bootstrap_draws_by_a_plain_loop() -> None:
    """The standard deviation of artanh r over draws is that of draws made one by one."""
    x, y, cell = study(4, [8, 5, 7])
    low, high = bootstrap_within(x, y, cell, bootstrap=4_000, seed=1)
    rng, draws = np.random.default_rng(9), []
    for _ in range(4_000):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(cell == c), (cell == c).sum()) for c in range(3)]
        )
        draws.append(np.arctanh(pooled(x[rows], y[rows], cell[rows])))
    m = np.array([8, 5, 7])
    shrunk = (((m - 1) ** 2 + 1) / m).sum() / (m - 1).sum()
    expected = 2.119905 * np.std(draws) / np.sqrt(shrunk)  # Student's t, 16 degrees of freedom
    half = (np.arctanh(high[0]) - np.arctanh(low[0])) / 2
    assert half == pytest.approx(expected, rel=0.06)


def test_the_shrinkage_of_a_bootstrapped_sum_of_products() -> None:
    rng = np.random.default_rng(5)
    for m in (2, 3, 6):
        weights = rng.multinomial(m, np.full(m, 1 / m), size=2_000).astype(float)
        a, b = rng.standard_normal((2, 2_000, m))
        sums = (a * b) @ weights.T - (a @ weights.T) * (b @ weights.T) / m
        ratio = sums.var(axis=1).mean() * (m / (m - 1)) ** 2 / (m - 1)
        assert ratio == pytest.approx(((m - 1) ** 2 + 1) / (m * (m - 1)), rel=0.08)


@pytest.mark.parametrize("sizes", [[4] * 16, [21], [3] * 12])
def test_the_interval_covers(sizes: list[int]) -> None:
    covered = 0
    for seed in range(300):
        x, y, cell = study(seed, sizes)
        low, high = bootstrap_within(x, y, cell, bootstrap=200, seed=seed)
        covered += bool(low[0] <= 0.5 <= high[0])
    assert 0.90 <= covered / 300 <= 0.985  # 300 draws have a standard deviation of 1.3 points


def test_few_cells_of_a_large_spread_leave_few_degrees_of_freedom() -> None:
    """Cells whose products are 10^4 times as large decide alone; alike cells count in full."""
    rng, free = np.random.default_rng(8), np.full(40, 3.0)
    cell = np.repeat(np.arange(40), 4)
    left = rng.standard_normal((160, 2))
    left -= np.stack([left[cell == c].mean(axis=0) for c in range(40)])[cell]
    alike = _degrees_of_freedom(left, cell, free)[0]
    assert 80 < alike <= 120
    wide = left * np.where(cell < 10, 100.0, 1.0)[:, None]
    few = _degrees_of_freedom(wide, cell, free)[0]
    assert few < 50
    variance = np.array([np.square(wide[cell == c]).sum(axis=0).prod() / 3 for c in range(40)])
    plain = variance.sum() ** 2 / (variance**2 / 3 * (3 / 5) ** 2).sum()
    assert few == pytest.approx(plain)


def test_whole_units_are_drawn_together() -> None:
    rng = np.random.default_rng(6)
    unit = np.repeat(np.arange(12), 3)
    cell, block = unit // 6, np.tile(np.arange(3), 12) + 3 * (unit // 6)
    level = rng.standard_normal(12)[unit]
    x, y = level + 0.1 * rng.standard_normal(36), level + 0.1 * rng.standard_normal(36)
    rows = bootstrap_within(x, y, cell, blocks=block, bootstrap=500)
    units = bootstrap_within(x, y, cell, units=unit, blocks=block, bootstrap=500)
    assert units[1][0] - units[0][0] > rows[1][0] - rows[0][0]
