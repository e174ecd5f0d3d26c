"""Sums modulo p, and that networks learn them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from study.data import DataConfig, load_data
from study.data.base import IGNORE, Dataset
from study.data.modular_config import ModularData


def load(**settings: object) -> Dataset:
    config = TypeAdapter(DataConfig).validate_python({"kind": "modular", **settings})
    return load_data(config, base=Path(), cache=Path("cache"))


def sums(data: Dataset, split: str) -> list[tuple[int, int, int]]:
    part = getattr(data, split)
    inputs, targets = part.batch(np.arange(len(part)))
    assert (inputs[:, 2] == data.classes - 1).all()
    assert (targets[:, :2] == IGNORE).all()
    return list(
        zip(inputs[:, 0].tolist(), inputs[:, 1].tolist(), targets[:, 2].tolist(), strict=True)
    )


@pytest.mark.parametrize(("p", "share", "rows"), [(7, 0.3, 15), (12, 0.5, 72), (2, 0.001, 1)])
def test_the_splits_are_all_sums_each_once(p: int, share: float, rows: int) -> None:
    data = load(p=p, train_fraction=share)
    train, val = sums(data, "train"), sums(data, "val")
    assert len(train) == rows
    expected = sorted((a, b, (a + b) % p) for a in range(p) for b in range(p))
    assert sorted(train + val) == expected
    assert data.class_names == [*map(str, range(p)), "="]
    assert data.class_counts.tolist() == [*(sum(c == k for _, _, c in train) for k in range(p)), 0]


def test_the_split_follows_from_the_seed() -> None:
    one, same, other = load(p=11), load(p=11), load(p=11, seed=1)
    assert sums(one, "train") == sums(same, "train") != sums(other, "train")
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_impossible_settings_are_refused() -> None:
    for settings, place in (({"p": 1}, "p"), ({"train_fraction": 0}, "train_fraction")):
        with pytest.raises(ValidationError, match=place):
            ModularData.model_validate(settings)
