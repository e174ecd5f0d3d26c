"""Texts of other sources beside that of the training, in its tokens and chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_study import launch, rows, tiny

from study.data import DataError, check_data, load_data
from study.data.base import Dataset
from study.data.config import TextData

TRAINED = "abc cab\n" * 200
OTHER = "cab!xyz abc" * 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("trained", TRAINED), ("other", OTHER), ("short", "abc"), ("odd", "?" * 99)):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def loaded(folder: Path, ood: Any, **settings: Any) -> Dataset:
    config = TextData(source="trained.txt", context=8, ood=ood, **settings)
    return load_data(config, base=folder, cache=folder / "cache")


def text_of(data: Dataset, name: str) -> str:
    inputs, targets = data.ood[name].batch(np.arange(len(data.ood[name])))
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    chunks = np.concatenate([inputs[:, :1], targets], axis=1)
    return "".join(data.class_names[number] for number in chunks.ravel())


def test_characters_that_the_alphabet_lacks_are_left_out(folder: Path) -> None:
    data = loaded(folder, "other.txt")
    length = len(data.val) * 8
    expected = OTHER.translate({ord(letter): None for letter in "!xyz"})[:length]
    assert text_of(data, "other") == expected
    assert data.fingerprint != loaded(folder, None).fingerprint
    assert loaded(folder, None).ood == {}


@pytest.mark.parametrize("tokenizer", ["char", "bpe:258"])
def test_a_set_is_as_long_as_the_validation_text(folder: Path, tokenizer: str) -> None:
    data = loaded(folder, ["other.txt", "python-docs"], tokenizer=tokenizer, val_tokens=64)
    assert list(data.ood) == ["other", "python_docs"]
    assert {len(split) for split in data.ood.values()} == {len(data.val)} == {8}
    assert all(split.samples == data.val.samples for split in data.ood.values())


def test_tokens_without_a_class_are_left_out(folder: Path) -> None:
    data = loaded(folder, "python-docs", tokenizer="bpe:258", vocabulary="observed")
    inputs, targets = data.ood["python_docs"].batch(np.arange(3))
    assert min(inputs.min(), targets.min()) >= 0
    assert max(inputs.max(), targets.max()) < data.classes < 258


@pytest.mark.parametrize("name", ["short", "odd"])
def test_a_text_without_a_chunk_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"data\.ood: {name} has \d tokens.*takes 8"):
        loaded(folder, f"{name}.txt")


def test_sets_that_cannot_be_are_refused_before_anything_runs(folder: Path) -> None:
    for ood, said in (
        (["a.txt", "./a.txt"], "listed already"),
        ("./trained.txt", "is what is trained on"),
        ("nothing", "no known source"),
        (["x/a.txt", "y/a.jsonl"], "end in _a"),
    ):
        with pytest.raises(ValidationError, match=said):
            TextData(source="trained.txt", ood=ood)
    config = TextData(source="trained.txt", ood=["./x.txt", "other.txt", "./y.txt"])
    with pytest.raises(DataError, match=r"^data\.ood: .*x\.txt.*; data\.ood: .*y\.txt"):
        check_data(config, base=folder)


def test_a_study_of_text_measures_other_texts(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(OTHER * 3, encoding="utf-8")
    study = tiny(grid={"epochs": [1], "precision": ["fp32", "int4"]})
    study["data"] = {**study["data"], "ood": "other.txt"}
    assert launch(tmp_path, study) == 0
    frame = rows(tmp_path / "runs" / "tiny")
    for name in ("ood_auroc_energy", "ood_fpr95_ncc", "nc5_ood_orthogonality"):
        assert frame[name].is_between(0, 1).all() and frame[name].null_count() == 0
