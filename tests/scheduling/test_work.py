"""Causes of errors, the watchdog, rows of unfinished trainings.

And what a worker does in awkward places.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from places import ROOT
from safetensors import SafetensorError
from tiny_study import failures, launch, rows, starts, tiny, training_steps

import study.measuring.checkpoint
import study.scheduling.work
from study.config import study_from
from study.data import DataError
from study.grid import expand, trainings
from study.models import ModelError
from study.precision import PrecisionError
from study.scheduling.failure import cause_of
from study.scheduling.watchdog import Hung
from study.scheduling.work import Ended, Work, work
from study.store import Store
from study.store.leases import Leases
from study.store.partial import Partial
from study.training.train import Checkpoint, Diverged, TrainingError


def raised_from(error: Exception, below: Exception) -> Exception:
    """An error that was raised from another one."""
    try:
        raise error from below
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Diverged("nan"), "diverged"),
        (DataError("gone"), "data"),
        (study.scheduling.work.DataChanged("other"), "data"),
        (ModelError("heads"), "config"),
        (PrecisionError("int0"), "config"),
        (TrainingError("fp16"), "config"),
        (Hung("nothing moved"), "timeout"),
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
            "out_of_memory",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (
            SafetensorError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            ),
            "disk_full",
        ),
        (raised_from(RuntimeError("cannot write"), OSError(errno.ENOSPC, "full")), "disk_full"),
        (raised_from(DataError("cannot build tokens"), OSError(errno.ENOSPC, "full")), "disk_full"),
        (OSError(errno.EACCES, "Permission denied"), "bug"),
        (KeyError("x"), "bug"),
    ],
)
def test_the_cause_of_an_error(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


def hang(tmp_path: Path, body: str, seconds: float = 1.0) -> subprocess.CompletedProcess[str]:
    """Run code under a watchdog in a process of its own."""
    code = f"""
        import ctypes, sys, threading, time
        from pathlib import Path
        from study.scheduling.watchdog import Watchdog
        with Watchdog(Path({str(tmp_path)!r}), {seconds}) as dog:
            {body}
        print("through")
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "body",
    [
        "threading.Event().wait()",
        # It sleeps with the interpreter's lock held: no other thread can run.
        "ctypes.PyDLL(None).sleep(60)",
        "while True: pass",
    ],
)
def test_a_hang_ends_the_process_and_leaves_its_stacks(tmp_path: Path, body: str) -> None:
    done = hang(tmp_path, body)
    assert done.returncode == 1
    assert "through" not in done.stdout
    assert "<string>" in (tmp_path / "hang.log").read_text()


@pytest.mark.parametrize(
    "body",
    [
        "[(dog.moved(), time.sleep(0.25)) for _ in range(12)]",
        "dog.moved(silent=True); end = time.monotonic() + 3\n"
        "            while time.monotonic() < end: pass",
    ],
)
def test_progress_and_work_that_reports_none_are_no_hang(tmp_path: Path, body: str) -> None:
    done = hang(tmp_path, body)
    assert done.stdout == "through\n"
    assert not (tmp_path / "hang.log").exists()


def test_silent_work_that_uses_no_processor_is_a_hang(tmp_path: Path) -> None:
    assert hang(tmp_path, "dog.moved(silent=True); time.sleep(30)").returncode == 1


@pytest.mark.parametrize("retries", [0, 1])
def test_a_hang_without_ray_is_interrupted_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, retries: int
) -> None:
    """The first measurement after the second epoch sleeps for ever."""
    monkeypatch.setattr("study.scheduling.backlog.BACK_OFF", 0.0)
    measure = study.measuring.checkpoint.measure_checkpoint
    hung: list[Checkpoint] = []

    def hang_once(checkpoint: Checkpoint, *arguments: Any, **options: Any) -> Any:
        if checkpoint.epoch == 2 and not hung:
            hung.append(checkpoint)
            threading.Event().wait()
        return measure(checkpoint, *arguments, **options)

    monkeypatch.setattr(study.measuring.checkpoint, "measure_checkpoint", hang_once)
    grid = ONE["grid"] | {"precision": ["fp32", "int8"]}
    study_ = ONE | {"grid": grid, "resources": {"hang_minutes": 0.02, "retries": retries}}
    run = tmp_path / "runs" / "tiny"
    assert launch(tmp_path, study_) == 1 - retries
    assert list(starts(run).values()) == [1 + retries]
    if retries:
        assert failures(run) == {}
    else:
        for record in failures(run).values():
            assert record["cause"] == "timeout"
            assert "in hang_once" in record["traceback"]
            assert [row["epoch"] for row in record["rows_measured_before"]] == [0, 1]
        monkeypatch.undo()
        assert launch(tmp_path, study_, "--retry-failed", "timeout") == 0
    assert rows(run).equals(rows(whole))


def test_partial_rows_come_back_and_damage_is_noticed(tmp_path: Path) -> None:
    partial = Partial(tmp_path)
    first = {"a": [{"val_loss": 0.1 + 0.2, "epoch": 1}]}
    partial.write(1, first)
    partial.write(1, {"b": [{"val_loss": 1e-300, "epoch": 1}]})
    partial.write(0, first)
    assert partial.epochs() == [0, 1]
    assert partial.read(1) == {**first, "b": [{"val_loss": 1e-300, "epoch": 1}]}
    path = next((tmp_path / "partial").glob("*1.json"))
    for content in (
        path.read_text().replace("0.30000000000000004", "0.3"),
        "{",
        "[]",
        '{"rows": 1}',
        "",
    ):
        path.write_text(content)
        assert Partial(tmp_path).read(1) == {}


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Let the next training die as by a kill once the rows of an epoch are written."""
    write = Partial.write

    def die(self: Partial, at: int, rows: dict[str, list[dict[str, object]]]) -> None:
        write(self, at, rows)
        if at == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(Partial, "write", die)


ONE = tiny(grid={"epochs": [3], "precision": ["fp32"]})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one training with two precisions that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert launch(folder, ONE | {"grid": ONE["grid"] | {"precision": ["fp32", "int8"]}}) == 0
    return folder / "runs" / "tiny"


@pytest.mark.parametrize("keep", ["all", "none"])
def test_a_precision_that_joins_a_training_under_way_gets_all_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, keep: str
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert launch(tmp_path, ONE | {"keep": keep}) == 1
    assert (
        launch(
            tmp_path, ONE | {"keep": keep, "grid": ONE["grid"] | {"precision": ["fp32", "int8"]}}
        )
        == 0
    )
    assert rows(tmp_path / "runs" / "tiny").equals(rows(whole))


@pytest.mark.parametrize("keep", ["all", "none"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.parametrize(
    "what", ["partial/epoch-00001.json", "state-*.json", "state-*.safetensors", "loss_log.jsonl"]
)
def test_what_an_unfinished_training_left_may_be_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, keep: str, what: str, damage: str
) -> None:
    study = ONE | {"keep": keep, "grid": ONE["grid"] | {"precision": ["fp32", "int8"]}}
    run = tmp_path / "runs" / "tiny"
    with monkeypatch.context() as patch:
        patch.setattr("study.training.train.STATE_SECONDS", 0.0)
        interrupt_after(patch, 2)
        assert launch(tmp_path, study) == 1
    newest = max((run / "trainings").glob(f"*/{what}"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0x80
    newest.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    assert launch(tmp_path, study) == 0
    assert rows(run).equals(rows(whole))


def test_a_kill_between_the_rows_and_their_storage_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    study = ONE | {"keep": "none", "grid": ONE["grid"] | {"precision": ["fp32", "int8"]}}
    run = tmp_path / "runs" / "tiny"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        assert launch(tmp_path, study) == 1
    (steps,) = training_steps(run).values()
    (log,) = (run / "trainings").glob("*/loss_log.jsonl")
    before = log.read_bytes()
    assert launch(tmp_path, study) == 0
    assert log.read_bytes() == before
    assert steps == before.count(b"\n")
    assert rows(run).equals(rows(whole))


def test_leftovers_of_a_stored_training_are_deleted_at_the_next_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Partial, "delete", die)
        assert launch(tmp_path, ONE) == 1
    folder = tmp_path / "runs" / "tiny" / "trainings"
    assert list(folder.glob("*/state-*")) and list(folder.glob("*/partial"))
    assert launch(tmp_path, ONE) == 0
    assert not list(folder.glob("*/state-*")) and not list(folder.glob("*/partial"))


def task(tmp_path: Path, **changes: object) -> Work:
    """The single training of a tiny study."""
    study = study_from(
        tiny(grid={"epochs": [1], "precision": ["fp32"]}, **changes), folder=tmp_path, source="test"
    )
    (training,) = trainings(expand(study))
    return Work(training, tmp_path / "run", "launch")


def test_a_training_that_somebody_works_on_is_left_alone(tmp_path: Path) -> None:
    todo = task(tmp_path)
    with Leases(Store(todo.run_dir).paths.leases).hold(todo.training.key, "other"):
        assert work(todo) == Ended("busy")
    assert work(todo) == Ended("done")
    assert work(todo) == Ended("done")
    assert list(starts(todo.run_dir).values()) == [1]


def test_a_request_to_stop_is_heard_before_anything_is_loaded(tmp_path: Path) -> None:
    todo = task(tmp_path)
    todo.stop_file.parent.mkdir(parents=True)
    todo.stop_file.touch()
    assert work(todo) == Ended("stopped")
    assert starts(todo.run_dir) == {}


def test_a_lease_that_was_taken_over_ends_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = task(tmp_path)
    monkeypatch.setattr("study.store.leases.BEAT", 0.02)
    measure = study.measuring.checkpoint.measure_checkpoint

    def slow(*arguments: object, **options: object) -> object:
        path = Store(todo.run_dir).paths.leases / f"{todo.training.key}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"owner": "them"}))
        time.sleep(0.2)
        return measure(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(study.measuring.checkpoint, "measure_checkpoint", slow)
    assert work(todo) == Ended("busy")
    assert not Store(todo.run_dir).keys()


def test_what_libraries_print_goes_to_the_log_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = task(tmp_path)
    measure = study.measuring.checkpoint.measure_checkpoint

    def loud(*arguments: object, **options: object) -> object:
        os.write(1, b"from C\n")
        os.write(2, b"from C, an error\n")
        print("from Python")
        return measure(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(study.measuring.checkpoint, "measure_checkpoint", loud)
    assert work(todo, own_process=True) == Ended("done")
    log = (Store(todo.run_dir).paths.training(todo.training.key) / "console.log").read_text()
    for line in ("from C\n", "from C, an error\n", "from Python\n"):
        assert line in log


def test_the_record_shows_the_log_of_the_last_attempt_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(9))

    def broken(*arguments: object, **options: object) -> object:
        print(f"attempt {next(count)}")
        raise ValueError("injected")

    monkeypatch.setattr(study.measuring.checkpoint, "measure_checkpoint", broken)
    study_ = tiny(grid={"epochs": [1], "precision": ["fp32"]})
    assert launch(tmp_path, study_) == 1
    assert launch(tmp_path, study_, "--retry-failed") == 1
    (record,) = failures(tmp_path / "runs" / "tiny").values()
    assert "attempt 1" in record["log_tail"] and "attempt 0" not in record["log_tail"]


def test_a_disk_too_full_for_the_record_is_reported_to_whoever_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(study.measuring.checkpoint, "measure_checkpoint", full)
    monkeypatch.setattr(study.scheduling.work, "record_failure", full)
    todo = task(tmp_path)
    ended = work(todo)
    assert (ended.outcome, ended.cause) == ("failed", "disk_full")


def test_a_disk_too_full_for_the_lease_is_a_failure_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("study.store.slots.create", full)
    ended = work(task(tmp_path))
    assert (ended.outcome, ended.cause) == ("failed", "disk_full")
    assert "in _under_lease" in ended.message
