"""ONC1 to ONC3 against loops over samples and pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from study.metrics import ClassMoments, MomentsError, collapse_metrics, ordinal_collapse

Array = np.ndarray


def by_loop(
    features: Array, labels: Array, weight: Array, thresholds: Array, min_count: int
) -> dict[str, float]:
    """The definitions class by class and pair by pair."""
    classes = [c for c in range(labels.max() + 1) if (labels == c).sum() >= min_count]
    means = np.array([features[labels == c].mean(axis=0) for c in classes])
    within = sum(
        ((features[labels == c] - mean) ** 2).sum() for c, mean in zip(classes, means, strict=True)
    ) / sum((labels == c).sum() for c in classes)
    centred = means - means.mean(axis=0)
    first = np.linalg.svd(centred)[2][0]
    off = centred - np.outer(centred @ first, first)
    latents = means @ weight
    discordant = apart = 0
    for (i, c), (j, other) in zip(
        enumerate(classes[:-1]), enumerate(classes[1:], start=1), strict=True
    ):
        discordant += latents[j] <= latents[i]
        apart += not all(latents[i] < b < latents[j] for b in thresholds[c:other])
    return {
        "onc1": within / ((centred**2).sum() / len(classes)),
        "onc2": (off**2).sum() / (centred**2).sum(),
        "onc3": discordant / (len(classes) - 1),
        "onc3_thresholds": apart / (len(classes) - 1),
    }


def drawn(seed: int, classes: int, dim: int) -> tuple[Array, Array, Array, Array]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=40 * classes)
    labels[labels == 2] = np.where(generator.random((labels == 2).sum()) < 0.9, 3, 2)
    direction = generator.normal(size=dim)
    features = np.outer(labels, direction) + 2 * generator.normal(size=(len(labels), dim)) + 5
    weight = direction + generator.normal(size=dim)
    latents = [features[labels == c].mean(axis=0) @ weight for c in range(classes)]
    middle = (np.array(latents[:-1]) + np.array(latents[1:])) / 2
    return features, labels, weight, np.sort(middle + generator.normal(size=classes - 1))


def measured(features: Array, labels: Array, weight: Array, thresholds: Array, min_count: int = 1):
    moments = ClassMoments(len(thresholds) + 1, features.shape[1])
    moments.update(torch.from_numpy(features), torch.from_numpy(labels))
    head = torch.from_numpy(weight)[None]
    return moments, ordinal_collapse(
        moments, head, torch.from_numpy(thresholds), min_count=min_count
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("min_count", [1, 20])
def test_columns_are_those_of_the_definitions(seed: int, min_count: int) -> None:
    features, labels, weight, thresholds = drawn(seed, 6, 4)
    expected = by_loop(features, labels, weight, thresholds, min_count)
    moments, columns = measured(features, labels, weight, thresholds, min_count)
    assert columns == pytest.approx(expected, rel=1e-6, abs=1e-9)
    ratio = collapse_metrics(moments, torch.zeros(6, 4), min_count=min_count)["nc1_ratio"]
    assert columns["onc1"] == pytest.approx(ratio, rel=1e-12)


def test_both_orders_occur_in_the_drawn_examples() -> None:
    """The comparison above sees orders that hold and orders that do not."""
    values = [measured(*drawn(seed, 6, 4))[1] for seed in range(6)]
    assert {0.0} < {each["onc3_thresholds"] for each in values}
    features, labels, weight, thresholds = drawn(0, 6, 4)
    assert measured(features, labels, -weight, thresholds)[1]["onc3"] == 1


def test_full_collapse_is_zero() -> None:
    line = np.array([1.0, 2.0, 2.0]) / 3
    labels = np.repeat(np.arange(5), 3)
    features = np.outer([-4.0, -1, 0, 3, 9], line)[labels]
    columns = measured(features, labels, 2 * line, np.array([-3.0, -1, 2, 7]))[1]
    assert columns == pytest.approx(dict.fromkeys(columns, 0.0), abs=1e-28)
    late = measured(features, labels, 2 * line, np.array([-3.0, -1, 2, 20]))[1]
    assert late["onc3"] == 0 and late["onc3_thresholds"] == 0.25


def test_what_does_not_exist_has_its_reason() -> None:
    features, labels, weight, thresholds = drawn(0, 6, 4)
    two = labels < 2
    columns = measured(features[two], labels[two], weight, thresholds)[1]
    assert columns["onc2"] is None and "always lie on a line" in columns.reasons["onc2"]
    assert columns["onc3"] is not None
    one = measured(features[labels < 1], labels[labels < 1], weight, thresholds)[1]
    assert set(one.values()) == {None} and "two are needed" in one.reasons["onc3"]
    same = measured(np.ones_like(features), labels, weight, thresholds)[1]
    assert same["onc1"] is same["onc2"] is None and same["onc3"] == 1
    broken = measured(features, labels, np.nan * weight, thresholds)[1]
    assert broken["onc3"] is None and broken["onc1"] is not None
    with pytest.raises(MomentsError, match="5 thresholds, not"):
        measured(features, labels, weight, thresholds)[0]
        ordinal_collapse(ClassMoments(6, 4), torch.zeros(6, 4), torch.zeros(5))
