"""Faults injected into sweeps on Ray.

Each has its cause recorded, the other cells are finished, the exit code is 1.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from places import HELPERS, ROOT
from ray_home import Nodes, RayHome, finish, ray_home
from tiny_study import failures, launch, rows, starts, tiny, write_study

from study.store import Store

ONE = tiny(grid={"epochs": [1], "precision": ["fp32"]})


@pytest.fixture
def home() -> Iterator[RayHome]:
    """A Ray home for one test."""
    with ray_home() as home:
        yield home


def faulty_launch(
    home: RayHome,
    folder: Path,
    study: dict[str, Any],
    faults: dict[int, str],
    *options: str,
    **variables: Any,
) -> tuple[int, str]:
    """Launch a study whose trainings fail by seed; exit code and output."""
    (folder / "markers").mkdir(exist_ok=True)
    path = write_study(folder, study)
    script = str(HELPERS / "faulty_launch.py")
    command = [sys.executable, script, str(path), "--runs", str(folder / "runs"), *options]
    return finish(
        home.run(*command, FAULTS=json.dumps(faults), MARKERS=str(folder / "markers"), **variables)
    )


@pytest.mark.long
def test_every_fault_has_its_cause_and_spares_the_others(home: RayHome, tmp_path: Path) -> None:
    grid = ONE["grid"]
    sound = {"train.lr": [1e-3]}
    study = ONE | {
        "grid": [
            {**grid, **sound, "seed": [0, 1, 2, 3, 4, 5, 6]},
            {**grid, **sound, "train.lr": [1e30]},
        ],
        "rules": [
            {"when": {"seed": [1, 2]}, "set": {"resources.retries": 0}},
            {"when": {"seed": [2, 5]}, "set": {"resources.hang_minutes": 0.1}},
        ],
    }
    del study["train"]["lr"]
    faults = {
        0: "none",
        1: "kill",
        2: "hang",
        3: "kill-worker once",
        4: "raise",
        5: "hang once",
        6: "data",
    }
    code, output = faulty_launch(home, tmp_path, study, faults)
    assert code == 1, output
    run = tmp_path / "runs" / "tiny"
    found = {}
    for record in failures(run).values():
        text = json.dumps(record)
        found[record["cause"]] = text
        assert Path(record["log"]).exists()
        assert record["host"]
    assert set(found) == {"node_lost", "timeout", "bug", "diverged", "data"}
    assert "KeyError: 'injected'" in found["bug"]
    assert "faulty_nursery.py" in found["timeout"], "the stacks show where it hung"
    assert "the corpus is gone" in found["data"]
    assert "attempt 2 of 3" in output
    table = Store(run).read()
    assert sorted(table["seed"].unique()) == [0, 3, 5]
    assert sorted(starts(run).values()) == [1] * 6 + [2] * 2
    assert launch(tmp_path, study, "--retry-failed", "node_lost") == 1
    assert "node_lost" not in {record["cause"] for record in failures(run).values()}


@pytest.mark.long
def test_a_full_disk_fails_what_does_not_fit(tmp_path: Path) -> None:
    """A run directory of 3 MiB.

    The small model fits, the checkpoints of the large one do not.
    """
    mount = tmp_path / "small"
    mount.mkdir()
    study = ONE | {"grid": ONE["grid"] | {"width": [16, 256], "seed": [0, 1]}}
    path = write_study(tmp_path, study)
    script = (
        f"mount -t tmpfs -o size=3m tmpfs {mount} && "
        f"{sys.executable} -m study.launch {path} --runs {mount} --serial; echo code $?; "
        f"cat {mount}/tiny/failures/*.json | grep '^ \"cause\"'; ls {mount}/tiny/cells/*"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    trial = [*command, f"mount -t tmpfs tmpfs {mount}"]
    if shutil.which("unshare") is None or subprocess.run(trial, check=False).returncode != 0:
        pytest.skip("no right to mount a file system of our own")
    done = subprocess.run(
        [*command, script], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert "code 1\n" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count('"cause": "disk_full"') == 2
    assert done.stdout.count(".parquet") == 2


def memory_used() -> float:
    """Share of this machine's memory in use, as Ray's monitor computes it."""
    memory = psutil.virtual_memory()
    return 1 - memory.available / memory.total


@pytest.mark.long
@pytest.mark.parametrize("tune", ["patched", "plain"])
def test_a_kill_by_the_memory_monitor_does_not_end_the_sweep(
    home: RayHome, tmp_path: Path, tune: str
) -> None:
    """The monitor's threshold is 3 GiB above what is used now; one training takes 6.

    Others may be hit, but not for ever.
    """
    total = psutil.virtual_memory().total
    threshold = memory_used() + 3 * 2**30 / total
    if threshold > 0.7:
        pytest.skip("this machine has too little free memory")
    study = ONE | {"grid": ONE["grid"] | {"seed": [0, 1, 2, 3]}, "resources": {"retries": 3}}
    code, output = faulty_launch(
        home,
        tmp_path,
        study,
        {1: "eat"},
        APPETITE_MIB=str(6 * 1024),
        RAY_memory_usage_threshold=f"{threshold:.3f}",
        RAY_memory_monitor_refresh_ms="100",
        **({"PLAIN_TUNE": "1"} if tune == "plain" else {}),
    )
    assert code == 1, output
    run = tmp_path / "runs" / "tiny"
    assert len(failures(run)) == 1, output
    (record,) = failures(run).values()
    assert record["cause"] == "out_of_memory", record["message"]
    assert "attempt 2 of 4" in output
    assert sorted(Store(run).read()["seed"].unique()) == [0, 2, 3]
    assert "Ray ended the sweep" in output or tune == "patched", (
        "there Tune ends it by its own callback alone"
    )


@pytest.mark.long
def test_a_node_on_which_everything_fails_is_avoided(home: RayHome, tmp_path: Path) -> None:
    """Two nodes of one processor; whatever comes to the first one fails."""
    seeds = list(range(8))
    study = ONE | {"grid": ONE["grid"] | {"seed": seeds}}
    (tmp_path / "nodes").mkdir()
    faults = dict.fromkeys(seeds, "first-node")
    home.environment |= {
        "FAULTS": json.dumps(faults),
        "MARKERS": str(tmp_path / "markers"),
    }  # of the nodes, too
    address = Nodes(home, tmp_path / "nodes").address
    code, output = faulty_launch(home, tmp_path, study, faults, "--address", address)
    assert code == 0, output
    assert "3 trainings in a row failed there: it is avoided" in output
    run = tmp_path / "runs" / "tiny"
    assert sorted(Store(run).read()["seed"].unique()) == seeds
    went_there = sum(starts(run).values()) - len(seeds)
    assert went_there in (3, 4), (
        "once it was avoided none was sent there; one may have been on its way"
    )


@pytest.mark.long
def test_two_launchers_share_the_work(home: RayHome, tmp_path: Path) -> None:
    study = ONE | {"grid": ONE["grid"] | {"epochs": [2], "seed": list(range(6))}}
    both = [home.launch(tmp_path, study), home.launch(tmp_path, study)]
    for process in both:
        code, output = finish(process)
        assert code == 0, output
    run = tmp_path / "runs" / "tiny"
    assert list(starts(run).values()) == [1] * 6
    headers = [
        line
        for path in (run / "trainings").glob("*/console.log")
        for line in path.open()
        if line[:4] == "--- "
    ]
    assert len({header.split()[3] for header in headers}) == 2, "both took part"
    assert len(rows(run)) == 18
