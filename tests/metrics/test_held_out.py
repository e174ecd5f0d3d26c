"""Held-out collapse against loops over samples and pairs in float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from study.metrics import METRICS, ClassMoments, MomentsError, held_out_collapse

D = 5


def sample(counts: list[int], seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, d) about class means that all samples share, and their classes."""
    generator = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(len(counts), D))
    labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    return means[labels] + generator.normal(size=(len(labels), D)) + shift, labels


def moments(features: np.ndarray, labels: np.ndarray, classes: int) -> ClassMoments:
    m = ClassMoments(classes, D)
    m.update(torch.from_numpy(features), torch.from_numpy(labels))
    return m


def brute_force(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], min_count: int
) -> dict[str, float]:
    """The definitions of the metric table, sample by sample and pair by pair."""
    (x, y), (h, z) = train, val
    measured = [c for c in np.unique(y) if (y == c).sum() >= min_count]
    measured_val = [c for c in np.unique(z) if (z == c).sum() >= min_count]
    mu = {c: x[y == c].mean(0) for c in measured}
    own = {c: h[z == c].mean(0) for c in np.unique(z)}
    spread = {c: np.mean([np.sum((row - own[c]) ** 2) for row in h[z == c]]) for c in own}

    def trace(means: list[np.ndarray]) -> float:
        centre = np.mean(means, axis=0)
        return float(np.mean([np.sum((mean - centre) ** 2) for mean in means]))

    within = [np.sum((row - own[c]) ** 2) for row, c in zip(h, z, strict=True) if c in measured_val]
    about = [np.sum((row - mu[c]) ** 2) for row, c in zip(h, z, strict=True) if c in measured]
    pairs = [
        (spread[a] + spread[b]) / 2 / np.sum((own[a] - own[b]) ** 2)
        for a, b in combinations(measured_val, 2)
    ]
    between = trace([mu[c] for c in measured])
    shifts = [np.sum((own[c] - mu[c]) ** 2) for c in measured if c in measured_val]
    return {
        "nc1_ratio_val": float(np.mean(within)) / trace([own[c] for c in measured_val]),
        "nc1_cdnv_galanti_val": float(np.mean(pairs)),
        "within_val_about_train": float(np.mean(about)) / between,
        "mean_shift": float(np.mean(shifts)) / between,
    }


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("min_count", [1, 4, 10])
def test_columns_equal_loops(min_count: int, shift: float) -> None:
    """Classes that only one of the samples has enough of are left out as defined."""
    train = sample([30, 12, 3, 10, 11, 2, 25], 1, shift)
    val = sample([12, 4, 10, 1, 15, 11, 0], 2, shift)
    columns = held_out_collapse(moments(*train, 7), moments(*val, 7), min_count=min_count)
    expected = brute_force(train, val, min_count)
    assert columns == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}
    assert columns.keys() <= METRICS.keys()
    assert not columns.reasons


def test_moments_of_shares_give_the_columns_of_all() -> None:
    train, (h, z) = sample([20, 14, 30], 1), sample([15, 11, 12], 2)
    whole = held_out_collapse(moments(*train, 3), moments(h, z, 3))
    merged = moments(h[25:], z[25:], 3)
    merged.merge(moments(h[:25], z[:25], 3))
    shared = held_out_collapse(moments(*train, 3), merged)
    assert shared == {name: pytest.approx(value, rel=1e-12) for name, value in whole.items()}


def test_the_training_samples_themselves_are_not_shifted() -> None:
    m = moments(*sample([20, 14, 30], 1), 3)
    columns = held_out_collapse(m, m)
    assert columns["mean_shift"] == 0
    assert columns["within_val_about_train"] == columns["nc1_ratio_val"]


def test_what_does_not_exist_has_a_reason() -> None:
    train, val = sample([20, 20, 20], 1), sample([3, 2, 12], 2)
    few = held_out_collapse(moments(*train, 3), moments(*val, 3))
    assert "1 classes have at least 10 validation" in few.reasons["nc1_ratio_val"]
    assert few["mean_shift"] is not None and few["within_val_about_train"] is not None
    fewer = held_out_collapse(moments(*train, 3), moments(*sample([3, 2, 2], 2), 3))
    assert "no measured class has at least 10" in fewer.reasons["mean_shift"]
    other = held_out_collapse(
        moments(*sample([20, 20, 0], 1), 3), moments(*sample([0, 0, 9], 2), 3)
    )
    assert "no validation sample" in other.reasons["within_val_about_train"]
    one = held_out_collapse(moments(*sample([20, 0, 0], 1), 3), moments(*val, 3))
    assert "1 classes have at least 10 samples" in one.reasons["mean_shift"]
    same = moments(np.ones((30, D)), np.arange(30) % 3, 3)
    equal = held_out_collapse(same, same)
    assert "equal" in equal.reasons["nc1_ratio_val"] and "equal" in equal.reasons["mean_shift"]
    assert "same validation mean: 3" in equal.reasons["nc1_cdnv_galanti_val"]
    broken = moments(np.full((3, D), np.inf), np.arange(3), 3)
    assert "of validation, 3 of 3" in held_out_collapse(same, broken).reasons["nc1_ratio_val"]
    assert "infinite" in held_out_collapse(broken, same).reasons["mean_shift"]
    large = moments(sample([20, 20, 20], 1)[0] * 1e200, sample([20, 20, 20], 1)[1], 3)
    assert "float64" in held_out_collapse(large, large).reasons["nc1_ratio_val"]
    assert "float64" in held_out_collapse(large, large).reasons["mean_shift"]
    with pytest.raises(MomentsError, match="3 classes x 5"):
        held_out_collapse(same, ClassMoments(2, D))
