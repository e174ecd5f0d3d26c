"""Trainings in processes of their own: each is fresh, its death is noticed, and it dies with whoever waits for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray_home import ROOT, wait_for
from tiny_study import launch, rows, tiny

from study import nursery
from study.config import study_from
from study.grid import expand, trainings
from study.lease import Leases
from study.nursery import Nursery
from study.worker import Ended, Work

STUDY = tiny(
    data={"train_tokens": 1000},
    grid={"epochs": [1], "precision": ["fp32"], "seed": [0, 1, 2]},
    measure={"at": "last"},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of this happens."""
    return tmp_path_factory.mktemp("nursery")


@pytest.fixture(scope="module", autouse=True)
def faults(folder: Path) -> Iterator[None]:
    """The second training is killed once, the third one hangs once."""
    (folder / "markers").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTS", json.dumps({"1": "kill once", "2": "hang once"}))
        patch.setenv("MARKERS", str(folder / "markers"))
        patch.syspath_prepend(str(ROOT / "tests"))
        yield


@pytest.fixture(scope="module")
def tasks(folder: Path) -> list[Work]:
    """Three trainings."""
    study = study_from(STUDY, folder=folder, source="test")
    run = folder / "runs" / "tiny"
    return [Work(group, run, "launch", node="n", waiting=7) for group in trainings(expand(study))]


@pytest.fixture(scope="module")
def other() -> Iterator[Nursery]:
    """The faulty nursery."""
    found = Nursery("faulty_nursery")
    yield found
    assert found._process is not None
    found._process.communicate()


def test_work_survives_its_way_as_text(tasks: list[Work]) -> None:
    for task in tasks:
        assert "\n" not in task.to_json()
        assert Work.from_json(task.to_json()) == task


def test_a_training_that_dies_is_lost_alone(tasks: list[Work], other: Nursery) -> None:
    first, second, _ = tasks
    assert other.run(first) == Ended("done")
    assert other.run(second) == Ended("lost", message="the process of the training was killed by SIGKILL")
    assert other.run(second) == Ended("done"), "its fault was for once"


@pytest.mark.parametrize("which", ["worker", "nursery"])
def test_a_training_dies_with_its_nursery_and_with_the_worker_that_waits(tasks: list[Work], which: str) -> None:
    (Path(os.environ["MARKERS"]) / "2").unlink(missing_ok=True)
    code = f"""
from study.nursery import Nursery
from study.worker import Work
print(Nursery("faulty_nursery").run(Work.from_json({tasks[2].to_json()!r})))
"""
    worker = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    leases = Leases(tasks[2].run_dir / "leases")
    lease = wait_for(lambda: next((lease for lease in leases.all() if not lease.dead()), None))
    training = psutil.Process(lease.pid)
    nursery_ = training.parent()
    assert nursery_ is not None and nursery_.ppid() == worker.pid
    (nursery_ if which == "nursery" else worker).send_signal(signal.SIGKILL)
    output, _ = worker.communicate()
    assert ("lost" in output) == (which == "nursery")
    wait_for(lambda: not training.is_running() or training.status() == psutil.STATUS_ZOMBIE, seconds=10)


def test_a_nursery_that_ended_is_started_again(tasks: list[Work], other: Nursery) -> None:
    assert other._process is not None
    before = other._process
    before.kill()
    before.wait()
    assert other.run(tasks[2]) == Ended("done")
    assert other._process is not before


def test_trainings_were_processes_of_their_own_and_gave_the_rows_of_any_other(
    tasks: list[Work], other: Nursery, tmp_path: Path
) -> None:
    run = tasks[0].run_dir
    headers = [line for path in (run / "trainings").glob("*/console.log") for line in path.open() if line[:4] == "--- "]
    numbers = [header.split()[-1] for header in headers]
    assert len(numbers) == len(set(numbers)) == 6
    assert other._process is not None and str(other._process.pid) not in numbers
    assert launch(tmp_path, STUDY) == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "tiny"))


@pytest.mark.parametrize("there", [False, True])
def test_a_process_that_may_have_touched_an_accelerator_is_not_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    device = tmp_path / "device"
    if there:
        device.touch()
    monkeypatch.setattr(nursery, "ACCELERATORS", (str(device),))
    assert nursery.may_fork_late() == (not there and sys.platform == "linux")
