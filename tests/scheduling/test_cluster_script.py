"""The SLURM script with stand-ins for SLURM, Ray and Python.

They write down how they are called.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from places import ROOT
from ray_home import wait_for

SCRIPT = ROOT / "search_spaces" / "cluster" / "slurm.sh"
STAND_INS = {
    "scontrol": "printf 'n1\\nn2\\nn3\\n'",
    "srun": (
        "while [[ $1 == --* ]]; do [[ $1 == --nodelist ]] && node=$2; shift 2; done; "
        'NODE=$node "$@"'
    ),
    "ray": (
        'echo "$NODE ray $* $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >> "$LOG"; '
        "[[ $1 == get-auth-token ]] && { echo 4f2a; exit 0; }; "
        "[[ $1 == status ]] && exit 0; exec sleep 60"
    ),
    "python": """echo "python $*" >> "$LOG"; trap 'echo asked >> "$LOG"; exit 1' TERM
        [[ -n $WAITS ]] && { sleep 60 & wait $!; }; exit 3""",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An allocation of three nodes."""
    for name, body in STAND_INS.items():
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_ID": "4711", "SLURM_CPUS_ON_NODE": "8"}
    return {
        **os.environ,
        **slurm,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "WAITS": "",
    }


def submit(environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    command = ["bash", str(SCRIPT), "grid.yaml", "/shared/runs", *more]
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str]) -> None:
    """SLURM ends what a script leaves behind."""
    os.killpg(process.pid, signal.SIGKILL)


def test_a_head_then_the_other_nodes_then_the_launch(environment: dict[str, str]) -> None:
    process = submit(environment)
    log = Path(environment["LOG"])
    try:
        assert process.wait(timeout=30) == 3, "the exit code is that of the launch"
        wait_for(lambda: log.read_text().count("ray start") == 3, seconds=10)
    finally:
        end(process)
    lines = log.read_text().splitlines()
    assert "n1 ray start --head --port 24711 --include-dashboard=false --block token 4f2a" in lines
    assert "n2 ray start --address n1:24711 --block token 4f2a" in lines
    assert "n3 ray start --address n1:24711 --block token 4f2a" in lines
    assert "python -m study.launch grid.yaml --runs /shared/runs --address n1:24711" in lines


def test_a_search_is_launched_when_asked_for(environment: dict[str, str]) -> None:
    process = submit(environment, "study.tune")
    try:
        assert process.wait(timeout=30) == 3
    finally:
        end(process)
    said = Path(environment["LOG"]).read_text()
    assert "python -m study.tune grid.yaml --runs /shared/runs --address n1:24711" in said


def test_the_end_of_the_allocation_is_passed_on_and_awaited(environment: dict[str, str]) -> None:
    process = submit(environment | {"WAITS": "yes"})
    log = Path(environment["LOG"])

    def asked() -> bool:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return process.poll() is not None or "asked" in log.read_text()

    try:
        wait_for(lambda: log.exists() and "python" in log.read_text(), seconds=30)
        time.sleep(0.2)  # the script sets its trap
        wait_for(asked)
        assert process.wait(timeout=30) == 1
    finally:
        end(process)


def test_both_arguments_are_needed(environment: dict[str, str]) -> None:
    process = subprocess.run(
        ["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode != 0
    assert "usage: sbatch slurm.sh GRID.yaml RUNS_FOLDER" in process.stderr
