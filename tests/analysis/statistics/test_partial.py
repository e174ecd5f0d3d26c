"""Partial correlation and its jackknife against plain refits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm

from analysis.statistics.partial import partial_correlation


def partial_r(x: np.ndarray, y: np.ndarray, design: np.ndarray) -> float:
    a, b = sm.OLS(x, design).fit().resid, sm.OLS(y, design).fit().resid
    return float(a @ b / np.sqrt(a @ a * (b @ b)))


@pytest.mark.parametrize("blocked", [False, True])
def test_jackknife_by_refitting_without_each_row(blocked: bool) -> None:
    rng = np.random.default_rng(1)
    n = 24
    z, x, noise = rng.standard_normal((3, n))
    y = 0.5 * x + z + noise
    block = np.repeat(np.arange(4), 6) if blocked else np.zeros(n, dtype=int)
    design = np.column_stack([np.eye(4)[block] if blocked else np.ones(n), z])
    result = partial_correlation(x, y, covariates=z, within=block if blocked else None)
    r = partial_r(x, y, design)
    dof = n - np.linalg.matrix_rank(design) - 1
    rows = np.arange(n)
    without = np.arctanh(
        [partial_r(x[rows != i], y[rows != i], design[rows != i]) for i in range(n)]
    )
    sd = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    half = scipy.stats.t.ppf(0.975, dof) * sd
    assert result.r == pytest.approx(r)
    assert result.dof == dof
    assert (result.low, result.high) == pytest.approx(
        (np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)), abs=1e-9
    )


def test_many_columns_are_those_alone() -> None:
    rng = np.random.default_rng(2)
    x, y, z = rng.standard_normal((40, 3)), rng.standard_normal(40), rng.standard_normal((40, 2))
    together = partial_correlation(x, y, covariates=z)
    for column in range(3):
        alone = partial_correlation(x[:, column], y, covariates=z)
        assert (alone.r, alone.low, alone.high) == pytest.approx(
            (together.r[column], together.low[column], together.high[column])
        )


def test_coverage_where_spread_differs_between_rows() -> None:
    rng = np.random.default_rng(3)
    axis = np.tile(np.linspace(-1, 1, 8), 8)
    spread, rho, covered = 10.0 ** ((axis + 1) / 2), 0.4, 0
    for _ in range(500):
        a, b = rng.standard_normal((2, 64))
        x, y = spread * a + axis, spread * (rho * a + np.sqrt(1 - rho**2) * b) - axis
        result = partial_correlation(x, y, covariates=np.column_stack([axis, axis**2]))
        covered += bool(result.low <= rho <= result.high)
    assert 0.925 <= covered / 500 <= 0.98  # 500 draws have a standard deviation of 1 point


def test_a_perfect_correlation_has_no_interval_and_no_freedom_no_r() -> None:
    x = np.arange(8.0)
    result = partial_correlation(x, 2 * x)
    assert result.r == pytest.approx(1)
    assert np.isnan(result.low)
    with pytest.raises(ValueError, match="no degree of freedom"):
        partial_correlation([1.0, 2.0, 4.0], [1.0, 0.0, 3.0], covariates=[1.0, 5.0, 2.0])
