"""Launching without Ray: what runs, what does not run again, what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import failures, launch, rows, starts, tiny, training_steps, write_study

import study.data
import study.measuring.data
from study.config import load_study
from study.data import DataError
from study.grid import expand
from study.launch import main
from study.precision import Precision, PrecisionError, at_precision
from study.store import Store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny study and its finished run."""
    folder = tmp_path_factory.mktemp("finished")
    assert launch(folder, tiny()) == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_every_cell_has_a_row_for_every_checkpoint(finished: Path) -> None:
    table = rows(finished / "runs" / "tiny")
    cells = expand(load_study(finished / "tiny.yaml"))
    checkpoints = {(row["cell"], row["epoch"]) for row in table.iter_rows(named=True)}
    assert checkpoints == {
        (cell.key, epoch) for cell in cells for epoch in range(cell.config.train.epochs + 1)
    }
    assert len(table) == len(checkpoints)


def test_launching_again_runs_nothing_and_says_so(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished / "runs" / "tiny"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    written = {path: path.stat().st_mtime_ns for path in run.rglob("cells/*/*")}
    assert launch(finished, tiny()) == 0
    assert "4 of 4 cells are done: nothing to run" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert {path: path.stat().st_mtime_ns for path in run.rglob("cells/*/*")} == written


def test_a_run_directory_can_be_launched(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "tiny.yaml").unlink()
    assert main([str(copy / "runs" / "tiny"), "--serial"]) == 0
    assert "nothing to run" in capsys.readouterr().out


def test_adding_a_seed_runs_only_the_new_cells(copy: Path) -> None:
    run = copy / "runs" / "tiny"
    before, begun = rows(run), starts(run)
    assert launch(copy, tiny(grid={"seed": [0, 1]})) == 0
    after = rows(run)
    assert after.filter(after["seed"] == 0).equals(before)
    assert len(after) == 2 * len(before)
    assert begun.items() < starts(run).items()
    assert set(starts(run).values()) == {1}


def test_a_new_precision_is_measured_from_kept_checkpoints(copy: Path, tmp_path: Path) -> None:
    run = copy / "runs" / "tiny"
    trained = training_steps(run)
    for path in (run / "trainings").glob("*/loss_log.jsonl"):
        path.unlink()  # any training step would write it again
    study = tiny(grid={"precision": ["fp32", "int8", "int4"]})
    assert launch(copy, study) == 0
    assert trained and training_steps(run) == {}
    assert launch(tmp_path, study) == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "tiny"))


def test_damaged_checkpoints_are_trained_again(copy: Path, tmp_path: Path) -> None:
    run = copy / "runs" / "tiny"
    for name in ("model.safetensors", "config.json", "checkpoint.json"):
        path = min((run / "checkpoints").glob(f"*/epoch-00001/{name}"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    study = tiny(grid={"precision": ["fp32", "int8", "int4"]})
    assert launch(copy, study) == 0
    assert launch(tmp_path, study) == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "tiny"))


def test_where_nothing_is_kept_the_plan_names_the_retrainings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(tmp_path, tiny(keep="none")) == 0
    run = tmp_path / "runs" / "tiny"
    assert not (run / "checkpoints").exists()
    study = tiny(keep="none", grid={"precision": ["fp32", "int8", "bf16"]})
    capsys.readouterr()
    assert launch(tmp_path, study, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "2 trainings run again" in out
    assert all(key[:8] in out for key in starts(run))
    assert launch(tmp_path, study) == 0
    assert set(starts(run).values()) == {2}
    assert launch(tmp_path / "runs", study) == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "runs" / "tiny"))


def test_a_failure_is_recorded_and_stays_until_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no check before a launch can know: a precision that fails when it is measured."""

    def refusing(model: Any, precision: Precision, *arguments: Any, **options: Any) -> Any:
        if precision.name == "int4":
            raise PrecisionError("no groups of 32")
        return at_precision(model, precision, *arguments, **options)

    monkeypatch.setattr("study.measuring.checkpoint.at_precision", refusing)
    study = tiny(grid={"precision": ["fp32", "int4"]}, measure={"at": "last"})
    run = tmp_path / "runs" / "tiny"
    assert launch(tmp_path, study) == 1
    assert "2 cells failed" in capsys.readouterr().out
    assert len(Store(run).keys()) == 2
    records = failures(run)
    assert {record["cause"] for record in records.values()} == {"config"}
    for record in records.values():
        assert "32" in record["message"]
        assert "Traceback" in record["traceback"]
        assert record["host"] and Path(record["log"]).exists()
    begun = starts(run)
    assert launch(tmp_path, study) == 1
    assert starts(run) == begun
    assert launch(tmp_path, study, "--retry-failed", "diverged") == 1
    assert starts(run) == begun
    assert launch(tmp_path, study, "--retry-failed") == 1
    assert sum(starts(run).values()) == sum(begun.values()) + 2


def test_a_success_clears_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import study.measuring.checkpoint

    def broken(*arguments: object, **options: object) -> None:
        raise KeyError("injected")

    run = tmp_path / "runs" / "tiny"
    with monkeypatch.context() as patch:
        patch.setattr(study.measuring.checkpoint, "at_precision", broken)
        assert launch(tmp_path, tiny()) == 1
    records = failures(run)
    assert {record["cause"] for record in records.values()} == {"bug"}
    assert all("KeyError: 'injected'" in record["traceback"] for record in records.values())
    assert launch(tmp_path, tiny(), "--retry-failed", "bug") == 0
    assert failures(run) == {}
    assert len(rows(run)) == 10


def test_a_diverging_loss_ends_its_training_alone(tmp_path: Path) -> None:
    study = tiny(
        train={"optimizer": "sgd"},
        grid={"epochs": [1], "precision": ["fp32"], "train.lr": [1e-3, 1e20]},
    )
    assert launch(tmp_path, study) == 1
    run = tmp_path / "runs" / "tiny"
    (record,) = failures(run).values()
    assert record["cause"] == "diverged"
    assert "learning rate" in record["message"]
    assert [row["epoch"] for row in record["rows_measured_before"]] == [0]
    assert Store(run).read()["lr"].unique().to_list() == [1e-3]


def test_a_damaged_cell_is_set_aside_and_measured_again(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy / "runs" / "tiny"
    before = rows(run)
    path = next((run / "cells").glob("*/*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    assert launch(copy, tiny()) == 0
    assert "damaged" in capsys.readouterr().out
    assert rows(run).equals(before)
    assert [p.name.split(".")[0] for p in (run / "damaged").iterdir()] == [path.stem]


def test_changed_data_is_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    text = "the quick brown fox jumps over the lazy dog. " * 400
    corpus.write_text(text)
    study = tiny(data={"source": "corpus.txt"}, grid={"epochs": [1], "precision": ["fp32"]})
    assert launch(tmp_path, study) == 0
    before = rows(tmp_path / "runs" / "tiny")
    corpus.write_text(text.replace("quick", "quack"))
    study["grid"]["seed"] = [0, 1]
    assert launch(tmp_path, study) == 1
    (record,) = failures(tmp_path / "runs" / "tiny").values()
    assert record["cause"] == "data"
    assert "changed since this run was begun" in record["message"]
    corpus.write_text(text)
    assert launch(tmp_path, study, "--retry-failed", "data") == 0
    after = rows(tmp_path / "runs" / "tiny")
    assert after.filter(after["seed"] == 0).equals(before)


def test_corpora_that_cannot_be_read_are_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00garbage\x80" * 100)
    sources = ["bad.txt", "python-docs", "missing.txt"]
    grid = {"epochs": [1], "precision": ["fp32"], "data.source": sources}
    assert launch(tmp_path, tiny(grid=grid)) == 2
    message = capsys.readouterr().err
    assert "bad.txt" in message
    assert "missing.txt" in message
    assert not list((tmp_path / "runs").glob("tiny/trainings/*"))


def test_a_corpus_that_fails_later_fails_its_cells_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = study.data.load_data

    def failing(config: Any, **options: Any) -> Any:
        if config.train_tokens == 3000:
            raise DataError("the disk of the corpus is gone")
        return load(config, **options)

    grid = {"epochs": [1], "precision": ["fp32"], "data.train_tokens": [3000, 4000]}
    monkeypatch.setattr(study.measuring.data, "load_data", failing)
    assert launch(tmp_path, tiny(grid=grid)) == 1
    run = tmp_path / "runs" / "tiny"
    assert [record["cause"] for record in failures(run).values()] == ["data"]
    assert Store(run).read()["data_train_tokens"].unique().to_list() == [4000]


def test_the_run_describes_itself(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    (record,) = (json.loads(path.read_text()) for path in (run / "launches").glob("*.json"))
    assert {"command", "git_sha", "versions", "hardware", "started_at"} <= record.keys()
    for folder in (run / "trainings").iterdir():
        provenance = json.loads((folder / "provenance.json").read_text())
        assert provenance["training"] == folder.name
        assert not list(folder.glob("state-*")), "resume states are deleted at the end"
        assert not (folder / "partial").exists()
    assert list((run / "leases").iterdir()) == []


def test_a_wrong_file_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, tiny(grid={"widht": [3]}))
    assert main([str(path)]) == 2
    assert "Did you mean `width`" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_threads_of_the_process_are_left_as_they_were(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    assert launch(tmp_path, tiny(resources={"cpus": before + 1}, grid={"epochs": [1]})) == 0
    assert torch.get_num_threads() == before
