"""Minority collapse and other data against loops over pairs in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from study.metrics import ClassMoments, MomentsError, minority_collapse, ood_orthogonality
from study.metrics.minority import minority_classes

D = 6


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def moments(
    counts: list[int], seed: int = 0, shift: float = 3.0
) -> tuple[ClassMoments, np.ndarray]:
    """Moments of random samples, and the class means by numpy."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    features = (
        generator.normal(size=(len(labels), D))
        + shift
        + generator.normal(size=(len(counts), D))[labels]
    )
    m = ClassMoments(len(counts), D)
    m.update(torch.from_numpy(features), torch.from_numpy(labels))
    present = [
        features[labels == c].mean(0) if n else np.full(D, np.nan) for c, n in enumerate(counts)
    ]
    return m, np.stack(present)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([100, 100, 10, 10], [2, 3]),  # step
        ([64, 32, 16, 8, 4], [3, 4]),  # exponential; 16 is the geometric mean of 64 and 4
        ([100, 0, 10, 0, 9], [2, 4]),  # classes without samples are none
        ([19, 10, 12], []),  # less than twice the smallest
        ([7, 7, 7], []),
        ([0, 0], []),
    ],
)
def test_the_minority(counts: list[int], expected: list[int]) -> None:
    assert minority_classes(torch.tensor(counts)).tolist() == expected


def test_cosines_are_those_of_a_loop_over_pairs() -> None:
    counts = [50, 40, 12, 11, 3, 13, 0, 45]
    m, means = moments(counts)
    weight = np.random.default_rng(1).normal(size=(8, D))
    columns = minority_collapse(m, torch.from_numpy(weight), torch.tensor(counts), min_count=10)
    minority = [c for c, n in enumerate(counts) if 0 < n < (50 * 3) ** 0.5]
    assert columns["minority_classes"] == len(minority) == 3
    measured = [c for c, n in enumerate(counts) if n >= 10]
    centre = means[measured].mean(0)
    pairs = list(itertools.combinations([c for c in minority if c in measured], 2))
    expected = np.mean([cosine(means[a] - centre, means[b] - centre) for a, b in pairs])
    assert columns["minority_means_cos"] == pytest.approx(expected, rel=1e-9)
    middle = weight[[c for c, n in enumerate(counts) if n]].mean(0)
    pairs = list(itertools.combinations(minority, 2))
    expected = np.mean([cosine(weight[a] - middle, weight[b] - middle) for a, b in pairs])
    assert columns["minority_head_cos"] == pytest.approx(expected, rel=1e-9)


def test_merged_rows_have_cosine_one_and_a_frame_the_negative_reciprocal() -> None:
    counts = torch.tensor([90, 90, 10, 10, 10])
    m, _ = moments(counts.tolist())
    merged = torch.randn(5, D, generator=torch.Generator().manual_seed(0))
    merged[2:] = merged[2].clone()
    assert minority_collapse(m, merged, counts)["minority_head_cos"] == pytest.approx(1, abs=1e-9)
    frame = torch.eye(5, D)
    assert minority_collapse(m, frame, counts)["minority_head_cos"] == pytest.approx(
        -1 / 4, abs=1e-9
    )


def test_what_does_not_exist_has_a_reason() -> None:
    counts = [50, 50, 4, 40]
    m, _ = moments(counts)
    columns = minority_collapse(m, torch.randn(4, D), torch.tensor(counts), min_count=10)
    assert columns["minority_means_cos"] is None
    assert "0 classes of the minority have at least 10" in columns.reasons["minority_means_cos"]
    assert "1 classes of the minority" in columns.reasons["minority_head_cos"]
    same = minority_collapse(m, torch.ones(4, D), torch.tensor([50, 50, 4, 4]), min_count=1)
    assert "no direction" in same.reasons["minority_head_cos"]
    infinite = minority_collapse(
        m, torch.full((4, D), torch.inf), torch.tensor([50, 50, 4, 4]), min_count=1
    )
    assert "infinite" in infinite.reasons["minority_head_cos"]
    assert minority_collapse(m, torch.randn(4, D), torch.tensor([50, 50, 50, 50])) == {}


def one_class(features: np.ndarray) -> ClassMoments:
    other = ClassMoments(1, D)
    other.update(torch.from_numpy(features), torch.zeros(len(features), dtype=torch.int64))
    return other


def test_orthogonality_is_that_of_a_loop() -> None:
    counts = [20, 3, 15]
    m, means = moments(counts, shift=0.5)
    features = np.random.default_rng(4).normal(size=(40, D)) - 0.3
    columns = ood_orthogonality(m, one_class(features), min_count=10)
    expected = np.mean([abs(cosine(means[c], features.mean(0))) for c in (0, 2)])
    assert columns["nc5_ood_orthogonality"] == pytest.approx(expected, rel=1e-9)


def test_orthogonality_of_known_directions() -> None:
    m = ClassMoments(2, D)
    m.update(torch.eye(2, D).repeat(10, 1), torch.arange(2).repeat(10))
    assert ood_orthogonality(m, one_class(np.eye(D)[[4, 5]]))["nc5_ood_orthogonality"] == 0
    parallel = ood_orthogonality(m, one_class(-np.eye(D)[[0]]))["nc5_ood_orthogonality"]
    assert parallel == pytest.approx(0.5, abs=1e-12)
    assert (
        "zero vector"
        in ood_orthogonality(m, one_class(np.zeros((2, D)))).reasons["nc5_ood_orthogonality"]
    )
    assert (
        "at least 11"
        in ood_orthogonality(m, one_class(np.ones((2, D))), min_count=11).reasons[
            "nc5_ood_orthogonality"
        ]
    )
    broken = one_class(np.full((2, D), np.nan))
    assert "other data" in ood_orthogonality(m, broken).reasons["nc5_ood_orthogonality"]
    with pytest.raises(MomentsError, match="one class x 6"):
        ood_orthogonality(m, ClassMoments(2, D))
