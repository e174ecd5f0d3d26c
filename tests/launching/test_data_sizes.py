"""Sizes of data in plans: looked up once per launch, not once per process."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import launch, tiny, write_study

from study.config import load_study
from study.data import DataError
from study.grid import expand
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
    assert sizes.unfetched(cell)
    assert sizes.problem(cell) == (
        f"{source} has not been fetched yet: its size is known once a launch did"
    )
