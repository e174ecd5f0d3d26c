"""What a launch leaves on its computer: the folder of its own Ray and of Tune, and processes that outlive it.

The workers and agents of a Ray look for their raylet only every now and then, so that some of them go on for seconds after
a launch has ended or was killed, and write into folders that Ray itself never deletes.
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

import psutil

from study.lease import process_start, this_machine
from study.store import write_json

MARK = "COLLAPSE_STUDY_SCRATCH"
"""In the environment of every process that a launch starts: its folder."""
PREFIX = "study-"
OWNER = "owner.json"
PATIENCE = 10.0
"""Seconds that killed processes have for their end."""


@contextmanager
def scratch(stop_file: Path) -> Iterator[Path]:
    """A folder for what a launch throws away in the end, together with all processes that were started within.

    If the launch is killed, the next one on this computer does both, and deletes the launch's `stop_file`. The path of the
    folder is short: Ray puts sockets there.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
    pid = os.getpid()
    owner = {"machine": this_machine(), "pid": pid, "process_started": process_start(pid)}
    write_json(folder / OWNER, owner | {"stop_file": str(stop_file.resolve())})
    os.environ[MARK] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[MARK]
        _clear(folder)


def _place() -> Path:
    """Where Ray would put its sessions."""
    return Path(os.environ.get("RAY_TMPDIR") or ("/tmp" if sys.platform == "darwin" else tempfile.gettempdir()))


def forget_dead_launches() -> None:
    """End and delete what launches have left on this computer that were killed."""
    for path in _place().glob(f"{PREFIX}*/{OWNER}"):
        try:
            owner = json.loads(path.read_text(encoding="utf-8"))
            dead = owner["machine"] == this_machine() and process_start(owner["pid"]) != owner["process_started"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # somebody else's
        if dead:
            _clear(path.parent)
            with suppress(OSError):  # its run may have moved
                Path(owner["stop_file"]).unlink()


def _clear(folder: Path) -> None:
    """Kill the processes of a folder and delete it; what belongs to another user is left to him."""
    deadline = time.monotonic() + PATIENCE
    while (running := list(_processes(folder))) and time.monotonic() < deadline:
        for process in running:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        psutil.wait_procs(running, timeout=0.5)
    rmtree(folder, ignore_errors=True)


def _processes(folder: Path) -> Iterator[psutil.Process]:
    """What runs with the mark of a folder, apart from what has ended and waits for its parent to notice."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
