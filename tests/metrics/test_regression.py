"""NRC1 to NRC3 against loops over samples, a grid over gamma, and what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import minimize_scalar
from sklearn.decomposition import PCA

from study.metrics import RegressionMoments, regression_collapse

Array = np.ndarray


def by_loop(features: Array, targets: Array, weight: Array) -> dict[str, float]:
    """The definitions sample by sample, with a projection by least squares and a grid of gamma."""
    n = targets.shape[1]
    axes = PCA(n_components=n, svd_solver="full").fit(features).components_
    residuals = np.zeros(2)
    for h in features:
        unit = h / np.linalg.norm(h)
        for place, basis in enumerate((axes, weight)):
            nearest = basis.T @ np.linalg.lstsq(basis.T, unit)[0]
            residuals[place] += ((unit - nearest) ** 2).sum() / len(features)
    root = np.real(sqrtm(np.cov(targets.T, bias=True)))
    gram = weight @ weight.T / np.linalg.norm(weight @ weight.T)

    def distance(s: float) -> float:
        shape = root - s * np.eye(n)
        return float(np.linalg.norm(gram - shape / np.linalg.norm(shape)) ** 2)

    most = np.linalg.eigvalsh(root)[0]
    grid = np.linspace(0, most, 401)
    best = int(np.argmin([distance(s) for s in grid]))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, 400)])
    fine = minimize_scalar(distance, bounds=around, method="bounded", options={"xatol": 1e-14})
    least = min(fine.fun, distance(0.0), distance(most))
    centred = features - features.mean(axis=0)
    off = [
        ((centred - centred @ basis.T @ np.linalg.pinv(basis.T)) ** 2).sum()
        for basis in (axes, weight)
    ]
    total = (centred**2).sum()
    return {
        "nrc1": residuals[0],
        "nrc2": residuals[1],
        "nrc3": least,
        "nrc1_variance": off[0] / total,
        "nrc2_variance": off[1] / total,
    }


def drawn(seed: int, n: int, d: int, samples: int = 60) -> tuple[Array, Array, Array]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(samples, d)) @ generator.normal(size=(d, d)) + 2.0
    targets = generator.normal(size=(samples, n)) @ generator.normal(size=(n, n))
    return features, targets, generator.normal(size=(n, d))


def measured(features: Array, targets: Array, weight: Array, batch: int = 7):
    moments = RegressionMoments(targets.shape[1], features.shape[1])
    for start in range(0, len(features), batch):
        part = slice(start, start + batch)
        moments.update(torch.from_numpy(features[part]), torch.from_numpy(targets[part]))
    return regression_collapse(moments, torch.from_numpy(weight))


@pytest.mark.parametrize(("n", "d"), [(2, 3), (3, 8), (5, 20)])
@pytest.mark.parametrize("seed", range(4))
def test_columns_are_those_of_the_definitions(n: int, d: int, seed: int) -> None:
    features, targets, weight = drawn(seed, n, d)
    if seed == 3:  # rows near the shape that collapse gives them, so that gamma is inside
        root = np.real(sqrtm(np.cov(targets.T, bias=True)))
        least = np.linalg.eigvalsh(root)[0]
        shape = np.linalg.cholesky(root - 0.5 * least * np.eye(n))
        weight = shape @ np.linalg.qr(weight.T)[0].T + 1e-4 * weight
    expected = by_loop(features, targets, weight)
    columns = measured(features, targets, weight)
    assert columns.keys() == expected.keys()
    for name, value in expected.items():
        assert columns[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
    assert seed != 3 or columns["nrc3"] < 1e-6


def test_shares_of_the_samples_add_up() -> None:
    features, targets, weight = drawn(0, 3, 8)
    whole = RegressionMoments(3, 8)
    parts = [RegressionMoments(3, 8), RegressionMoments(3, 8)]
    whole.update(torch.from_numpy(features), torch.from_numpy(targets))
    for part, rows in zip(parts, (slice(0, 11), slice(11, 60)), strict=True):
        part.update(torch.from_numpy(features[rows]), torch.from_numpy(targets[rows]))
    parts[0].merge(parts[1])
    first, second = (regression_collapse(m, torch.from_numpy(weight)) for m in (whole, parts[0]))
    assert first == pytest.approx(second, rel=1e-10)


def test_rotation_and_scale_of_features_change_nothing() -> None:
    features, targets, weight = drawn(1, 2, 6)
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(6, 6)))[0]
    moved = measured(7.5 * features @ rotation, targets, weight @ rotation / 7.5)
    assert moved == pytest.approx(measured(features, targets, weight), rel=1e-9)


def test_a_small_residual_has_its_digits() -> None:
    """Features 1e-6 off a plane through the origin: a residual near 1e-12, not rounded away."""
    generator = np.random.default_rng(0)
    plane = np.linalg.qr(generator.normal(size=(9, 9)))[0]
    inside = generator.normal(size=(400, 2))
    off = 1e-6 * generator.normal(size=(400, 7))
    features = np.hstack([inside, off]) @ plane.T
    targets = inside @ generator.normal(size=(2, 2))
    expected = np.mean((off**2).sum(1) / ((inside**2).sum(1) + (off**2).sum(1)))
    columns = measured(features, targets, plane[:, :2].T)
    assert columns["nrc2"] == pytest.approx(expected, rel=1e-3)
    assert columns["nrc1"] == pytest.approx(expected, rel=1e-2)


def test_equal_targets_have_one_shape() -> None:
    """Of uncorrelated targets of one variance A is the identity whatever gamma is."""
    targets = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    features = np.hstack([targets, np.zeros((4, 1))])
    assert measured(features, targets, np.array([[2.0, 0, 0], [0, 2, 0]]))["nrc3"] < 1e-30
    unequal = measured(features, targets, np.array([[1.0, 0, 0], [0, 0, 0]]))["nrc3"]
    assert unequal == pytest.approx(2 - 2 / 2**0.5)


def test_what_does_not_exist_has_its_reason() -> None:
    features, targets, weight = drawn(0, 2, 5)
    one = measured(features, targets[:, :1], weight[:1])
    assert one["nrc3"] is None and "always 0" in one.reasons["nrc3"]
    assert one["nrc1"] is not None and one["nrc2"] is not None
    flat = measured(np.repeat(features[:1], 9, axis=0), targets[:9], weight)
    assert flat["nrc1"] is None and "vary in 0 directions" in flat.reasons["nrc1"]
    narrow = measured(features[:, :2], targets, weight[:, :2])
    assert narrow["nrc1"] is None and "no more than the 2 targets" in narrow.reasons["nrc1"]
    zero = measured(0 * features, targets, weight)
    assert zero["nrc1"] is zero["nrc2"] is None and "are zero" in zero.reasons["nrc2"]
    headless = measured(features, targets, 0 * weight)
    assert headless["nrc2"] is headless["nrc3"] is None
    broken = features.copy()
    broken[3, 1] = np.nan
    columns = measured(broken, targets, weight)
    assert columns["nrc1"] is None and "1 of 60 samples" in columns.reasons["nrc1"]
    moments = RegressionMoments(2, 5)
    moments.update(torch.from_numpy(features), torch.from_numpy(targets))
    inner = regression_collapse(moments, None)
    assert inner["nrc1"] is not None
    assert inner.reasons["nrc2"] == inner.reasons["nrc3"] == "an inner layer has no head of its own"


def test_shares_of_variance_do_not_see_the_mean() -> None:
    features, targets, weight = drawn(3, 2, 6)
    here, there = (measured(each, targets, weight) for each in (features, features + 100.0))
    for name in ("nrc1_variance", "nrc2_variance", "nrc3"):
        assert there[name] == pytest.approx(here[name], rel=1e-8)
    assert there["nrc1"] > here["nrc1"] + 0.01


def test_a_zero_feature_lies_in_every_subspace() -> None:
    features, targets, weight = drawn(2, 2, 5)
    more = np.vstack([features, np.zeros((60, 5))])
    twice = measured(more, np.vstack([targets, targets]), weight)
    assert twice["nrc2"] == pytest.approx(measured(features, targets, weight)["nrc2"] / 2)
