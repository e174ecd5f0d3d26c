"""What runs on a GPU, without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_all_that_runs_on_a_gpu_runs_on_a_pretended_device() -> None:
    """In a process of its own, because autograd counts devices once."""
    file = TESTS / "pretended" / "on_pretended_device.py"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", str(file)]
    result = subprocess.run(
        command, cwd=TESTS.parent, env=os.environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-5000:]
