"""Balanced windows.

Equal numbers of targets, fair choice, duplicates and imbalance, counted another way.
"""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from study.data import IGNORE, DataError, balancing, estimate, load_data
from study.data.balancing import choose_ends, duplicate_facts
from study.data.base import Dataset
from study.data.config import BalancedData, Imbalance
from study.data.imbalance import class_sizes

TEXT = "".join(f"{number} green bottles, hanging on the wall;\n" for number in range(400))


def load(folder: Path, **settings: Any) -> Dataset:
    (folder / "text.txt").write_text(TEXT)
    return load_data(
        BalancedData(source="text.txt", **settings), base=folder, cache=folder / "cache"
    )


def windows(data: Dataset, split: str) -> list[str]:
    """The windows of a split as text, from its batches.

    Checks that the last target alone is a sample.
    """
    part = getattr(data, split)
    inputs, targets = part.batch(np.arange(len(part)))
    assert (targets[:, :-1] == IGNORE).all()
    names = data.class_names
    return [
        "".join(names[number] for number in row) + names[target]
        for row, target in zip(inputs.tolist(), targets[:, -1].tolist(), strict=True)
    ]


@pytest.mark.parametrize("vocabulary", ["full", "observed"])
def test_every_class_has_its_quota_and_every_window_is_of_its_split(
    tmp_path: Path, vocabulary: str
) -> None:
    data = load(tmp_path, quota=40, val_quota=5, context=12, vocabulary=vocabulary)
    cut = round(0.9 * len(TEXT))
    texts = windows(data, "train")
    assert all(len(window) == 12 and window in TEXT[:cut] for window in texts)
    counts = collections.Counter(window[-1] for window in texts)
    frequent = {letter for letter, n in collections.Counter(TEXT[11:cut]).items() if n >= 40}
    assert counts == dict.fromkeys(frequent, 40)
    assert {data.class_names[c]: int(n) for c, n in enumerate(data.class_counts) if n} == counts
    assert len(texts) == len(data.train) == data.train.samples == data.facts["samples"]
    val = windows(data, "val")
    assert all(window in TEXT[cut:] for window in val)
    in_val = collections.Counter(TEXT[cut + 11 :])
    expected = {letter: min(5, in_val[letter]) for letter in frequent if in_val[letter]}
    assert collections.Counter(window[-1] for window in val) == expected
    assert data.facts["val_samples_per_class_min"] == min(
        min(5, in_val[letter]) for letter in frequent
    )
    assert data.facts["val_samples_per_class_max"] == 5


def test_without_a_quota_the_rarest_class_sets_it(tmp_path: Path) -> None:
    data = load(tmp_path, context=12, min_class_count=50)
    counts = collections.Counter(TEXT[11 : round(0.9 * len(TEXT))])
    assert data.facts["samples_per_class_max"] == min(n for n in counts.values() if n >= 50)
    assert data.facts["classes_in_use"] == sum(n >= 50 for n in counts.values())


def test_target_classes_are_the_most_frequent(tmp_path: Path) -> None:
    data = load(tmp_path, quota=10, target_classes=5, context=8)
    counts = collections.Counter(TEXT[7 : round(0.9 * len(TEXT))])
    targets = {window[-1] for window in windows(data, "train")}
    assert len(targets) == 5
    assert min(counts[letter] for letter in targets) >= max(
        n for letter, n in counts.items() if letter not in targets
    )
    assert data.classes == len(set(TEXT))  # the others are still inputs


def test_the_choice_depends_on_the_data_seed_alone(tmp_path: Path) -> None:
    first, again, other = (load(tmp_path, quota=10, context=8, seed=seed) for seed in (0, 0, 1))
    assert windows(first, "train") == windows(again, "train")
    assert windows(first, "train") != windows(other, "train")
    assert first.fingerprint == other.fingerprint


@pytest.mark.parametrize("block", [7, 1 << 24])
def test_places_are_chosen_uniformly(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "_READ_AT_ONCE", block)
    tokens = np.array([0, 1, 0, 0, 1, 2, 0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 0, 2], dtype=np.uint16)
    hits = np.zeros(len(tokens))
    runs = 3000
    generator = np.random.default_rng(0)
    for _ in range(runs):
        ends = choose_ends(tokens, 3, np.array([4, 2, 0]), generator)
        assert (np.diff(ends) > 0).all()
        assert collections.Counter(tokens[ends].tolist()) == {0: 4, 1: 2}
        hits[ends] += 1
    for token, copies in ((0, 4), (1, 2)):
        places = np.flatnonzero(tokens == token)
        assert (hits[places[places < 2]] == 0).all()
        places = places[places >= 2]
        share = copies / len(places)
        # Variance of a count under sampling without replacement is runs * share * (1 - share); the
        # sum is fixed.
        deviation = (hits[places] - runs * share) / math.sqrt(runs * share * (1 - share))
        statistic = float((deviation**2).sum()) * (len(places) - 1) / len(places)
        assert stats.chi2.sf(statistic, len(places) - 1) > 1e-3


def test_duplicates_against_a_count_by_hand() -> None:
    rows = ["abx", "abx", "aby", "cdx", "cdx", "efz", "ghy", "abx"]
    facts = duplicate_facts(np.array([[ord(letter) for letter in row] for row in rows]))
    by_context: dict[str, list[str]] = collections.defaultdict(list)
    for row in rows:
        by_context[row[:2]].append(row[2])
    assert facts["duplicate_contexts"] == 6  # ab four times, cd twice
    assert facts["conflicting_contexts"] == 4  # ab alone
    assert facts["train_accuracy_bound"] == pytest.approx(7 / 8)
    # ab: x three times of four, y once; the other contexts leave no doubt.
    assert facts["train_loss_bound"] == pytest.approx(-(3 * math.log(3 / 4) + math.log(1 / 4)) / 8)


def test_duplicate_facts_reach_the_data_set(tmp_path: Path) -> None:
    data = load(tmp_path, quota=100, context=3)
    by_context: dict[str, list[str]] = collections.defaultdict(list)
    for window in windows(data, "train"):
        by_context[window[:2]].append(window[2])
    bound = sum(
        collections.Counter(targets).most_common(1)[0][1] for targets in by_context.values()
    ) / len(data.train)
    entropy = sum(
        len(t) * stats.entropy(list(collections.Counter(t).values())) for t in by_context.values()
    )
    assert data.facts["train_accuracy_bound"] == pytest.approx(bound)
    assert data.facts["train_loss_bound"] == pytest.approx(entropy / len(data.train))
    assert data.facts["conflicting_contexts"] == sum(
        len(t) for t in by_context.values() if len(set(t)) > 1
    )
    assert data.facts["duplicate_contexts"] == sum(
        len(t) for t in by_context.values() if len(t) > 1
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [100, 100, 100, 100]),
        ({"imbalance_ratio": 10}, [100, 100, 10, 10]),
        ({"imbalance_ratio": 10, "minority_fraction": 0.25}, [100, 100, 100, 10]),
        ({"imbalance_ratio": 1000, "minority_fraction": 0.25}, [100, 100, 100, 1]),
        ({"imbalance": "exponential", "imbalance_ratio": 1000}, [100, 10, 1, 1]),
        (
            {"imbalance": "exponential", "imbalance_ratio": 8},
            [100, 50, 25, 12],
        ),  # 12.5 rounds to even
    ],
)
def test_class_sizes(settings: dict[str, Any], expected: list[int]) -> None:
    assert class_sizes(Imbalance(**settings), 100, 4).tolist() == expected


def test_imbalance_reaches_training_but_not_validation(tmp_path: Path) -> None:
    data = load(
        tmp_path,
        quota=64,
        val_quota=4,
        imbalance="exponential",
        imbalance_ratio=16,
        context=8,
        target_classes=5,
    )
    assert sorted(n for n in data.class_counts.tolist() if n) == [4, 8, 16, 32, 64]
    assert set(collections.Counter(window[-1] for window in windows(data, "val")).values()) == {4}


def test_estimate_of_balanced_windows(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"quota": 30, "context": 8, "imbalance_ratio": 3}
    data = load(tmp_path, **settings)
    size = estimate(
        BalancedData(source="text.txt", **settings), base=tmp_path, cache=tmp_path / "cache"
    )
    assert size is not None
    assert (size.train_rows, size.train_samples, size.classes) == (
        len(data.train),
        data.train.samples,
        data.classes,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quota": 100_000}, "data.quota: only 0 tokens occur 100000 times or more"),
        ({"min_class_count": 100_000}, "data.min_class_count: only 0 tokens"),
        (
            {"target_classes": 60, "quota": 5},
            r"data.target_classes: 60 asked for, but only \d+ tokens occur 10 times",
        ),
    ],
)
def test_what_the_text_cannot_give_is_said(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, **settings)


@pytest.mark.parametrize(
    "settings", [{"imbalance_ratio": 0.5}, {"target_classes": 1}, {"quota": 0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="greater than or equal"):
        BalancedData(**settings)
