"""What a plan knows of time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tiny_search
from places import ROOT

from study.config import study_from
from study.data import Estimate
from study.grid import Cost, Plan, cost, expand, plan
from study.launching.speed import Speed, Speeds, calibrate, kind_of

SIZE = Estimate(classes=3, input_shape=(18,), train_rows=18, train_samples=18, val_samples=18)


def tiny_plan(folder: Path) -> Plan:
    content = {name: value for name, value in tiny_search.SEARCH.items() if name != "search"}
    content["grid"] = {"precision": ["fp32", "int8"], "seed": [0]}
    cells = expand(study_from(content, folder=folder, source="test"))
    return plan(cells, size=lambda cell: SIZE)


def test_time_is_that_of_training_and_of_measuring(tmp_path: Path) -> None:
    training = tiny_plan(tmp_path).pending[0]
    speeds = Speeds(tmp_path)
    price = Cost(
        parameters=1000, tokens=5, flops=700.0, measuring_flops=300.0, measurements=4, disk=0
    )
    assert speeds.effort(training, price) is None
    speeds.add(Speed(kind_of(training.first), 1000, 40.0, 10.0, 3.0, 0.5))
    effort = speeds.effort(training, price)
    assert effort is not None
    assert effort.training == pytest.approx(3 + 400 / 40)
    assert effort.measuring == pytest.approx(4 * 0.5 + 300 / 10)
    assert Speeds(tmp_path).known == speeds.known


def test_measuring_is_two_flops_a_parameter_and_sample(tmp_path: Path) -> None:
    """Two precisions, at epochs 0, 1, 2 and 4, on both splits."""
    training = tiny_plan(tmp_path).pending[0]
    price = cost(training, SIZE)
    assert price.parameters is not None
    assert price.measuring_flops == 2 * price.parameters * 2 * 4 * (18 + 18)
    assert price.flops == 6 * price.parameters * price.tokens + price.measuring_flops


@pytest.mark.long
def test_processes_of_a_calibration_end_with_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "study.launch", ROOT / "search_spaces" / "quickstart.yaml",
         "--calibrate", "--runs", tmp_path],
    )  # fmt: skip
    parent = psutil.Process(process.pid)
    deadline = time.monotonic() + 120
    while not (children := [c for c in parent.children() if "spawn_main" in str(c.cmdline())]):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(5)  # until they work
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert gone and not alive


def test_calibration_measures_a_checkpoint(tmp_path: Path) -> None:
    said: list[str] = []
    calibrate(tiny_plan(tmp_path), tmp_path, said.append)
    (speed,) = Speeds(tmp_path).known
    assert speed.flops_per_second > 0
    assert speed.measuring_flops_per_second > 0
    assert "samples/s at a precision" in said[0]
