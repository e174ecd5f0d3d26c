"""Frames of imbalanced classes against dense matrices, and against minimisers."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from study.metrics import METRICS, ClassMoments, MomentsError, collapse_metrics, imbalance_geometry
from study.metrics.imbalance import encoded_gram


def moments_of(means: np.ndarray, count: int = 2) -> ClassMoments:
    """Moments of `count` samples a class, all at its mean."""
    m = ClassMoments(*means.shape)
    labels = np.arange(len(means)).repeat(count)
    m.update(torch.from_numpy(means[labels]), torch.from_numpy(labels))
    return m


def normalized(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix)


def seli(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square roots of V L V^T, (C, C), and the matrix itself, by the SVD of centred labels.

    Equal labels are one column of weight sqrt n.
    """
    labels = np.eye(len(sizes)) * np.sqrt(sizes)
    left, values, _ = np.linalg.svd(labels - labels.mean(axis=0))
    left, values = left[:, :-1], values[:-1]
    return left * np.sqrt(values), (left * values) @ left.T


def brute_force(means: np.ndarray, weight: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    norms = [np.sqrt(sum(x * x for x in row)) for row in means]
    gram = np.array([[a @ b for b in means] for a in means])
    rows = np.array([[a @ b for b in weight] for a in weight])
    slope = np.polynomial.Polynomial.fit(np.log(sizes), np.log(norms), 1).convert().coef[1]
    return {
        "gof_norm_slope": float(slope),
        "gof_distance": float(
            np.linalg.norm(normalized(gram) - normalized(np.diag(1 / np.sqrt(sizes))))
        ),
        "seli_w_distance": float(np.linalg.norm(normalized(rows) - normalized(seli(sizes)[1]))),
    }


@pytest.mark.parametrize("classes", [2, 8, 9, 60])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_columns_equal_dense_matrices(classes: int, shift: float) -> None:
    """With fewer classes than features, as many, and more; sizes from 1 to a million."""
    generator = np.random.default_rng(classes)
    means = generator.normal(size=(classes, 8)) + shift
    weight = generator.normal(size=(classes, 8)) + 0.3
    sizes = np.exp(generator.uniform(0, np.log(1e6), classes)).round()
    sizes[0], sizes[-1] = 1, 10**6
    columns = imbalance_geometry(
        moments_of(means), torch.from_numpy(weight), torch.from_numpy(sizes).long(), min_count=2
    )
    expected = brute_force(means, weight, sizes)
    assert columns == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}
    assert columns.keys() <= METRICS.keys()


def test_unmeasured_classes_take_no_part() -> None:
    generator = np.random.default_rng(0)
    means, weight = generator.normal(size=(2, 6, 4))
    sizes = np.array([5, 50, 500, 7, 70, 700])
    m = moments_of(means[:4])
    whole = ClassMoments(6, 4)
    whole.update(m.means.repeat(2, 1), torch.arange(4).repeat(2))
    columns = imbalance_geometry(
        whole, torch.from_numpy(weight), torch.from_numpy(sizes), min_count=2
    )
    expected = brute_force(means[:4], weight[:4], sizes[:4])
    assert columns == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}


@pytest.mark.parametrize("dim", [30, 12])
def test_the_frame_of_encoded_labels_has_no_distance_to_itself(dim: int) -> None:
    """In fewer dimensions than classes it has that of its leading part."""
    sizes = np.array([1000] * 3 + [100] * 5 + [7, 8, 9, 10] + [1] * 3)
    root, gram = seli(sizes)
    order = np.argsort(-np.linalg.norm(root, axis=0))[:dim]
    weight = np.zeros((len(sizes), dim))
    weight[:, : len(order)] = root[:, order]
    columns = imbalance_geometry(
        moments_of(np.eye(len(sizes), dim) + 0.1),
        torch.from_numpy(3 * weight),
        torch.from_numpy(sizes),
        min_count=1,
    )
    expected = np.linalg.norm(normalized(weight @ weight.T) - normalized(gram))
    assert columns["seli_w_distance"] == pytest.approx(expected, abs=1e-9)
    assert (expected < 1e-12) == (dim == 30)


def test_encoded_labels_of_balanced_classes_are_a_simplex_frame() -> None:
    gram = encoded_gram(torch.full((6,), 40.0, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(gram / gram[0, 0], (np.eye(6) - 1 / 6) * 6 / 5, atol=1e-12)


def test_squared_error_without_bias_has_its_minimum_at_the_orthogonal_frame() -> None:
    """Free features and rows, minimised numerically, have the lengths of the theorem.

    The loss is ||W H - Y||^2 / (2 N) + l_W ||W||^2 / 2 + l_H ||H||^2 / 2, one column of H for each
    class and weight n_c: samples of a class have equal features at the minimum.
    """
    sizes, decay_w, decay_h = np.array([40.0, 10.0, 4.0]), 1e-3, 1e-4
    C, d, N = len(sizes), 4, sizes.sum()

    def loss(flat: Any) -> Any:
        w, h = flat[: C * d].reshape(C, d), flat[C * d :].reshape(d, C)
        residual = w @ h - np.eye(C)
        value = (residual**2 * sizes).sum() / (2 * N) + decay_w * (w**2).sum() / 2
        value += decay_h * (h**2 * sizes).sum() / 2
        scaled = residual * sizes / N
        gradients = scaled @ h.T + decay_w * w, w.T @ scaled + decay_h * h * sizes
        return float(value), np.concatenate([part.ravel() for part in gradients])

    start = np.random.default_rng(0).normal(size=2 * C * d)
    limits: Any = {"maxiter": 20_000, "maxfun": 20_000, "ftol": 1e-16, "gtol": 1e-12}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=limits).x
    w, means = found[: C * d].reshape(C, d), found[C * d :].reshape(d, C).T
    lengths = np.sqrt(decay_w / (decay_h * sizes)) - N * decay_w / sizes
    np.testing.assert_allclose((means**2).sum(axis=1), lengths, rtol=1e-4)
    m = moments_of(means)
    counts = torch.from_numpy(sizes).long()
    columns = imbalance_geometry(m, torch.from_numpy(w), counts, min_count=1)
    assert collapse_metrics(m, torch.from_numpy(w), min_count=1)["gof_cos_abs_mean"] < 1e-4
    assert columns["gof_norm_slope"] == pytest.approx(
        np.polyfit(np.log(sizes), np.log(lengths) / 2, 1)[0], rel=1e-3
    )


def test_lengths_of_vanishing_decay_have_slope_minus_a_quarter() -> None:
    sizes = np.array([300, 300, 40, 5, 1])
    means = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 5)))[0].T / sizes[:, None] ** 0.25
    columns = imbalance_geometry(moments_of(means), None, torch.from_numpy(sizes), min_count=1)
    assert columns["gof_norm_slope"] == pytest.approx(-0.25, rel=1e-12)
    assert columns["gof_distance"] == pytest.approx(0, abs=1e-9)
    assert "seli_w_distance" not in columns


def test_cosines_from_the_origin_equal_a_loop() -> None:
    means = np.random.default_rng(2).normal(size=(30, 4)) + 0.4
    columns = collapse_metrics(moments_of(means), torch.from_numpy(means), min_count=1)
    expected = np.mean(
        [abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(means, 2)]
    )
    assert columns["gof_cos_abs_mean"] == pytest.approx(expected, rel=1e-9)


def test_what_does_not_exist_has_a_reason() -> None:
    means, counts = np.eye(3, 4), torch.tensor([10, 10, 10])
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))

    def reasons(
        means: np.ndarray = means, weight: torch.Tensor = weight, counts: torch.Tensor = counts
    ) -> dict[str, str]:
        return imbalance_geometry(moments_of(means), weight, counts, min_count=1).reasons

    assert reasons() == {"gof_norm_slope": "all measured classes have equally many samples"}
    zero = reasons(np.eye(3, 4) * [[1], [1], [0]], counts=torch.tensor([9, 5, 5]))
    assert zero == {"gof_norm_slope": "class means that are the zero vector: 1"}
    assert "all class means" in reasons(np.zeros((3, 4)))["gof_distance"]
    assert "none of a measured class" in reasons(counts=torch.tensor([10, 0, 1]))["gof_distance"]
    assert "zero" in reasons(weight=torch.zeros(3, 4))["seli_w_distance"]
    assert "NaN" in reasons(weight=torch.full((3, 4), torch.nan))["seli_w_distance"]
    few = imbalance_geometry(moments_of(means, 1), weight, counts, min_count=2)
    assert few.reasons.keys() == {"gof_norm_slope", "gof_distance", "seli_w_distance"}
    with pytest.raises(MomentsError, match="class_counts"):
        imbalance_geometry(moments_of(means), weight, torch.ones(2, dtype=torch.int64))
