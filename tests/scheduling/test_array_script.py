"""The SLURM array: tasks that share out a study by its leases, and the report after them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from base_study import write_base
from places import ROOT
from ray_home import wait_for
from tiny_study import failures, starts

from study.store import Store

SCRIPT = ROOT / "search_spaces" / "cluster" / "slurm_array.sh"
TASKS, SEEDS = 3, 4


def submit(folder: Path, task: str | None, *arguments: str) -> subprocess.Popen[str]:
    """What SLURM does with the script for a task of an array, or for a job that is none."""
    environment = {
        **os.environ,
        "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LOG": str(folder / "log"),
    }
    environment.pop("SLURM_ARRAY_TASK_ID", None)
    if task is not None:
        environment["SLURM_ARRAY_TASK_ID"] = task
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stand_in(folder: Path, body: str) -> None:
    """A `python` that is found before the real one."""
    path = folder / "python"
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


@pytest.mark.long
def test_the_tasks_of_an_array_train_every_cell_once(tmp_path: Path) -> None:
    grid = {"precision": ["fp32", "int8"], "seed": list(range(SEEDS))}
    study = write_base(tmp_path, grid=grid)
    runs = tmp_path / "runs"
    tasks = [submit(tmp_path, str(task), str(study), str(runs)) for task in range(TASKS)]
    outputs = [task.communicate(timeout=240)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0] * TASKS, outputs
    run = runs / "base"
    assert len(Store(run).keys()) == 2 * SEEDS and not failures(run)
    assert len(starts(run)) == SEEDS and set(starts(run).values()) == {1}


def test_the_report_comes_after_the_tasks_and_says_what_failed(tmp_path: Path) -> None:
    stand_in(
        tmp_path,
        f'[[ $1 == -c ]] && exec {sys.executable} "$@"; '
        'echo "$*" >> "$LOG"; [[ $2 == study.status ]] && exit 1; exit 0',
    )
    report = submit(tmp_path, None, str(write_base(tmp_path)), "runs", "report")
    output, _ = report.communicate(timeout=60)
    assert report.returncode == 1, output
    assert (tmp_path / "log").read_text().splitlines() == [
        "-m study.status runs/base",
        "-m analysis runs/base",
    ]


def test_the_time_limit_is_passed_on_and_awaited(tmp_path: Path) -> None:
    stand_in(
        tmp_path,
        'trap \'echo asked >> "$LOG"; exit 1\' TERM; echo ready >> "$LOG"; sleep 60 & wait $!',
    )
    task, log = submit(tmp_path, "1", "grid.yaml", "runs"), tmp_path / "log"

    def ended() -> bool:
        if task.poll() is None:  # the script may not have set its trap yet
            task.send_signal(signal.SIGTERM)
        return task.poll() is not None

    try:
        wait_for(lambda: log.exists() and "ready" in log.read_text(), seconds=30)
        wait_for(ended, seconds=30)
        assert task.returncode == 1 and "asked" in log.read_text()
    finally:
        os.killpg(task.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("task", "arguments"),
    [("1", ()), ("1", ("grid.yaml",)), (None, ("grid.yaml", "runs")), ("1", ("a", "b", "launch!"))],
)
def test_a_wrong_call_says_how_it_is_called(
    tmp_path: Path, task: str | None, arguments: tuple[str, ...]
) -> None:
    process = submit(tmp_path, task, *arguments)
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0 and "usage: sbatch --array 1-N slurm_array.sh" in output
