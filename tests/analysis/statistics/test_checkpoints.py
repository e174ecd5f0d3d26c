"""Checkpoints of whole trainings, against enumeration in plain Python."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from analysis.statistics.checkpoints import lead, over_training, pooled_courses
from analysis.statistics.permutation import permutation_test

Study = tuple[np.ndarray, np.ndarray, dict[str, Any]]


def study(seed: int, cells: int, seeds: int, epochs: int, link: float) -> Study:
    """Trainings whose x and y both follow time; `link` ties their own departures from it."""
    rng = np.random.default_rng(seed)
    cell, replicate, epoch = (
        part.ravel()
        for part in np.meshgrid(range(cells), range(seeds), range(epochs), indexing="ij")
    )
    unit = cell * seeds + replicate
    own = rng.standard_normal(cells * seeds)[unit]
    x = np.exp(-epoch) + 0.1 * own + 0.02 * rng.standard_normal(len(cell))
    y = np.exp(-epoch) + 0.1 * link * own + 0.02 * rng.standard_normal(len(cell))
    return x, y, {"cells": cell, "units": unit, "epochs": epoch}


def centred(values: np.ndarray, labels: dict[str, Any]) -> np.ndarray:
    out = values.copy()
    for cell, epoch in set(zip(labels["cells"], labels["epochs"], strict=True)):
        rows = (labels["cells"] == cell) & (labels["epochs"] == epoch)
        out[rows] -= out[rows].mean()
    return out


def t(x: np.ndarray, y: np.ndarray, unit: np.ndarray) -> float:
    scores = x * (y - x * (x @ y) / (x @ x))
    sums = np.array([scores[unit == u].sum() for u in np.unique(unit)])
    return float(abs(x @ y) / np.sqrt(np.square(sums).sum()))


def test_exchange_of_whole_trainings_by_enumeration() -> None:
    x, y, labels = study(0, 2, 3, 4, 0.7)
    order = np.random.default_rng(1).permutation(len(x))  # the order of the rows says nothing
    shuffled = {name: values[order] for name, values in labels.items()}
    result = over_training(x[order], y[order], **shuffled, bootstrap=200)
    a, b = centred(x, labels), centred(y, labels)
    null = []
    for first, second in itertools.product(itertools.permutations(range(3)), repeat=2):
        trainings = [*first, *(3 + at for at in second)]
        moved = np.concatenate([b[labels["units"] == u] for u in trainings])
        null.append(t(a, moved, labels["units"]))
    assert result.test.exact
    assert result.test.permutations == 36
    assert result.test.r == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)))
    assert result.test.p == pytest.approx(np.mean(np.array(null) >= null[0] - 1e-10))
    assert (result.n, result.trainings) == (24, 6)
    assert result.low < result.test.r < result.high


def test_a_shared_course_no_longer_hides_what_trainings_have_in_common() -> None:
    # Exchanged as they are, trainings keep the course that they share: r is near 1 in any order.
    x, y, labels = study(2, 1, 12, 6, 1.0)
    naive = permutation_test(x, y, units=labels["units"])
    assert naive.r > 0.9
    right = over_training(x, y, **labels, bootstrap=300)
    assert right.test.p < 0.005
    x, y, labels = study(3, 4, 5, 6, 0.0)
    assert np.corrcoef(x, y)[0, 1] > 0.8
    assert over_training(x, y, **labels, bootstrap=300, most=10_000).test.p > 0.05


def test_level_over_studies_without_association() -> None:
    rejections = 0
    for seed in range(200):
        x, y, labels = study(seed, 3, 5, 4, 0.0)
        result = over_training(x, y, **labels, permutations=199, most=199, bootstrap=10, seed=seed)
        rejections += bool(result.test.p <= 0.05)
    assert rejections / 200 < 0.11  # 200 studies at 5% have a standard deviation of 1.5 points


def test_trainings_with_other_epochs_are_not_exchanged() -> None:
    x, y, labels = study(4, 1, 5, 3, 0.5)
    rows = ~((labels["units"] == 4) & (labels["epochs"] == 2))
    cut = {name: values[rows] for name, values in labels.items()}
    result = over_training(x[rows], y[rows], **cut, bootstrap=50)
    assert result.test.permutations == 24
    assert result.trainings == 5


def test_cells_of_one_training_are_left_out() -> None:
    x, y, labels = study(5, 3, 2, 3, 0.5)
    rows = labels["units"] != 5
    cut = {name: values[rows] for name, values in labels.items()}
    result = over_training(x[rows], y[rows], **cut, bootstrap=50)
    assert (result.n, result.trainings) == (12, 4)
    with pytest.raises(ValueError, match="no design cell has two trainings"):
        over_training(x, y, **labels | {"cells": labels["units"]})
    with pytest.raises(ValueError, match="two rows at one epoch"):
        over_training(x, y, **labels | {"epochs": labels["epochs"] // 2})


def test_lead_pairs_a_change_with_the_one_that_follows() -> None:
    rng = np.random.default_rng(6)
    seeds, epochs = 10, 7
    steps = rng.standard_normal((seeds, epochs))
    x = np.cumsum(steps, axis=1)
    # y changes by what x changed one checkpoint before; x never follows y.
    y = np.cumsum(
        np.column_stack([np.zeros(seeds), steps[:, :-1]]) + 0.3 * rng.standard_normal(x.shape),
        axis=1,
    )
    labels: dict[str, Any] = {
        "cells": np.zeros(x.size, dtype=int),
        "units": np.repeat(np.arange(seeds), epochs),
        "epochs": np.tile(np.array([0, 1, 2, 5, 10, 20, 50]), seeds),
    }
    both = lead(x.ravel(), y.ravel(), **labels, bootstrap=100)
    dx, dy = np.diff(x, axis=1), np.diff(y, axis=1)
    a, b = dx[:, :-1] - dx[:, :-1].mean(axis=0), dy[:, 1:] - dy[:, 1:].mean(axis=0)
    assert both.forward.n == seeds * (epochs - 2)
    assert both.forward.test.r == pytest.approx(
        (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    )
    assert both.forward.test.r > 0.8
    assert both.forward.test.p < 0.001
    assert both.reverse.test.p > 0.05
    with pytest.raises(ValueError, match="three checkpoints"):
        first = labels["epochs"] < 2
        lead(x.ravel()[first], y.ravel()[first], **{k: v[first] for k, v in labels.items()})


def test_pooled_courses_have_the_null_and_p_of_all_orders() -> None:
    x, y, labels = study(3, cells=3, seeds=2, epochs=3, link=1.0)
    unit, n = labels["units"], len(x)
    exact = []
    for order in itertools.permutations(range(6)):
        moved = np.concatenate([y[unit == order[u]] for u in range(6)])
        exact.append(np.corrcoef(np.concatenate([x[unit == u] for u in range(6)]), moved)[0, 1])
    r = np.corrcoef(x, y)[0, 1]
    null = np.mean(exact)
    share = np.mean(np.abs(exact - null) >= np.abs(r - null) - 1e-12)
    shuffled = np.random.default_rng(0).permutation(n)  # the order of rows says nothing
    pooled = pooled_courses(
        x[shuffled],
        y[shuffled],
        units=unit[shuffled],
        epochs=labels["epochs"][shuffled],
        permutations=20_000,
        seed=1,
    )
    assert float(pooled.r) == pytest.approx(r, abs=1e-12)
    assert float(pooled.null) == pytest.approx(null, abs=1e-3)
    assert float(pooled.p) == pytest.approx(share, abs=4 * np.sqrt(share / 20_000) + 1e-4)


def test_pooled_courses_that_share_time_alone_are_no_finding() -> None:
    rejections = 0
    for seed in range(100):
        x, y, labels = study(seed, cells=4, seeds=3, epochs=3, link=0.0)
        pooled = pooled_courses(
            x, y, units=labels["units"], epochs=labels["epochs"], permutations=499, seed=seed
        )
        assert float(pooled.r) > 0.8
        rejections += float(pooled.p) <= 0.05
    assert rejections <= 12
