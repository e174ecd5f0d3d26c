"""What `python -m study.status` says of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_study import launch, tiny

from study.clean import main as clean
from study.launching.units import size_text
from study.status import main
from study.store.leases import Leases

STUDY = tiny(
    train={"optimizer": "sgd"},
    grid={"epochs": [1], "precision": ["fp32"], "seed": [0, 1], "train.lr": [1e-3, 1e20]},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four cells of which two diverged."""
    folder = tmp_path_factory.mktemp("status")
    assert launch(folder, STUDY) == 1
    return folder / "runs" / "tiny"


def test_json_counts_by_axis_and_lists_failures(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["cells"] == {"total": 4, "done": 2, "failed": 2, "left": 0}
    assert report["by_axis"] == {
        "seed": {"0": {"done": 1, "failed": 1}, "1": {"done": 1, "failed": 1}},
        "train.lr": {"0.001": {"done": 2}, "1e+20": {"failed": 2}},
    }, "axes with one value are left out"
    assert [record["cause"] for record in report["failures"]] == ["diverged", "diverged"]
    assert report["running"] == []
    files = (path for path in (run / "checkpoints").rglob("*") if path.is_file())
    assert report["disk_bytes"]["checkpoints"] == sum(path.stat().st_size for path in files) > 0


def test_tables_group_failures_by_cause_with_an_example_and_its_log(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([str(run)]) == 1
    out = capsys.readouterr().out
    assert "2/4 cells done, 2 failed" in out
    assert out.count("cells failed: diverged") == 1
    log = next(line.split()[1] for line in out.splitlines() if line.strip().startswith("log "))
    assert Path(log).exists()


def test_different_messages_of_a_cause_are_all_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two precisions that a width of 16 cannot take, found out late, each on two seeds."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("study.launching.checks.precision_faults", lambda *_: ())
    grid = {
        "epochs": [1],
        "precision": ["fp32", "int4-g32", "int4-g64"],
        "seed": [0, 1],
        "width": [16],
        "depth": [1],
    }
    assert launch(tmp_path, tiny(grid=grid)) == 1
    assert main([str(tmp_path / "runs" / "tiny")]) == 1
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = lines.index("4 cells failed: config")
    assert {line.partition(" cannot")[0] for line in lines[at + 1 : at + 3]} == {
        "2 x PrecisionError: int4-g32",
        "2 x PrecisionError: int4-g64",
    }
    assert [line.split()[0] for line in lines[at + 3 : at + 6]] == ["cell", "host", "log"]


def test_checkpoints_are_deleted_only_while_nothing_runs(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = sum(path.stat().st_size for path in (run / "checkpoints").rglob("*") if path.is_file())
    with Leases(run / "leases").hold("a" * 32, "launch"):
        assert clean([str(run)]) == 2
        assert "stop their launch" in capsys.readouterr().err
        assert (run / "checkpoints").exists()
    assert clean([str(run)]) == 0
    assert f"Deleted {size_text(size)} of checkpoints" in capsys.readouterr().out
    assert not (run / "checkpoints").exists()
    assert clean([str(run)]) == 0
    assert "Deleted 0 B" in capsys.readouterr().out
    assert clean([str(run.parent)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_damaged_failure_record_is_shown_as_such(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((run / "failures").glob("*.json"))
    content = path.read_bytes()
    path.write_bytes(content[:20])
    assert main([str(run)]) == 1
    path.write_bytes(content)
    assert "cells failed: unknown" in capsys.readouterr().out


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
