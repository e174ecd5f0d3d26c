"""Every column against brute force in float64.

On data that make the obvious formulas lose digits.
"""

from __future__ import annotations

import metrics_brute_force as brute
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from study.metrics import METRICS, ClassMoments, collapse_metrics, per_class
from study.metrics.measured import MeasuredClasses
from study.metrics.pairs import TILE, pair_statistics

Case = tuple[Tensor, Tensor, Tensor]  # features (N, d), labels (N,), weight (V, d)


def case_of(class_means: Tensor, counts: list[int], seed: int, spread: float = 1.0) -> Case:
    """Gaussian classes of the given sizes around the given means.

    In shuffled order, with a Gaussian head.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    noise = torch.randn(len(labels), class_means.shape[1], dtype=torch.float64, generator=generator)
    weight = torch.randn(class_means.shape, dtype=torch.float64, generator=generator) + 0.3
    return class_means[labels] + spread * noise, labels, weight


def gaussian(classes: int, dim: int, seed: int) -> Tensor:
    return torch.randn(
        classes, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def many_classes() -> Case:
    return case_of(gaussian(60, 16, 1), [12 + c % 9 for c in range(60)], 2)


def few_classes() -> Case:
    return case_of(gaussian(9, 16, 3), [15 + c for c in range(9)], 4)


def as_many_as_a_simplex_takes() -> Case:
    return case_of(gaussian(17, 16, 5), [11] * 17, 6)


def two_classes() -> Case:
    return case_of(gaussian(2, 16, 5), [11, 30], 6)


def power_law() -> Case:
    counts = [round(1e6 / (rank + 1) ** 4.2) for rank in range(24)]
    assert (counts[0], counts[-1]) == (1_000_000, 2)
    return case_of(gaussian(24, 6, 7), counts, 8)


def common_offset() -> Case:
    return case_of(gaussian(40, 16, 9) + 1e3, [20] * 40, 10)


def near_means(relative_distance: float = 1e-4, classes: int = 40) -> Case:
    """Two classes whose measured means are so near, relative to their norm.

    The samples are shifted copies.
    """
    features, labels, weight = case_of(gaussian(classes, 16, 11), [20] * classes, 12)
    first, second = (labels == 3).nonzero().squeeze(1), (labels == 7).nonzero().squeeze(1)
    shift = gaussian(1, 16, 13)
    distance = relative_distance * features[first].mean(dim=0).norm()
    features[second] = features[first] + distance * shift / shift.norm()
    return features, labels, weight


def nearer_means() -> Case:
    """So near that products of float64 keep no digit of the distance."""
    return near_means(1e-8)


def near_means_of_few_classes() -> Case:
    """pinv inverts the eigenvalue of the distance between two close classes.

    There are no other classes to span the dimension between the two.
    """
    return near_means(1e-5, classes=9)


def near_means_with_offset() -> Case:
    features, labels, weight = near_means()
    return features + 1e3, labels, weight


def tight() -> Case:
    """Spread 1e-4 of the distances, as late in training."""
    return case_of(gaussian(30, 16, 14), [10] * 30, 15, spread=1e-4)


CASES = {
    function.__name__: function
    for function in (
        many_classes, few_classes, as_many_as_a_simplex_takes, two_classes, power_law,
        common_offset, near_means, nearer_means, near_means_of_few_classes, near_means_with_offset,
        tight,
    )
}  # fmt: skip


def assert_close(ours: dict[str, float | None], expected: dict[str, float]) -> None:
    wrong = {
        name: (ours[name], value)
        for name, value in expected.items()
        if ours[name] is None or not (abs(ours[name] - value) <= max(1e-6 * abs(value), 1e-9))
    }
    assert not wrong


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_every_column_equals_brute_force(name: str, dtype: torch.dtype) -> None:
    features, labels, weight = CASES[name]()
    features, weight = features.to(dtype), weight.to(dtype)
    min_count = 2 if name == "power_law" else 10
    if name.startswith("near") and dtype != torch.float64:
        # the shift of 1e-4 is below what the type resolves around a sample: make it again on the
        # rounded values
        coarse = {torch.float32: 2.0**-10, torch.bfloat16: 2.0**-6}[dtype]
        first, second = labels == 3, labels == 7
        features[second] = features[first]
        features[second.nonzero()[0], 0] += coarse * features[first.nonzero()[0], 0].abs().clamp(
            min=1
        )
    moments = ClassMoments(len(weight), features.shape[1], scatter=True)
    for part, part_labels in zip(features.split(50_000), labels.split(50_000), strict=True):
        moments.update(part, part_labels)

    ours = collapse_metrics(moments, weight, min_count=min_count)

    x, w = brute.as_numpy(features), brute.as_numpy(weight)
    expected = brute.metrics(x, labels.numpy(), w, min_count)
    assert_close(ours, expected)
    undefined = set(ours) - set(expected)
    assert undefined == set(ours.reasons) <= {"nc2_log_equinorm"}


@settings(deadline=None, derandomize=True, max_examples=150)
@given(data=st.data())
def test_small_shapes_empty_and_one_sample_classes(data: st.DataObject) -> None:
    """Every value equals brute force, and the undefined ones are the same.

    Undefined are infinite values, NaN, and 0 / 0 to rounding.
    """
    counts = data.draw(st.lists(st.integers(0, 4), min_size=2, max_size=8), "counts")
    dim, min_count = data.draw(st.integers(1, 5), "dim"), data.draw(st.integers(1, 3), "min_count")
    seed = data.draw(st.integers(0, 10**6), "seed")
    features, labels, weight = case_of(gaussian(len(counts), dim, seed), counts, seed + 1)
    moments = ClassMoments(len(counts), dim, scatter=True)
    moments.update(features, labels)

    ours = collapse_metrics(moments, weight, min_count=min_count)

    assert {name for name, value in ours.items() if value is None} == ours.reasons.keys()
    if sum(count >= min_count for count in counts) < 2:
        assert ours["nc1_cdnv"] is None
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = brute.metrics(features.numpy(), labels.numpy(), weight.numpy(), min_count)
    assert_close(ours, {name: value for name, value in expected.items() if ours[name] is not None})
    for name in ours.reasons.keys() & expected.keys():
        assert not np.isfinite(expected[name]) or "cov" in name, (
            name,
            expected[name],
            ours.reasons[name],
        )


def test_every_column_has_an_entry_in_the_metric_table() -> None:
    features, labels, weight = many_classes()
    moments = ClassMoments(60, 16)
    moments.update(features, labels)
    assert set(collapse_metrics(moments, weight)) <= set(METRICS)


@pytest.mark.parametrize("tile", [1, 7, 30, 64])
def test_pair_statistics_do_not_depend_on_the_tile(tile: int) -> None:
    """The reference is one tile that holds all pairs.

    It is checked against brute force above.
    """
    features, labels, _ = near_means_with_offset()
    moments = ClassMoments(40, 16)
    moments.update(features, labels)
    measured = MeasuredClasses.of(moments, 1)
    whole, tiled = pair_statistics(measured), pair_statistics(measured, tile)
    for name in (
        "cdnv",
        "galanti",
        "log10_cdnv",
        "coherence",
        "log_distance_mean",
        "log_distance_std",
    ):
        torch.testing.assert_close(
            getattr(tiled, name), getattr(whole, name), rtol=1e-12, atol=1e-15
        )


def test_more_classes_than_a_tile_equal_brute_force() -> None:
    classes = TILE + 77
    features, labels, weight = case_of(gaussian(classes, 5, 16), [3] * classes, 17)
    moments = ClassMoments(classes, 5, scatter=True)
    moments.update(features, labels)
    assert_close(
        collapse_metrics(moments, weight, min_count=1),
        brute.metrics(features.numpy(), labels.numpy(), weight.numpy(), 1),
    )


def test_unmeasured_classes_are_left_out_of_all_but_the_pooled_scatter() -> None:
    features, labels, weight = case_of(gaussian(30, 8, 18), [3 + c for c in range(30)], 19)
    moments = ClassMoments(33, 8, scatter=True)  # three more classes of the head have no sample
    moments.update(features, labels)
    weight = torch.cat([weight, gaussian(3, 8, 20)])
    ours = collapse_metrics(moments, weight, min_count=20)
    assert ours["classes_measured"] == 13
    assert_close(ours, brute.metrics(features.numpy(), labels.numpy(), weight.numpy(), 20))


@pytest.mark.parametrize("name", ["many_classes", "few_classes", "near_means_with_offset"])
def test_per_class_values_equal_loops_over_the_other_classes(name: str) -> None:
    features, labels, weight = CASES[name]()
    moments = ClassMoments(len(weight), features.shape[1])
    moments.update(features, labels)
    table = per_class(moments, weight, min_count=1, tile=13)
    counts, mu, spreads, _ = brute.class_moments(features.numpy(), labels.numpy(), len(weight))
    m = mu - mu.mean(axis=0)
    u, w = m / np.linalg.norm(m, axis=1, keepdims=True), weight.numpy()
    for c in range(len(mu)):
        others = np.arange(len(mu)) != c
        squared = ((mu[c] - mu[others]) ** 2).sum(axis=1)
        half = (spreads[c] + spreads[others]) / 2
        expected = {
            "count": counts[c],
            "norm": np.linalg.norm(m[c]),
            "variance_norm": spreads[c],
            "cdnv": (half / squared**2).mean(),
            "cdnv_galanti": (half / squared).mean(),
            "interference": (u[others] @ u[c]).mean(),
            "head_cosine": w[c] @ u[c] / np.linalg.norm(w[c]),
        }
        for column, value in expected.items():
            assert table.columns()[column][c] == pytest.approx(value, rel=1e-6, abs=1e-9), (
                column,
                c,
            )
    assert table.columns()["class"] == list(range(len(mu)))
