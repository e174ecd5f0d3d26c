"""Where numbers come from: code, versions, hardware, command, time.

Stored beside every launch and every training.
"""

from __future__ import annotations

import getpass
import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "torch",
    "torchvision",
    "torchao",
    "ray",
    "optuna",
    "transformers",
    "tokenizers",
    "datasets",
    "safetensors",
)
LIBRARIES = (
    *PACKAGES,
    "numpy",
    "scipy",
    "polars",
    "pyarrow",
    "pydantic",
    "statsmodels",
)
CODE = Path(__file__).resolve().parents[2]


def now() -> str:
    """Time in UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state() -> dict[str, str | None]:
    """Commit of the code, and the difference of the working tree from it.

    Both are None outside a git checkout.
    """
    commit = _git("rev-parse", "HEAD")
    return {"git_sha": commit, "git_diff": _git("diff", "HEAD") if commit else None}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(CODE), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git or no checkout: an installed package
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on.

    Libraries that are not installed are left out.
    """
    packages = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return packages


def hardware() -> dict[str, Any]:
    """This machine: name, processor, cores, memory.

    GPUs are named by whoever uses one.
    """
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def _user() -> str:
    """Who this is: by number where no name is known, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def launch_record() -> dict[str, Any]:
    """Everything about a launch.

    Who started what, when, with which code and versions, on which machine.
    """
    return {
        "started_at": now(),
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "folder": str(Path.cwd()),
        "user": _user(),
        **git_state(),
        "versions": versions(),
        "hardware": hardware(),
    }
