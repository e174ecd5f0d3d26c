"""Forecasts of groups left out against models that are fitted again, one by one."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
import scipy.stats
from places import SHARED

from analysis.statistics.decide import Decided, settle
from analysis.statistics.forecast import PENALTIES, prepare_forecast

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


def by(permutations: int, *data: np.ndarray, together: bool = False, seed: int = 0) -> Decided:
    test = prepare_forecast(*data, together=together)
    return settle(test, permutations=permutations, most=permutations, seed=seed)


def test_each_metric_by_fitting_again() -> None:
    x, y, columns, groups, cells = study(0)
    result = prepare_forecast(x, y, columns, groups, cells)
    assert result.q2_without == pytest.approx(q2(y, columns, groups), abs=1e-10)
    for k in range(3):
        expected = q2(y, np.column_stack([columns, x[:, k]]), groups)
        assert result.q2_with[k] == pytest.approx(expected, abs=1e-10)
    assert result.gain == pytest.approx(result.q2_with - result.q2_without)
    outcome = by(99, x, y, columns, groups, cells)
    assert outcome.r == pytest.approx(result.gain)
    assert outcome.p[0] == pytest.approx(0.01)
    assert (outcome.p[1:] > 0.05).all()


def test_the_interval_is_that_of_what_is_spared_in_each_group() -> None:
    x, y, columns, groups, cells = study(0)
    low, high = prepare_forecast(x[:, 0], y, columns, groups, cells).interval()
    spared = []
    for group in range(6):
        rest, errors = groups != group, []
        for extra in (columns, np.column_stack([columns, x[:, 0]])):
            design = np.column_stack([np.ones(len(y)), extra])
            slopes = np.linalg.lstsq(design[rest], y[rest], rcond=None)[0]
            errors.append(np.square(y[~rest] - design[~rest] @ slopes).sum())
        spared.append((errors[0] - errors[1]) / np.square(y - y.mean()).sum())
    # The interval of a sum of six values is six times that of their mean.
    ends = scipy.stats.ttest_1samp(spared, 0.0).confidence_interval(0.95)
    assert (float(low), float(high)) == pytest.approx((6 * ends.low, 6 * ends.high), abs=1e-10)


def test_p_by_enumeration() -> None:
    x, y, columns, groups, _ = study(1, groups=4, cells=1, seeds=2)
    result = by(10_000, x[:, 0], y, columns[:, :1], groups, groups)
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
    result = prepare_forecast(x, y, columns, groups, cells, together=True)
    assert result.q2_without == pytest.approx(q2(y, columns, groups), abs=1e-10)
    assert result.q2_with == pytest.approx(ridge_q2(y, columns, x, groups), abs=1e-8)
    assert by(199, x, y, columns, groups, cells, together=True).p <= 0.01
    noise = np.random.default_rng(3).standard_normal((len(y), 3))
    assert by(199, noise, y, columns, groups, cells, together=True).p > 0.05


def test_level_where_the_metric_adds_nothing() -> None:
    rejected = 0
    for seed in range(150):
        x, y, columns, groups, cells = study(seed)
        y = y - 2.0 * x[:, 0]
        rejected += bool(by(99, x[:, 1], y, columns, groups, cells, seed=seed).p <= 0.05)
    assert rejected / 150 < 0.12  # 150 studies at 5% have a standard deviation of 1.8 points


@pytest.mark.parametrize("together", [False, True])
def test_pairs_of_orders_count_as_single_ones(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = prepare_forecast(*study(7, groups=4), together=together)
    pairs = test.drawn(100_000, 1)
    monkeypatch.setattr("analysis.statistics.forecast.PAIRED", 10**9)
    single = test.drawn(20_000, 2)
    for one, other in ((pairs.alone, single.alone), (pairs.maxt, single.maxt)):
        share = (one + other) / 120_000
        error = np.sqrt(share * (1 - share) * (1 / 100_000 + 1 / 20_000))
        assert (np.abs(one / pairs.n - other / single.n) <= 4 * error + 1e-12).all()


def test_max_t_of_gains_by_enumeration() -> None:
    """Two of three metrics: the running maxima of gains over all exchanges, by fitting again."""
    x, y, columns, groups, _ = study(6, groups=4, cells=1, seeds=2)
    result = by(10_000, x, y, columns[:, :1], groups, groups)
    gains = []
    for moves in itertools.product([(0, 1), (1, 0)], repeat=4):
        order = [2 * at + row for at, move in enumerate(moves) for row in move]
        gains.append([q2(y, np.column_stack([columns[:, :1], m[order]]), groups) for m in x.T])
    table = np.array(gains)
    rank, reached = np.argsort(-table[0]), 0.0
    for place, k in enumerate(rank):
        largest = table[:, rank[place:]].max(axis=1)
        reached = max(reached, float(np.mean(largest >= table[0, k] - 1e-10)))
        assert result.p_maxt[k] == pytest.approx(reached)


def test_without_replicates_there_is_a_gain_and_no_p() -> None:
    x, y, columns, groups, _ = study(4)
    assert prepare_forecast(x, y, columns, groups, np.arange(len(y))).gain[0] > 0
    for together in (False, True):
        outcome = by(99, x, y, columns, groups, np.arange(len(y)), together=together)
        assert outcome.cannot_reject


def test_cells_that_the_design_tells_apart_are_refused() -> None:
    x, y, columns, groups, cells = study(4)
    with pytest.raises(ValueError, match="share their group and columns"):
        prepare_forecast(x, y, columns, groups, np.zeros(len(y)))
    with pytest.raises(ValueError, match="share their group and columns"):
        prepare_forecast(x, y, np.column_stack([columns, y**2]), groups, cells)


def test_a_forecast_that_the_design_does_not_determine_is_refused() -> None:
    x, y, _, groups, cells = study(5)
    with pytest.raises(ValueError, match="does not determine the forecast of 0:"):
        prepare_forecast(x, y, np.eye(6)[groups][:, 1:], groups, cells)


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
    result = prepare_forecast(metrics, columns["val_loss"], quadratic, groups, cells)
    assert result.q2_without == pytest.approx(0.968, abs=5e-4)
    assert result.q2_with.min() == pytest.approx(0.976, abs=5e-4)
    assert result.q2_with.max() == pytest.approx(0.988, abs=5e-4)
    family = prepare_forecast(metrics, columns["val_loss"], quadratic, groups, cells, together=True)
    assert family.q2_with > result.q2_with.max()
