"""Ranks, rays and paths of features against definitions in numpy and scipy."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from study.metrics import (
    ClassMoments,
    Gaussian,
    collapse_metrics,
    geodesic_deviation,
    ray_share,
)
from study.metrics.covariance import bures_wasserstein


def moments_of(features: np.ndarray, labels: np.ndarray, classes: int) -> ClassMoments:
    m = ClassMoments(classes, features.shape[1], scatter=True)
    m.update(torch.from_numpy(features), torch.from_numpy(labels))
    return m


def gaussian(features: np.ndarray) -> Gaussian:
    result = Gaussian.of(moments_of(features, np.zeros(len(features), dtype=np.int64), 1))
    assert isinstance(result, Gaussian)
    return result


def test_mean_and_covariance_of_all_features_follow_from_the_moments_of_classes() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), [9, 1, 0, 30, 4])
    features = generator.normal(size=(44, 3)) + 7 * labels[:, None]
    result = Gaussian.of(moments_of(features, labels, 5))
    assert isinstance(result, Gaussian)
    np.testing.assert_allclose(result.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.covariance, np.cov(features.T, bias=True), rtol=1e-10)


def test_a_collapsed_simplex_has_the_rank_of_its_classes_but_one() -> None:
    labels = np.arange(60) % 6
    m = moments_of(np.eye(6, 9)[labels], labels, 6)
    columns = collapse_metrics(m, torch.eye(6, 9), min_count=1)
    assert columns["effective_rank"] == pytest.approx(5, rel=1e-9)


def test_rank_of_no_covariance_has_a_reason() -> None:
    labels = np.arange(4) % 2
    same = collapse_metrics(moments_of(np.ones((4, 3)), labels, 2), torch.eye(2, 3), min_count=1)
    assert "all features are equal" in same.reasons["effective_rank"]
    without = ClassMoments(2, 3)
    without.update(torch.eye(2, 3), torch.arange(2))
    columns = collapse_metrics(without, torch.eye(2, 3), min_count=1)
    assert "scatter" in columns.reasons["effective_rank"]


def share_by_svd(features: np.ndarray) -> float:
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False) ** 2
    return float(values[0] / values.sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_ray_share_equals_singular_values(dtype: torch.dtype) -> None:
    """Of classes with fewer samples than features and with more; small ones are left out."""
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(5), [40, 3, 12, 0, 10]))
    features = torch.from_numpy(generator.normal(size=(65, 20)) + 0.5).to(dtype)
    columns = ray_share(features, torch.from_numpy(labels), min_count=10)
    exact = features.double().numpy()
    expected = np.mean([share_by_svd(exact[labels == c]) for c in (0, 2, 4)])
    assert columns == {"ray_share": pytest.approx(expected, rel=1e-6)}


def test_features_of_a_shallow_relu_network_with_aligned_neurons_lie_on_rays() -> None:
    """Neurons of a class that point one way give each of its samples a length alone."""
    generator = np.random.default_rng(1)
    directions = np.eye(3, 6)
    labels = np.arange(90) % 3
    inputs = directions[labels] * generator.uniform(0.5, 3, size=(90, 1))
    neurons = directions[np.arange(12) % 3] * generator.uniform(0.1, 2, size=(12, 1))
    hidden = np.maximum(inputs @ neurons.T, 0)
    columns = ray_share(torch.from_numpy(hidden), torch.from_numpy(labels))
    assert columns["ray_share"] == pytest.approx(1, abs=1e-12)
    m = moments_of(hidden, labels, 3)
    assert collapse_metrics(m, torch.eye(3, 12))["nc1_ratio"] > 0.05


def test_rays_that_do_not_exist_have_a_reason() -> None:
    labels = torch.arange(30) % 3
    assert "at least 11" in ray_share(torch.ones(30, 2), labels, min_count=11).reasons["ray_share"]
    nothing = ray_share(torch.ones(0, 2), labels[:0])
    assert "no class" in nothing.reasons["ray_share"]
    assert "zero" in ray_share(torch.zeros(30, 2), labels).reasons["ray_share"]
    assert "NaN" in ray_share(torch.full((30, 2), torch.nan), labels).reasons["ray_share"]


def exact_distance(a: Gaussian, b: Gaussian) -> float:
    """The traces of the definition, in 60 digits."""
    with mpmath.workdps(60):
        first, second = (mpmath.matrix(each.covariance.tolist()) for each in (a, b))
        values, axes = mpmath.eigsy(first)
        root = axes * mpmath.diag([mpmath.sqrt(max(v, 0)) for v in values]) * axes.T
        middle = mpmath.eigsy(root * second * root, eigvals_only=True)
        cross = mpmath.fsum(mpmath.sqrt(max(v, 0)) for v in middle)
        trace = sum(first[i, i] + second[i, i] for i in range(first.rows)) - 2 * cross
        means = a.mean.tolist(), b.mean.tolist()
        gap = [mpmath.mpf(x) - mpmath.mpf(y) for x, y in zip(means[0], means[1], strict=True)]
        return float(mpmath.sqrt(mpmath.fsum(x * x for x in gap) + trace))


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_distances_of_gaussians_equal_the_definition(scale: float) -> None:
    """Also of near ones, whose traces cancel, and of those in a subspace."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(50, 4)) @ generator.normal(size=(4, 4))
    moved = features + scale * generator.normal(size=(50, 4)) * [1, 1, 1, 0]
    a, b = gaussian(features), gaussian(moved)
    assert bures_wasserstein(a, b).item() == pytest.approx(exact_distance(a, b), rel=1e-6)
    flat = gaussian(moved * [1, 1, 0, 0])
    assert bures_wasserstein(a, flat).item() == pytest.approx(exact_distance(a, flat), rel=1e-6)
    assert bures_wasserstein(a, a).item() == pytest.approx(0, abs=1e-12)


def test_features_on_the_line_between_two_layers_are_on_the_geodesic() -> None:
    """The optimal map of Gaussians with commuting covariances scales each axis."""
    digits = load_digits().data[:300, 20:24]
    first = digits @ np.linalg.inv(np.linalg.cholesky(np.cov(digits.T, bias=True))).T
    last = first @ np.diag([0.5, 3, 1, 2]) + [9, 0, 0, 1]
    ends = gaussian(first), gaussian(last)
    for share in (0.2, 0.7):
        between = gaussian((1 - share) * first + share * last)
        deviation = geodesic_deviation(ends[0], between, ends[1])["geodesic_deviation"]
        assert deviation == pytest.approx(0, abs=1e-9)
        turned = gaussian(between.mean.numpy() + first[:, ::-1])
        off = geodesic_deviation(ends[0], turned, ends[1])["geodesic_deviation"]
        a, b, c = ends[0], turned, ends[1]
        way = exact_distance(a, b) + exact_distance(b, c)
        assert off == pytest.approx(way / exact_distance(a, c) - 1, rel=1e-6)
        assert off > 0.01


def test_paths_that_do_not_exist_have_a_reason() -> None:
    one, other = gaussian(np.eye(3)), gaussian(np.eye(2))
    assert "2 features" in geodesic_deviation(one, other, one).reasons["geodesic_deviation"]
    assert "no length" in geodesic_deviation(one, one, one).reasons["geodesic_deviation"]
