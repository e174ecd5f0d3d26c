"""Clusters that the real `ray start` makes: head, worker and launch on computers of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from base_study import CELLS, every_cell_once, write_base, write_long
from namespaces import BRIDGE, Computer, computers
from object_server import BUCKET, object_server
from polars.testing import assert_frame_equal
from ray_home import RayHome, finish, ray_home, wait_for
from tiny_study import rows

from study.launching import launch
from study.store import RunPaths, Store
from study.store.leases import Leases

RAY = str(Path(sys.executable).parent / "ray")
PORT = 6379


@pytest.fixture
def three() -> Iterator[list[Computer]]:
    """A head, a worker, and a computer without processors for the launch."""
    with computers(3) as made:
        if made is None:
            pytest.skip("no right to make network namespaces")
        yield made


@pytest.fixture
def home(three: list[Computer], tmp_path: Path) -> Iterator[RayHome]:
    """A Ray home whose user has never used Ray; it ends before its computers do."""
    (tmp_path / "home").mkdir()
    with ray_home() as home:
        home.environment |= {"HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            home.environment.pop(name, None)
        yield home


def start(home: RayHome, computer: Computer, *options: str, **variables: str) -> None:
    """A node of Ray on a computer, once it is up."""
    folder = home.folder / computer.name
    folder.mkdir()
    command = [RAY, "start", "--node-ip-address", computer.address, *options, "--block"]
    process = home.run(*computer.command(*command), stdin=None, RAY_TMPDIR=str(folder), **variables)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "--block" in line or "Ray runtime started" in line:
            return
    pytest.fail("".join(lines))


@pytest.mark.long
@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("token", [False, True])
def test_head_worker_and_launch_on_three_computers(
    home: RayHome, three: list[Computer], tmp_path: Path, token: bool, auto: bool
) -> None:
    """Whether the home has a token or none, with nothing else said to the launch."""
    head, worker, mine = three
    address = f"{head.address}:{PORT}"
    mode = {"RAY_AUTH_MODE": "token"} if token else {}
    if token:
        generate = [RAY, "get-auth-token", "--generate"]
        subprocess.run(generate, env=home.environment, check=True, capture_output=True)
    start(home, head, "--head", "--port", str(PORT), "--num-cpus", "0",
          "--include-dashboard=false", **mode)  # fmt: skip
    start(home, worker, "--address", address, "--num-cpus", "1", **mode)
    start(home, mine, "--address", address, "--num-cpus", "0", **mode)
    study = write_base(tmp_path)
    launch = [sys.executable, "-m", "study.launch", str(study), "--runs", str(tmp_path / "runs")]
    where = ["--address", "auto" if auto else address]
    code, output = finish(
        home.run(*mine.command(*launch, *where), RAY_TMPDIR=str(home.folder / mine.name))
    )
    assert code == 0, output
    assert len(Store(tmp_path / "runs" / "base").keys()) == CELLS


@pytest.mark.long
def test_what_is_waited_for_is_said(home: RayHome, three: list[Computer], tmp_path: Path) -> None:
    head, *_ = three
    start(home, head, "--head", "--port", str(PORT), "--num-cpus", "1",
          "--include-dashboard=false")  # fmt: skip
    study = write_base(tmp_path, resources={"gpus": 1})
    process = home.run(
        *head.command(sys.executable, "-m", "study.launch", str(study)),
        *("--runs", str(tmp_path / "runs"), "--address", f"{head.address}:{PORT}"),
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("Waiting for 1 GPU: nodes have 0" in line for line in lines)
    process.terminate()
    code, _ = finish(process)
    assert code == 1
    wait_for(lambda: not list(RunPaths(tmp_path / "runs" / "base").launches.glob("*.stop")))


@pytest.mark.long
def test_a_worker_that_is_killed_on_a_cluster_loses_no_cell(
    home: RayHome, three: list[Computer], tmp_path: Path
) -> None:
    """Head and worker share nothing but the object storage."""
    head, worker, _ = three
    with object_server(BRIDGE) as server:
        home.environment |= server.environment
        start(home, head, "--head", "--port", str(PORT), "--num-cpus", "1",
              "--include-dashboard=false")  # fmt: skip
        start(home, worker, "--address", f"{head.address}:{PORT}", "--num-cpus", "1")
        run, study = f"s3://{BUCKET}/runs/base", write_long(tmp_path)
        command = (sys.executable, "-m", "study.launch", str(study))
        where = ("--runs", f"s3://{BUCKET}/runs", "--address", f"{head.address}:{PORT}")
        process = home.run(*head.command(*command, *where))
        leases = Leases(Store(run).paths.leases)
        wait_for(lambda: len([lease for lease in leases.all() if lease.progress]) == 2, 600)
        began = time.monotonic()
        worker.kill_all()
        code, output = finish(process, 1500)
        print(output, f"{time.monotonic() - began:.0f} s from the kill to the end", sep="\n")
        assert code == 0, output
        assert "attempt 2 of" in output
        every_cell_once(run)
        assert launch(study, runs=tmp_path / "runs", serial=True).code == 0
        assert_frame_equal(rows(run), rows(tmp_path / "runs" / "base"))
