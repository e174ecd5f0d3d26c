"""`ray job submit` to a real head: the study runs, and how it ended comes back."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from base_study import CELLS, write_base
from ray_home import RayHome, finish, ray_home

from study.store import Store

RAY = (sys.executable, "-m", "ray.scripts.scripts")
HERE = "127.0.0.1"


def free_ports(count: int) -> list[str]:
    """Ports of this computer that nobody listens at."""
    sockets = [socket.create_server((HERE, 0)) for _ in range(count)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[RayHome, str]]:
    """A head that answers on this computer alone, and the address of its job server."""
    pytest.importorskip("aiohttp", reason="pip install 'collapse-study[cluster]' has a job server")
    port, dashboard, agent, client = free_ports(4)
    options = {
        "--node-ip-address": HERE,
        "--port": port,
        "--dashboard-host": HERE,
        "--dashboard-port": dashboard,
        "--dashboard-agent-listen-port": agent,
        "--ray-client-server-port": client,
        "--num-cpus": "2",
    }
    (tmp_path / "home").mkdir()
    with ray_home() as home:
        home.environment |= {"HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            home.environment.pop(name, None)
        given = [part for pair in options.items() for part in pair]
        process = home.run(*RAY, "start", "--head", "--block", *given, stdin=None)
        with closing(process.stdout) as said:
            lines = []
            for line in said:
                lines.append(line)
                if "--block" in line:
                    break
            else:
                pytest.fail("".join(lines))
            yield home, f"http://{HERE}:{dashboard}"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_job_trains_a_study_and_its_exit_code_comes_back(
    head: tuple[RayHome, str], tmp_path: Path
) -> None:
    home, address = head
    folder = tmp_path / "studies"
    folder.mkdir()
    study = write_base(folder)
    launch = [sys.executable, "-m", "study.launch", study.name, "--address", "auto"]
    submit = [*RAY, "job", "submit", "--address", address, "--working-dir", str(folder), "--"]
    code, output = finish(
        home.run(*submit, *launch, "--runs", str(tmp_path / "runs"), stdin=None), 400
    )
    assert code == 0, output
    assert f"{CELLS} of {CELLS} cells are in" in output
    assert len(Store(tmp_path / "runs" / "base").keys()) == CELLS

    code, output = finish(home.run(*submit, *launch, "train.lr=none", stdin=None), 400)
    assert code == 1 and "train.lr" in output and "exit code 2" in output, output
