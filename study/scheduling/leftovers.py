"""What a launch leaves on its computer: folders, and processes that outlive it.

The folder of its own Ray and of Tune is for one launch. Ray's raylet dies with a launch that is
killed. Its workers notice after a second or two and its agents after minutes; meanwhile they write
into folders that Ray itself never deletes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import psutil

from study.store.atomic import write_json
from study.store.leases import process_start, this_machine
from study.store.paths import ScratchPaths

PATIENCE = 10.0
"""Seconds that killed processes have for their end."""


@contextmanager
def scratch(stop_file: Path) -> Iterator[Path]:
    """A folder whose files, and the processes that write there, end with the launch.

    If the launch is killed, the next one on this computer ends them, and deletes the launch's
    `stop_file`. The path of the folder is short: Ray puts sockets there.
    """
    folder = Path(tempfile.mkdtemp(prefix=ScratchPaths.PREFIX, dir=_place()))
    pid = os.getpid()
    owner = {"machine": this_machine(), "pid": pid, "process_started": process_start(pid)}
    write_json(ScratchPaths(folder).owner, owner | {"stop_file": str(stop_file.resolve())})
    try:
        yield folder
    finally:
        _clear(folder)


def _place() -> Path:
    """Where Ray would put its sessions."""
    return Path(
        os.environ.get("RAY_TMPDIR")
        or ("/tmp" if sys.platform == "darwin" else tempfile.gettempdir())
    )


def forget_dead_launches() -> None:
    """End and delete what launches have left on this computer that were killed."""
    for paths in ScratchPaths.all(_place()):
        try:
            owner = json.loads(paths.owner.read_text(encoding="utf-8"))
            dead = (
                owner["machine"] == this_machine()
                and process_start(owner["pid"]) != owner["process_started"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # somebody else's
        if dead:
            _clear(paths.folder)
            with suppress(OSError):  # its run may have moved
                Path(owner["stop_file"]).unlink()


def _clear(folder: Path) -> None:
    """Kill the processes of a folder and delete it.

    What belongs to another user stays.
    """
    deadline = time.monotonic() + PATIENCE
    while (running := list(_processes(folder))) and time.monotonic() < deadline:
        for process in running:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        psutil.wait_procs(running, timeout=0.5)
    rmtree(folder, ignore_errors=True)


def _processes(folder: Path) -> Iterator[psutil.Process]:
    """Processes that have a file below a folder open for writing.

    All processes of a Ray have their logs open so. Their environments would not tell: Ray
    overwrites them by the titles that it gives to its processes.
    """
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            if process.pid != os.getpid() and any(
                _writes_below(file, folder) for file in process.open_files()
            ):
                yield process


def _writes_below(file: Any, folder: Path) -> bool:
    return getattr(file, "mode", "w") != "r" and Path(file.path).is_relative_to(
        folder
    )  # Linux alone knows the mode
