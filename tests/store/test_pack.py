"""Packed runs: all rows in one file, nothing lost, still a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from places import ROOT
from polars.testing import assert_frame_equal
from tiny_study import launch, tiny

from analysis.reading.load import load
from study.launch import main as relaunch
from study.pack import main
from study.status import main as status
from study.store import RunPaths, Store, StoreError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("packed")
    assert launch(folder, tiny()) == 0
    return folder / "runs" / "tiny"


@pytest.fixture
def packed(finished: Path, tmp_path: Path) -> Path:
    """Its packed copy, in a folder of the same name beside nothing else."""
    target = tmp_path / "runs" / "tiny"
    assert main([str(finished), str(target)]) == 0
    return target


def test_the_command_says_what_it_packed(finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "study.pack", str(finished), str(tmp_path / "tiny")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("4 of 4 cells, ")
    assert RunPaths(tmp_path / "tiny").packed.exists()


def test_rows_and_metadata_are_those_of_the_run(finished: Path, packed: Path) -> None:
    before, after = Store(finished), Store(packed)
    assert after.keys() == before.keys()
    assert_frame_equal(after.read(), before.read())
    assert after.metrics() == before.metrics()
    key = min(before.keys())
    assert after.has(key)
    assert [{k: v for k, v in row.items() if v is not None} for row in after.rows(key)] == [
        {k: v for k, v in row.items() if v is not None} for row in before.rows(key)
    ]
    alone = before.read([key])
    assert_frame_equal(after.read([key]).select(alone.columns), alone, check_dtypes=False)
    assert_frame_equal(load(packed).frame, load(finished).frame)


def test_packed_rows_lie_by_precision_so_that_neighbours_are_alike(
    finished: Path, packed: Path
) -> None:
    """Their order on disk makes the file small; read, they are in that of the store."""
    lain = pl.read_parquet(RunPaths(packed).packed)
    assert lain["precision"].is_sorted()
    assert not Store(packed).read()["precision"].is_sorted()


def test_only_what_is_small_is_copied(finished: Path, packed: Path) -> None:
    names = {path.relative_to(packed).parts[0] for path in packed.rglob("*") if path.is_file()}
    assert names == {
        "rows.parquet",
        "study.yaml",
        "planned.parquet",
        "data",
        "launches",
        "trainings",
    }
    training = next((finished / "trainings").iterdir()).name
    assert [path.name for path in RunPaths(packed).training(training).iterdir()] == [
        "provenance.json"
    ]


def test_a_packed_run_has_nothing_left_to_run(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert relaunch([str(packed), "--serial"]) == 0
    assert "4 of 4 cells are done: nothing to run." in capsys.readouterr().out
    assert status([str(packed)]) == 0
    assert not RunPaths(packed).cells.exists()


def test_a_packed_run_grows_by_what_it_lacks_and_can_be_packed_again(
    packed: Path, tmp_path: Path
) -> None:
    assert launch(tmp_path, tiny(grid={"seed": [0, 1]})) == 0
    store = Store(packed)
    assert len(list(RunPaths(packed).cells.glob("*/*.parquet"))) == 4
    assert len(store.keys()) == 8
    assert main([str(packed), str(tmp_path / "again")]) == 0
    assert_frame_equal(Store(tmp_path / "again").read(), store.read())


def test_packed_rows_are_never_replaced(packed: Path) -> None:
    store = Store(packed)
    key = min(store.keys())
    rows = store.rows(key)
    assert not store.write(key, rows)
    assert not store.write(key, rows[::-1])
    with pytest.raises(StoreError, match=r"other rows are stored already in .*rows\.parquet"):
        store.write(key, [{**row, "val_loss": 0.0} for row in rows])


def test_a_damaged_file_is_noticed_and_its_cells_run_again(
    packed: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(RunPaths(packed).packed.read_bytes())
    content[len(content) // 2] ^= 1
    RunPaths(packed).packed.write_bytes(content)
    assert status([str(packed)]) == 2
    assert "rows.parquet is damaged" in capsys.readouterr().err
    assert relaunch([str(packed), "--serial"]) == 0
    stable = [
        name
        for name in Store(finished).read().columns
        if name not in ("seconds", "host", "finished_at")
    ]
    assert_frame_equal(Store(packed).read().select(stable), Store(finished).read().select(stable))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run, target: target.mkdir(), "exists already: delete it"),
        (lambda run, target: (run / "planned.parquet").unlink(), "is no run directory"),
        (lambda run, target: shutil.rmtree(run / "cells"), "no measured cells yet"),
    ],
)
def test_what_cannot_be_packed_is_refused_and_leaves_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: object, said: str
) -> None:
    run, target = tmp_path / "run", tmp_path / "target"
    shutil.copytree(finished, run)
    assert callable(spoil)
    spoil(run, target)
    before = set(tmp_path.iterdir())
    assert main([str(run), str(target)]) == 2
    assert said in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_a_run_moves_with_its_project(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths of a study that lies beside its runs are seen from the run."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    shutil.copytree(finished, "runs/tiny")
    assert launch(Path(), tiny()) == 0
    assert "folder: ../..\n" in Path("runs/tiny/study.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("project").rename("moved")
    assert relaunch(["moved/runs/tiny", "--serial"]) == 0


def test_links_are_left_out(finished: Path, tmp_path: Path) -> None:
    run, secret = tmp_path / "run", tmp_path / "secret.txt"
    shutil.copytree(finished, run)
    secret.write_text("private")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "private.json").write_text("{}")
    (run / "launches" / "linked.json").symlink_to(secret)
    (run / "linked").symlink_to(tmp_path / "folder")
    os.mkfifo(run / "launches" / "pipe.json")
    assert main([str(run), str(tmp_path / "target")]) == 0
    names = {path.name for path in (tmp_path / "target").rglob("*")}
    assert not names & {"linked", "linked.json", "private.json"}


def test_what_trackers_show_is_left_out(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    database = RunPaths(run).tracker("mlflow") / "mlflow.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"curves")
    assert main([str(run), str(tmp_path / "target")]) == 0
    assert not RunPaths(tmp_path / "target").tracking.exists()


def test_it_shows_what_it_publishes_and_masks_secrets(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (path,) = RunPaths(run).launches.glob("*.json")
    record = json.loads(path.read_text())
    record["command"] = "python -m study.launch data.source=https://me:s3cret@example.org/x"
    record["git_diff"] = "+ one\n+ two"
    path.write_text(json.dumps(record))
    assert main([str(run), str(tmp_path / "whole")]) == 0
    said = capsys.readouterr().out
    assert "command: python -m study.launch data.source=https://***@example.org/x" in said
    assert f"user: {record['user']}" in said and f"host: {record['hardware']['host']}" in said
    assert "2 lines in 1 launches (--without-diff leaves them out)" in said
    assert "s3cret" not in "".join(
        file.read_text() for file in (tmp_path / "whole").rglob("*.json")
    )
    assert main([str(run), str(tmp_path / "bare"), "--without-diff"]) == 0
    assert "uncommitted" not in capsys.readouterr().out
    bare = json.loads((tmp_path / "bare" / "launches" / path.name).read_text())
    assert "git_diff" not in bare and bare["git_sha"] == record["git_sha"]
