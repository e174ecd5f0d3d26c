"""Disks that fill up while Ray trains: rows stay the same, and 0 means that all are there."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest
from base_study import write_base
from faulty_disk import started_cluster
from full_disk import NoMount, fill, filling, free, small_disk
from polars.testing import assert_frame_equal
from ray_home import RayHome, finish, ray_home, wait_for
from tiny_study import launch, rows, tiny, write_study

from study.launch import main
from study.store import RunPaths, Store

STUDY = tiny(
    data={"train_tokens": 8_000},
    measure={"at": "log"},
    grid={"epochs": [3], "seed": [0, 1, 2]},
    resources={"checkpoint_minutes": 0.005, "retries": 2},
)
CELLS = 6
ROOM = 12
"""MiB of the disk; the study takes four."""
ROUNDS = int(os.environ.get("ROUNDS", "30"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(small_disk(tmp_path / "disk", ROOM))
        except NoMount as error:
            pytest.skip(f"no right to mount a disk of our own: {error}")


@pytest.fixture(scope="module")
def home() -> Iterator[RayHome]:
    """A Ray home for all rounds."""
    with ray_home() as home:
        yield home


@pytest.fixture(scope="module")
def cluster(home: RayHome) -> dict[str, str]:
    """The environment of those who join the cluster of all rounds."""
    return started_cluster(home)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The rows of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert launch(folder, STUDY) == 0
    return rows(folder / "runs" / "tiny")


def one_launch(
    home: RayHome, cluster: dict[str, str], path: Path, disk: Path, chance: random.Random
) -> tuple[int, str, str]:
    """A launch while the disk fills up, in some a kill; its code, output and what was killed."""
    command = (sys.executable, "-m", "study.launch", str(path), "--runs", str(disk / "runs"))
    victim = chance.choice(["nobody", "nobody", "a worker", "the launcher"])
    with filling(disk, chance):
        process = home.run(*command, "--retry-failed", stdin=None, **cluster)
        if victim != "nobody":
            wait_for(lambda: process.poll() is not None or home.workers())
            time.sleep(chance.uniform(0.0, 6.0))
            workers = home.workers()
            if victim == "the launcher":
                process.kill()
            elif workers:
                chance.choice(workers).kill()
        code, output = finish(process)
    return code, output, victim


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_rounds_on_disks_that_fill_up(
    home: RayHome,
    cluster: dict[str, str],
    disk: Path,
    tmp_path: Path,
    undisturbed: pl.DataFrame,
    seed: int,
) -> None:
    chance = random.Random(seed)
    path = write_study(tmp_path, STUDY)
    run = disk / "runs" / "tiny"
    codes = []
    for _ in range(chance.randint(1, 2)):
        before = Store(run).keys()
        code, output, victim = one_launch(home, cluster, path, disk, chance)
        codes.append(code)
        print(victim, code, output[-300:] if code == 2 else "", flush=True)
        assert "Traceback" not in output, output
        assert code in (0, 1, 2) or victim == "the launcher", (code, output)
        assert before <= Store(run).keys(), "nothing is lost"
        if code == 0:
            assert len(Store(run).keys()) == CELLS, output
    code = main([str(path), "--runs", str(disk / "runs"), "--serial", "--retry-failed"])
    print(f"seed {seed}: codes {codes}, then {code}", flush=True)
    assert code == 0
    assert_frame_equal(rows(run), undisturbed)


@pytest.mark.long
def test_a_disk_that_is_filled_right_after_the_start(
    home: RayHome, cluster: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    """No failure can be recorded, and still the exit code tells."""
    path = write_base(tmp_path, grid={"precision": ["fp32", "int8"], "seed": [0, 1, 2, 3, 4, 5]})
    command = (sys.executable, "-m", "study.launch", str(path), "--runs", str(disk / "runs"))
    process = home.run(*command, stdin=None, **cluster)
    paths = RunPaths(disk / "runs" / "base")
    wait_for(lambda: list(paths.launches.glob("*.json")))
    fill(disk)
    code, output = finish(process)
    stored = Store(paths.root).keys()
    assert code == 1 and len(stored) < 12, output
    assert "Traceback" not in output
    free(disk)
    code, output = finish(home.run(*command, "--retry-failed", stdin=None, **cluster))
    assert code == 0, output
    assert stored <= Store(paths.root).keys() and len(Store(paths.root).keys()) == 12
    shutil.rmtree(paths.root)
