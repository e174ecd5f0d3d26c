"""Forecasts of groups left out against models that are fitted again, one by one."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from places import SHARED

from analysis.statistics.forecast import PENALTIES, forecast, ridge_forecast

PUBLISHED = SHARED / "lc-2024_10_24.csv"


def q2(y: np.ndarray, columns: np.ndarray, groups: np.ndarray) -> float:
    design, error = np.column_stack([np.ones(len(y)), columns]), 0.0
    for group in np.unique(groups):
        rest = groups != group
        slopes = np.linalg.lstsq(design[rest], y[rest], rcond=None)[0]
        error += float(np.square(y[~rest] - design[~rest] @ slopes).sum())
    return 1 - error / float(np.square(y - y.mean()).sum())


def ridge_q2(y: np.ndarray, columns: np.ndarray, x: np.ndarray, groups: np.ndarray) -> float:
    """Ridge on the metrics alone, its penalty by generalised cross-validation, group by group."""
    design, error = np.column_stack([np.ones(len(y)), columns]), 0.0
    for group in np.unique(groups):
        rest = groups != group
        base, m = design[rest], int(rest.sum())
        hat = base @ np.linalg.pinv(base)
        left = x[rest] - hat @ x[rest]
        scale = np.sqrt(np.square(left).mean(axis=0))
        z, best = x / scale, (np.inf, np.zeros(0))
        full = np.column_stack([base, z[rest]])
        for penalty in PENALTIES:
            ridge = np.diag([0.0] * base.shape[1] + [m * penalty] * x.shape[1])
            solve = np.linalg.solve(full.T @ full + ridge, full.T)
            residual = y[rest] - full @ (solve @ y[rest])
            score = float(residual @ residual) / (m - np.trace(full @ solve)) ** 2
            if score < best[0]:
                best = (score, solve @ y[rest])
        ahead = np.column_stack([design[~rest], z[~rest]])
        error += float(np.square(y[~rest] - ahead @ best[1]).sum())
    return 1 - error / float(np.square(y - y.mean()).sum())


def study(seed: int, groups: int = 6, cells: int = 2, seeds: int = 3) -> tuple[np.ndarray, ...]:
    """x (n, 3), of which the first acts on y; columns, groups and cells of the design."""
    rng = np.random.default_rng(seed)
    group, cell, _ = (
        p.ravel() for p in np.meshgrid(range(groups), range(cells), range(seeds), indexing="ij")
    )
    n = len(group)
    columns = np.column_stack([group, group**2, cell]).astype(float)
    x = rng.standard_normal((n, 3)) + columns[:, :1]
    y = columns @ [1.0, 0.1, 2.0] + 2.0 * x[:, 0] + rng.standard_normal(n)
    return x, y, columns, group, group * cells + cell


def test_each_metric_by_fitting_again() -> None:
    x, y, columns, groups, cells = study(0)
    result = forecast(x, y, columns, groups, cells, permutations=99)
    assert result.q2_without == pytest.approx(q2(y, columns, groups), abs=1e-10)
    for k in range(3):
        expected = q2(y, np.column_stack([columns, x[:, k]]), groups)
        assert result.q2_with[k] == pytest.approx(expected, abs=1e-10)
    assert result.gain == pytest.approx(result.q2_with - result.q2_without)
    assert result.p[0] == pytest.approx(0.01)
    assert (result.p[1:] > 0.05).all()


def test_p_by_enumeration() -> None:
    x, y, columns, groups, _ = study(1, groups=4, cells=1, seeds=2)
    result = forecast(x[:, 0], y, columns[:, :1], groups, groups)
    gains = []
    for moves in itertools.product([(0, 1), (1, 0)], repeat=4):
        order = [2 * at + row for at, move in enumerate(moves) for row in move]
        gains.append(q2(y, np.column_stack([columns[:, :1], x[order, 0]]), groups))
    assert result.exact
    assert result.permutations == 16
    assert result.p == pytest.approx(np.mean(np.array(gains) >= gains[0] - 1e-10))


def test_ridge_by_fitting_again() -> None:
    x, y, columns, groups, cells = study(2)
    x = x * [1.0, 100.0, 0.01]
    result = ridge_forecast(x, y, columns, groups, cells, permutations=199)
    assert result.q2_without == pytest.approx(q2(y, columns, groups), abs=1e-10)
    assert result.q2_with == pytest.approx(ridge_q2(y, columns, x, groups), abs=1e-8)
    assert result.p is not None
    assert result.p <= 0.01
    noise = np.random.default_rng(3).standard_normal((len(y), 3))
    nothing = ridge_forecast(noise, y, columns, groups, cells, permutations=199)
    assert nothing.p is not None
    assert nothing.p > 0.05


def test_level_where_the_metric_adds_nothing() -> None:
    rejected = 0
    for seed in range(150):
        x, y, columns, groups, cells = study(seed)
        y = y - 2.0 * x[:, 0]
        rejected += bool(
            forecast(x[:, 1], y, columns, groups, cells, permutations=99, seed=seed).p <= 0.05
        )
    assert rejected / 150 < 0.12  # 150 studies at 5% have a standard deviation of 1.8 points


def test_without_replicates_there_is_a_gain_and_no_p() -> None:
    x, y, columns, groups, _ = study(4)
    result = forecast(x, y, columns, groups, np.arange(len(y)))
    assert np.isnan(result.p).all()
    assert result.permutations == 0
    assert result.gain[0] > 0
    assert ridge_forecast(x, y, columns, groups, np.arange(len(y))).p is None


def test_a_forecast_that_the_design_does_not_determine_is_refused() -> None:
    x, y, _, groups, cells = study(5)
    with pytest.raises(ValueError, match="does not determine the forecast of group 0"):
        forecast(x, y, np.eye(6)[groups][:, 1:], groups, cells)


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"no published measurements at {PUBLISHED}")
def test_published_table_of_linguistic_collapse() -> None:
    """Figures of an independent script: Q^2 .976 to .988 with primary metrics beside the grid."""
    last: dict[str, tuple[int, dict[str, str]]] = {}
    with PUBLISHED.open() as file:
        for row in csv.DictReader(file):
            training, at = row["model"].split("@")
            if training not in last or last[training][0] < int(at):
                last[training] = (int(at), row)
    names = [(name[:2], name[2:7].strip("x"), name[8:10], name[10]) for name in last]
    depth, width, epochs = (np.array([float(n[i]) for n in names]) for i in range(3))
    decay = np.array([n[3] == "L" for n in names], dtype=float)
    columns = {
        name: np.array([float(row[name]) for _, row in last.values()])
        for name in ("val_loss", "norms_log_var", "norms_log_mean", "simcos_mean", "hits", "misses")
    }
    metrics = np.column_stack(
        [
            columns["simcos_mean"],
            columns["hits"] / (columns["hits"] + columns["misses"]),
            np.sqrt(columns["norms_log_var"]) / columns["norms_log_mean"],
        ]
    )
    linear = np.column_stack([np.log(width), np.log(depth), epochs, decay])
    linear = (linear - linear.mean(axis=0)) / linear.std(axis=0)
    pairs = itertools.combinations_with_replacement(range(4), 2)
    quadratic = np.column_stack([linear, *(linear[:, i] * linear[:, j] for i, j in pairs)])
    groups = np.unique(np.column_stack([width, depth]), axis=0, return_inverse=True)[1].ravel()
    cells = np.unique(linear, axis=0, return_inverse=True)[1].ravel()
    result = forecast(metrics, columns["val_loss"], quadratic, groups, cells, permutations=99)
    assert result.q2_without == pytest.approx(0.968, abs=5e-4)
    assert result.q2_with.min() == pytest.approx(0.976, abs=5e-4)
    assert result.q2_with.max() == pytest.approx(0.988, abs=5e-4)
    family = ridge_forecast(metrics, columns["val_loss"], quadratic, groups, cells, permutations=99)
    assert family.q2_with > result.q2_with.max()
