"""Sizes of data in plans: looked up once per launch, not once per process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tiny_study import launch, tiny, write_study

from study.config import load_study
from study.data import DataError
from study.grid import Cell, expand
from study.launching import data_sizes
from study.launching.data_sizes import DataSizes

STUDY = tiny(data={"source": "corpus.txt"}, grid={"epochs": [1], "precision": ["fp32"]})
TEXT = "the quick brown fox jumps over the lazy dog. " * 400


def test_a_corpus_that_has_appeared_is_seen_by_the_next_launch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(tmp_path, STUDY, "--dry-run") == 2
    assert "data.source: no file or folder" in capsys.readouterr().err
    (tmp_path / "corpus.txt").write_text(TEXT)
    assert launch(tmp_path, STUDY, "--dry-run") == 0
    after = capsys.readouterr().out
    assert "is not known:" in after and "Parameters" in after


def test_a_size_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def missing(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        raise DataError("there is no such corpus")

    monkeypatch.setattr(data_sizes, "estimate", missing)
    (cell,) = expand(load_study(write_study(tmp_path, STUDY)))
    sizes = DataSizes(tmp_path)
    assert sizes.size(cell) is None
    assert sizes.problem(cell) == "there is no such corpus"
    assert len(calls) == 1
    assert DataSizes(tmp_path).size(cell) is None
    assert len(calls) == 2


@pytest.mark.parametrize("source", ["cifar10", "hub:owner/images"])
def test_data_of_the_hub_are_not_fetched_for_a_plan(tmp_path: Path, source: str) -> None:
    content = tiny(data={"source": source}, grid={"epochs": [1], "precision": ["fp32"]})
    content["data"] = {"kind": "images", "source": source}
    content["model"] = {"kind": "mlp", "width": 8, "depth": 1}
    (cell,) = expand(load_study(write_study(tmp_path, content)))
    sizes = DataSizes(tmp_path)
    assert sizes.unread(cell)
    assert sizes.problem(cell) == (
        f"{source} has not been fetched yet: its size is known once a launch did"
    )


def sizes_of_other_data(folder: Path, data: Mapping[str, object]) -> tuple[DataSizes, Cell]:
    content = tiny(grid={"epochs": [1], "precision": ["fp32"]})
    content["data"] = data
    if data["kind"] == "images":
        content["model"] = {"kind": "mlp", "width": 8, "depth": 1}
    (cell,) = expand(load_study(write_study(folder, content)))
    return DataSizes(folder / "cache"), cell


@pytest.mark.parametrize(
    ("kind", "ood", "message"),
    [
        ("text", "short.txt", "short has 3 tokens that the vocabulary knows"),
        ("text", "empty.txt", "empty has 0 tokens that the vocabulary knows"),
        ("images", "./four.npz", "images of 4 channels cannot stand beside those of 3"),
        ("images", "photos", "of which no image of 450 x 4 can be cut"),
    ],
)
def test_other_data_that_do_not_fit_are_told_before_anything_runs(
    tmp_path: Path, kind: str, ood: str, message: str
) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "short.txt").write_text("fox")
    (tmp_path / "empty.txt").write_text("")
    labels = np.arange(12) % 2
    for name, shape in (("tall", (450, 4, 3)), ("four", (4, 8, 8))):
        pixels = np.full((12, *shape), 9, dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", x_train=pixels, y_train=labels)
    source = "corpus.txt" if kind == "text" else "./tall.npz"
    sizes, cell = sizes_of_other_data(tmp_path, {"kind": kind, "source": source, "ood": ood})
    problem = sizes.problem(cell)
    assert problem is not None and problem.startswith("data.ood: ") and message in problem


def test_other_data_of_the_hub_are_not_fetched_for_a_plan(tmp_path: Path) -> None:
    data = {"kind": "images", "source": "digits", "ood": ["mnist", "hub:owner/images", "photos"]}
    sizes, cell = sizes_of_other_data(tmp_path, data)
    assert sizes.problem(cell) is None and not sizes.unread(cell)
