"""Probes of frozen features against plain loops and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from study.columns import METRICS
from study.columns.probes import SHOTS
from study.metrics import CollapseMetrics
from study.metrics.probes import (
    RIDGE,
    ProbeFeatures,
    centre_scores,
    drawn_samples,
    probe_columns,
    probe_metrics,
    ridge_scores,
)
from study.settings.probe import ProbeConfig


def features(n: int, m: int, d: int, classes: int, seed: int = 0) -> ProbeFeatures:
    """Overlapping Gaussian classes of n and m samples, far from the origin."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(classes, d)) + 50

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        labels = rng.permutation(np.arange(count) % classes)
        h = means[labels] + rng.normal(size=(count, d))
        return torch.from_numpy(h).float(), torch.from_numpy(labels)

    return ProbeFeatures(*drawn(n), *drawn(m), classes)


@pytest.mark.parametrize(("n", "d"), [(60, 7), (9, 40)])
def test_ridge_solves_the_normal_equations(n: int, d: int) -> None:
    h = features(n, 25, d, 3)
    x, targets = h.train.double().numpy(), np.eye(3)[h.train_labels]
    centred, about = x - x.mean(0), targets - targets.mean(0)
    strength = RIDGE * (centred**2).sum() / d
    weight = np.linalg.inv(centred.T @ centred + strength * np.eye(d)) @ centred.T @ about
    expected = (h.val.double().numpy() - x.mean(0)) @ weight + targets.mean(0)
    scores = ridge_scores(h.train.double(), h.train_labels, h.val.double(), 3)
    assert np.allclose(scores, expected, rtol=0, atol=1e-9)
    fitted = Ridge(alpha=strength).fit(x, targets).predict(h.val.double().numpy())
    assert np.allclose(scores, fitted, rtol=0, atol=1e-9)


def test_nearest_centre_is_that_of_a_loop_and_of_sklearn() -> None:
    h = features(40, 30, 6, 4)
    x, y, val = h.train.double(), h.train_labels, h.val.double()
    means = [torch.stack([x[at] for at in range(40) if y[at] == c]).mean(0) for c in range(4)]
    scores = centre_scores(x, y, val, 4)
    for row, own in zip(val, scores, strict=True):
        distances = torch.stack([((row - mean) ** 2).sum() for mean in means])
        assert torch.allclose((row**2).sum() - own, distances, rtol=1e-9)
    assert (scores.argmax(1).numpy() == NearestCentroid().fit(x, y).predict(val)).all()


@pytest.mark.parametrize("pca", [None, 3])
def test_accuracies_are_those_of_loops_over_the_draws(pca: int | None) -> None:
    h = features(90, 60, 8, 3)
    columns = probe_metrics(h, shots=[2, 5, "all"], draws=4, seed=7, pca=pca)
    x, val = h.train.double().numpy(), h.val.double().numpy()
    values = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    shares = values / values.sum()
    assert columns["probe_effective_rank"] == pytest.approx(np.exp(-(shares @ np.log(shares))))
    if pca is not None:
        chosen = PCA(pca, svd_solver="full").fit(x)
        x, val = chosen.transform(x), chosen.transform(val)
    y, targets, d = h.train_labels.numpy(), h.val_labels.numpy(), x.shape[1]
    for shots in (2, 5):
        linear, nearest = [], []
        for places in drawn_samples(h.train_labels, 3, shots, 4, 7):
            at = places.numpy()
            assert np.bincount(y[at]).tolist() == [shots] * 3
            assert len(set(at)) == 3 * shots
            strength = RIDGE * ((x[at] - x[at].mean(0)) ** 2).sum() / d
            scores = Ridge(alpha=strength).fit(x[at], np.eye(3)[y[at]]).predict(val)
            linear.append((scores.argmax(1) == targets).mean())
            nearest.append((NearestCentroid().fit(x[at], y[at]).predict(val) == targets).mean())
        for kind, own in (("linear", linear), ("ncc", nearest)):
            assert columns[f"probe_{kind}_{shots}"] == pytest.approx(np.mean(own), abs=1e-12)
            assert columns[f"probe_{kind}_{shots}_std"] == pytest.approx(np.std(own, ddof=1))
    decided = NearestCentroid().fit(x, y).predict(val)
    assert columns["probe_ncc_all"] == pytest.approx((decided == targets).mean(), abs=1e-12)
    assert 1 / 3 < columns["probe_linear_5"] < 1


def test_as_many_right_decisions_are_the_same_number_bit_for_bit() -> None:
    for seed in range(8):
        columns = probe_metrics(features(60, 45, 6, 3, seed), shots=[1], draws=10, seed=0)
        value = columns["probe_ncc_1"]
        assert value == round(value * 450) / 450


def test_draws_depend_on_seed_shots_and_labels_alone() -> None:
    labels = torch.arange(60) % 3
    draws = drawn_samples(labels, 3, 5, 3, 0)
    again = drawn_samples(labels, 3, 5, 2, 0)
    assert all(torch.equal(a, b) for a, b in zip(again, draws, strict=False))
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], drawn_samples(labels, 3, 5, 1, 1)[0])


def test_nothing_changes_with_rotation_translation_and_scale() -> None:
    h = features(60, 45, 6, 3)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))

    def moved(x: Tensor) -> Tensor:
        return 1e-3 * (x.double() - 50) @ torch.from_numpy(turn) + 2.0

    other = ProbeFeatures(moved(h.train), h.train_labels, moved(h.val), h.val_labels, 3)
    first, second = (
        probe_metrics(each, shots=[1, 5, "all"], draws=5, seed=0) for each in (h, other)
    )
    assert first.keys() == second.keys()
    assert all(first[name] == pytest.approx(second[name], abs=1e-6) for name in first)


def test_chance_where_features_know_nothing() -> None:
    rng = np.random.default_rng(0)
    h, y = torch.from_numpy(rng.normal(size=(4000, 5))), torch.arange(4000) % 4
    columns = probe_metrics(
        ProbeFeatures(h[:2000], y[:2000], h[2000:], y[2000:], 4), shots=[5, "all"], draws=20, seed=0
    )
    assert columns["probe_linear_all"] == pytest.approx(0.25, abs=0.03)
    assert columns["probe_ncc_5"] == pytest.approx(0.25, abs=0.02)


def test_what_does_not_exist_is_undefined_with_its_reason() -> None:
    h = features(12, 9, 4, 3)

    def measured(each: ProbeFeatures, *shots: Any, pca: int | None = None) -> CollapseMetrics:
        return probe_metrics(each, shots=shots, draws=2, seed=0, pca=pca)

    few = measured(h, 5, "all")
    assert few["probe_linear_5"] is few["probe_ncc_5_std"] is None
    assert few.reasons["probe_linear_5"] == "a class of the probe has 4 samples"
    assert few["probe_linear_all"] is not None
    wide = measured(h, "all", pca=5)
    assert wide.reasons["probe_ncc_all"].endswith("at most 4 principal directions, not 5")
    assert wide["probe_effective_rank"] is not None
    same = ProbeFeatures(torch.full_like(h.train, 0.1), h.train_labels, h.val, h.val_labels, 3)
    assert set(measured(same, 1).reasons) == set(probe_columns([1]))
    bad = h.train.clone()
    bad[0, 0] = torch.nan
    broken = ProbeFeatures(bad, h.train_labels, h.val, h.val_labels, 3)
    assert "infinite or NaN" in measured(broken, 1).reasons["probe_ncc_1"]


def test_every_number_of_shots_is_a_setting_with_columns_that_are_described() -> None:
    settings = ProbeConfig.model_validate({"data": "held_out", "shots": list(SHOTS)})
    assert settings.shots == list(SHOTS)
    own = [name for name, metric in METRICS.items() if metric.family == "probe"]
    assert sorted(own) == sorted(probe_columns(SHOTS))
