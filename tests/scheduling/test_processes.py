"""Trainings in processes of their own.

Each is fresh, its death is noticed, and it dies with whoever waits for it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from places import HELPERS, ROOT
from ray_home import wait_for
from tiny_study import launch, rows, starts, tiny

from study.config import study_from
from study.grid import expand, trainings
from study.scheduling import processes as nursery
from study.scheduling.processes import LONGEST, Nursery
from study.scheduling.work import Ended, Work

STUDY = tiny(
    data={"train_tokens": 1000},
    grid={"epochs": [1], "precision": ["fp32"], "seed": [0, 1, 2]},
    measure={"at": "last"},
)


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nurseries find the modules of tests."""
    monkeypatch.syspath_prepend(str(HELPERS))


@pytest.fixture
def tasks(tmp_path: Path) -> list[Work]:
    """Three trainings."""
    (tmp_path / "run").mkdir()
    study = study_from(STUDY, folder=tmp_path, source="test")
    return [
        Work(group, tmp_path / "run", "launch", node="n", waiting=7)
        for group in trainings(expand(study))
    ]


def end(other: Nursery) -> None:
    """End the other side, as the end of its worker does."""
    assert other._process is not None
    other._process.communicate(timeout=20)
    assert other._process.returncode == 0


def test_work_survives_its_way_as_text(tasks: list[Work]) -> None:
    for task in tasks:
        assert "\n" not in task.to_json()
        assert Work.from_json(task.to_json()) == task


def test_a_training_that_dies_is_lost_alone_and_the_others_have_the_rows_of_any_other_process(
    tasks: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", json.dumps({"1": "kill once"}))
    monkeypatch.setenv("MARKERS", str(tmp_path))
    other = Nursery("faulty_nursery")
    first, second, third = tasks
    assert other.run(first) == Ended("done")
    assert other.run(second) == Ended(
        "lost", message="the process of the training was killed by SIGKILL"
    )
    assert other.run(second) == other.run(third) == Ended("done")
    assert sorted(starts(first.run_dir).values()) == [1, 1, 2]
    end(other)
    assert launch(tmp_path, STUDY) == 0
    assert rows(first.run_dir).equals(rows(tmp_path / "runs" / "tiny"))


def test_each_training_is_a_process_and_a_nursery_that_ended_is_started_again(
    tasks: list[Work],
) -> None:
    other = Nursery("idle_nursery")
    numbers = [other.run(task).message for task in tasks]
    assert other._process is not None
    before = other._process
    assert len({*numbers, str(before.pid)}) == 4
    before.kill()
    before.wait()
    assert other.run(tasks[0]).outcome == "failed"
    assert other._process is not before
    end(other)


@pytest.mark.parametrize("which", ["worker", "nursery"])
def test_a_training_dies_with_its_nursery_and_with_the_worker_that_waits(
    tasks: list[Work], which: str
) -> None:
    task = replace(tasks[0], launch="wait")
    code = f"""
from study.scheduling.processes import Nursery
from study.scheduling.work import Work
print(Nursery("idle_nursery").run(Work.from_json({task.to_json()!r})))
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HELPERS}"}
    command = [sys.executable, "-c", code]
    worker = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    mark = task.run_dir / "waiting"
    training = psutil.Process(int(wait_for(lambda: mark.exists() and mark.read_text())))
    parent = training.parent()
    assert parent is not None and parent.ppid() == worker.pid
    (parent if which == "nursery" else worker).send_signal(signal.SIGKILL)
    output, _ = worker.communicate()
    assert ("lost" in output) == (which == "nursery")
    wait_for(
        lambda: not training.is_running() or training.status() == psutil.STATUS_ZOMBIE, seconds=10
    )


def test_the_longest_message_fits_into_the_pipe() -> None:
    """65,536 bytes on Linux; a character takes up to 12 in JSON."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    content = json.dumps("\N{GRINNING FACE}" * LONGEST).encode()
    assert os.write(writing, content) == len(content)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("there", [False, True])
def test_a_process_that_may_have_touched_an_accelerator_is_not_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    device = tmp_path / "device"
    if there:
        device.touch()
    monkeypatch.setattr(nursery, "ACCELERATORS", (str(device),))
    assert nursery.may_fork_late() == (not there and sys.platform == "linux")
