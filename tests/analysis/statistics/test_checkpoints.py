"""Checkpoints of whole trainings, against enumeration in plain Python."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from analysis.statistics.checkpoints import (
    bootstrap_courses,
    pooled_courses,
    prepare_courses,
    shared_courses,
    successive,
)
from analysis.statistics.decide import MOST, Decided, settle
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


def over_training(
    x: np.ndarray, y: np.ndarray, labels: dict[str, Any], most: int = MOST, seed: int = 0
) -> Decided:
    test = prepare_courses(x, y, shared_courses(**labels))
    return settle(test, permutations=min(10_000, most), most=most, seed=seed)


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
    result = over_training(x[order], y[order], shuffled)
    a, b = centred(x, labels), centred(y, labels)
    null = []
    for first, second in itertools.product(itertools.permutations(range(3)), repeat=2):
        trainings = [*first, *(3 + at for at in second)]
        moved = np.concatenate([b[labels["units"] == u] for u in trainings])
        null.append(t(a, moved, labels["units"]))
    assert result.exact
    assert result.permutations == 36
    assert result.r == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)))
    assert result.p == pytest.approx(np.mean(np.array(null) >= null[0] - 1e-10))
    shared = shared_courses(**shuffled)
    low, high = bootstrap_courses(x[order], y[order], shared, bootstrap=200)
    assert low[0] < result.r < high[0]


def test_a_shared_course_no_longer_hides_what_trainings_have_in_common() -> None:
    # Exchanged as they are, trainings keep the course that they share: r is near 1 in any order.
    x, y, labels = study(2, 1, 12, 6, 1.0)
    naive = permutation_test(x, y, units=labels["units"])
    assert naive.r > 0.9
    assert over_training(x, y, labels).p < 0.005
    x, y, labels = study(3, 4, 5, 6, 0.0)
    assert np.corrcoef(x, y)[0, 1] > 0.8
    assert over_training(x, y, labels, most=10_000).p > 0.05


def test_level_over_studies_without_association() -> None:
    rejections = 0
    for seed in range(200):
        x, y, labels = study(seed, 3, 5, 4, 0.0)
        rejections += bool(over_training(x, y, labels, most=199, seed=seed).p <= 0.05)
    assert rejections / 200 < 0.11  # 200 studies at 5% have a standard deviation of 1.5 points


def test_trainings_with_other_epochs_are_not_exchanged() -> None:
    x, y, labels = study(4, 1, 5, 3, 0.5)
    rows = ~((labels["units"] == 4) & (labels["epochs"] == 2))
    cut = {name: values[rows] for name, values in labels.items()}
    assert over_training(x[rows], y[rows], cut).permutations == 24
    assert len(np.unique(shared_courses(**cut).unit)) == 5


def test_cells_of_one_training_are_left_out() -> None:
    _, _, labels = study(5, 3, 2, 3, 0.5)
    rows = labels["units"] != 5
    cut = {name: values[rows] for name, values in labels.items()}
    shared = shared_courses(**cut)
    assert (len(shared.rows), len(np.unique(shared.unit))) == (12, 4)
    with pytest.raises(ValueError, match="no design cell has two trainings"):
        shared_courses(**labels | {"cells": labels["units"]})
    with pytest.raises(ValueError, match="two rows at one epoch"):
        shared_courses(**labels | {"epochs": labels["epochs"] // 2})


def test_three_checkpoints_of_a_training_in_a_row() -> None:
    units = np.array(["b", "a", "a", "b", "a", "c", "a", "c", "b"])
    epochs = np.array([4, 0, 50, 1, 2, 0, 7, 1, 2])
    triples = list(zip(*successive(units, epochs), strict=True))
    assert triples == [(1, 4, 6), (4, 6, 2), (3, 8, 0)]  # a: 0 2 7, 2 7 50; b: 1 2 4
    with pytest.raises(ValueError, match="no training has three checkpoints"):
        successive(units[:2], epochs[:2])


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
