"""What a launch leaves on its computer: folders, and processes that outlive it.

The folder of its own Ray and of Tune is for one launch. Ray's raylet dies with a launch that is
killed. Its workers notice after a second or two and its agents after minutes; meanwhile they write
into folders that Ray itself never deletes.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import psutil

from study.store.atomic import write_json
from study.store.leases import process_start, this_machine
from study.store.paths import ScratchPaths, is_stop_file

PATIENCE = 10.0
"""Seconds that killed processes have for their end."""
UNNAMED = 3600.0
"""Seconds after which a folder without a record of its owner has none."""
LONGEST_SOCKET = 107
"""Bytes of the path of a socket, which the operating system sets."""
NAMES = len("/study-abcdefgh/session_2000-12-31_23-59-59_999999_4194304/sockets/plasma_store")
"""Bytes of what Ray and we append to the folder of temporary files."""


class NoPlace(RuntimeError):
    """No folder for temporary files can hold the sockets of a Ray."""


@contextmanager
def scratch(stop_file: Path, *, sockets: bool = True) -> Iterator[Path]:
    """A folder whose files, and the processes that write there, end with the launch.

    If the launch is killed, the next one on this computer ends them, and deletes the launch's
    `stop_file`. `sockets`: a Ray puts sockets there, whose paths must be short.

    Raises NoPlace where there is no folder for it.
    """
    folder = _new_folder(sockets)
    pid = os.getpid()
    owner = {"machine": this_machine(), "pid": pid, "process_started": process_start(pid)}
    write_json(ScratchPaths(folder).owner, owner | {"stop_file": str(stop_file.resolve())})
    try:
        yield folder
    finally:
        _clear(folder)


def _new_folder(sockets: bool) -> Path:
    """A folder of our own in the first place that will do."""
    refusals = []
    for place in _places():
        length = len(os.fsencode(place.resolve())) + NAMES
        if sockets and length > LONGEST_SOCKET:
            refusals.append(
                f"{place} is {length - LONGEST_SOCKET} characters too long for Ray's sockets"
            )
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=ScratchPaths.PREFIX, dir=place.resolve()))
        except OSError as error:
            refusals.append(f"{place} cannot be written ({error.strerror})")
    raise NoPlace("; ".join(refusals))


def _places() -> list[Path]:
    """Where Ray would put its sessions: where the user says, else the usual places."""
    if chosen := os.environ.get("RAY_TMPDIR"):
        return [Path(chosen)]
    usual = "/tmp" if sys.platform == "darwin" else tempfile.gettempdir()
    return list(dict.fromkeys((Path(usual), Path("/tmp"))))


def forget_dead_launches() -> None:
    """End and delete what this user's killed launches have left on this computer.

    Others may write into the shared folder of temporary files, so that nothing there is believed
    that is not this user's own, and no link is followed.
    """
    for place in _places():
        for folder in place.glob(f"{ScratchPaths.PREFIX}*"):
            with suppress(FileNotFoundError):  # its launch has just ended
                if _own(folder, stat.S_ISDIR):
                    _forget(ScratchPaths(folder))


def _forget(paths: ScratchPaths) -> None:
    """Clear a folder of this user's if its launch is dead."""
    if not _own(paths.owner, stat.S_ISREG):
        age = time.time() - paths.folder.lstat().st_mtime
        if age > UNNAMED and _is_scratch(paths.folder) and not any(_processes(paths.folder)):
            rmtree(paths.folder, ignore_errors=True)
        return
    try:
        owner = json.loads(paths.owner.read_text(encoding="utf-8"))
        dead = (
            owner["machine"] == this_machine()
            and process_start(owner["pid"]) != owner["process_started"]
        )
        stop_file = Path(owner["stop_file"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # not written by a launch
    if dead:
        _clear(paths.folder)
        if is_stop_file(stop_file) and _own(stop_file, stat.S_ISREG):
            stop_file.unlink(missing_ok=True)


def _own(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Whether this user owns what lies there itself, and it is of a kind.

    A link is of no kind.
    """
    try:
        status = path.lstat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and is_kind(status.st_mode)


def _is_scratch(folder: Path) -> bool:
    """Whether nothing lies there but what launches and their Ray write."""
    return all(
        any(path.match(pattern) for pattern in ScratchPaths.CONTENT) for path in folder.iterdir()
    )


def _clear(folder: Path) -> None:
    """Kill the processes of a folder and delete it, the record of its owner last.

    What belongs to another user stays.
    """
    deadline = time.monotonic() + PATIENCE
    while (running := list(_processes(folder))) and time.monotonic() < deadline:
        for process in running:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        psutil.wait_procs(running, timeout=0.5)
    for path in folder.iterdir():
        if path.name != ScratchPaths(folder).owner.name:
            rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    rmtree(folder, ignore_errors=True)


def _processes(folder: Path) -> Iterator[psutil.Process]:
    """This user's processes that have a file below a folder open for writing.

    All processes of a Ray have their logs open so. Their environments would not tell: Ray
    overwrites them by the titles that it gives to its processes.
    """
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            if (
                process.pid != os.getpid()
                and process.uids().real == os.getuid()
                and any(_writes_below(file, folder) for file in process.open_files())
            ):
                yield process


def _writes_below(file: Any, folder: Path) -> bool:
    return getattr(file, "mode", "w") != "r" and Path(file.path).is_relative_to(
        folder
    )  # Linux alone knows the mode
