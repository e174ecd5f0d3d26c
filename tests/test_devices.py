"""What runs on a GPU, without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


QUICK = "do_not_mix or test_metrics or waits_once_a_batch or waits_for_nothing"
"""What of it the suite runs each time, in a third of the time."""


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(QUICK, id="quick"),
        pytest.param(f"not ({QUICK})", id="rest", marks=pytest.mark.long),
    ],
)
def test_all_that_runs_on_a_gpu_runs_on_a_pretended_device(part: str) -> None:
    """In a process of its own, because autograd counts devices once."""
    file = TESTS / "pretended" / "on_pretended_device.py"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", str(file), "-k", part]
    result = subprocess.run(
        command, cwd=TESTS.parent, env=os.environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-5000:]
