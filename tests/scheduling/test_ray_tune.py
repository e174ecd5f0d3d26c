"""Sweeps on Ray: the rows of a serial run, also after kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from ray_home import RayHome, finish, ray_home, wait_for
from tiny_study import launch, rows, starts, tiny, training_steps

from study.store import Store

SLOW = tiny(
    data={"train_tokens": 8_000},
    measure={"at": "last"},
    grid={"epochs": [12], "seed": [0, 1, 2]},
    resources={"checkpoint_minutes": 0.005},
)


@pytest.fixture
def home() -> Iterator[RayHome]:
    """A Ray home for one test."""
    with ray_home() as home:
        yield home


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the slow study without Ray and without disturbance."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert launch(folder, SLOW) == 0
    return folder / "runs" / "tiny"


def under_way(run: Path) -> bool:
    """Whether a training has written a resume state."""
    return any((run / "trainings").glob("*/state-*.json"))


def test_a_killed_launcher_loses_nothing_and_ray_gives_the_rows_of_a_serial_run(
    home: RayHome, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    first = home.launch(tmp_path, SLOW)
    wait_for(lambda: len(Store(run).keys()) >= 2 and under_way(run))
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = Store(run).keys()
    assert len(done) < 6
    code, output = finish(home.launch(tmp_path, SLOW))
    assert code == 0, output
    assert rows(run).equals(rows(undisturbed))
    again = [key for key, count in starts(run).items() if count > 2]
    assert not again
    assert output.count("\n") < 20, f"Tune prints of its own:\n{output}"
    for word in ("Trial", "WARNING", "ray"):
        assert word not in output.replace(str(tmp_path), "")
    assert home.remains() == [], "neither of the killed launch nor of its own"
    assert not list((run / "trainings").glob("*/state-*"))
    assert not list((run / "leases").iterdir())


@pytest.mark.parametrize(
    ("number", "options"),
    [
        pytest.param(signal.SIGINT, (), marks=pytest.mark.long),
        (signal.SIGTERM, ("--serial",)),
        pytest.param(signal.SIGTERM, (), marks=pytest.mark.long),
    ],
)
def test_a_stopped_launch_saves_and_frees_its_leases(
    home: RayHome,
    undisturbed: Path,
    tmp_path: Path,
    number: signal.Signals,
    options: tuple[str, ...],
) -> None:
    """SIGTERM to the launcher; Ctrl-C, which reaches the whole process group."""
    run = tmp_path / "runs" / "tiny"
    grid = SLOW["grid"] | {"seed": [1]}
    study = SLOW | {"grid": grid}
    process = home.launch(tmp_path, study, *options)
    wait_for(lambda: under_way(run))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code, output = finish(process)
    assert code == 1
    assert f"collapse-study launch {run}" in output
    assert "Traceback" not in output
    assert home.remains() == []
    assert list((run / "leases").iterdir()) == []
    assert Store(run).keys() == set()
    (steps,) = training_steps(run).values()
    assert launch(tmp_path, study) == 0
    assert rows(run).equals(rows(undisturbed).filter(pl.col("seed") == 1))
    assert [steps] < list(training_steps(run).values())
