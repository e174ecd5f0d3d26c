"""Where a training writes step by step, and how that comes to its run.

On a file system that is the folder of the training itself. On object storage it is a folder of this
computer: logs and states are made there and published as whole objects, a state before its
record. A training that is killed leaves in the run what it has published last.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.store.lease import process_start, this_machine
from study.store.paths import TrainingPaths
from study.store.places import fetch, is_object, remove

PREFIX = "collapse-training-"
_OWNER = re.compile(rf"{PREFIX}(\d+)-(\d+)-.*")


class Workspace:
    """The folder in which a training writes, on this computer."""

    def __init__(self, home: Path, folder: Path) -> None:
        """`home`: the folder of the training in its run, which may be `folder` itself."""
        self.home, self.folder = home, folder
        self._published: dict[str, tuple[int, int]] = {}

    @property
    def apart(self) -> bool:
        """Whether what is written has to be published."""
        return self.folder != self.home

    def fetch(self) -> None:
        """Bring the logs and states of earlier attempts here."""
        if not self.apart:
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        fetch(TrainingPaths(self.home).resumed(), self.home, self.folder)
        self._published = self._files()

    def publish(self) -> None:
        """Bring what has changed since to the run, and delete there what was deleted here.

        Only what this workspace has fetched or published is deleted. Raises OSError.
        """
        if not self.apart:
            return
        before, now = self._published, self._files()
        records = {name for name in now if Path(name).suffix == ".json"}
        for name in sorted(now, key=lambda name: (name in records, name)):
            if before.get(name) != now[name]:
                self._upload(name)
        remove(self.home / name for name in before.keys() - now.keys())
        self._published = now

    def publish_end(self) -> None:
        """Bring the logs of a process to the run that has ended without a word."""
        paths = TrainingPaths(self.folder)
        for path in (paths.console_log, paths.hang_log) if self.apart else ():
            if path.exists() and path.stat().st_size:
                self._upload(path.name)

    def _upload(self, name: str) -> None:
        home = self.home / name
        assert is_object(home)
        home.upload(self.folder / name)

    def _files(self) -> dict[str, tuple[int, int]]:
        """Size and time of the files that belong to the run, by name."""
        stats = {path.name: path.stat() for path in TrainingPaths(self.folder).resumed()}
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


@contextmanager
def folder_for(home: Path) -> Iterator[Path]:
    """A folder for the workspace of a training, which ends with the block.

    What killed processes left of such folders is deleted first.
    """
    if not is_object(home):
        yield home
        return
    _sweep()
    prefix = f"{PREFIX}{os.getpid()}-{_started(os.getpid())}-{_machine()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _sweep() -> None:
    """Delete the folders of this user's processes of this computer that have ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-{_machine()}-*"):
        owner = _OWNER.fullmatch(folder.name)
        try:
            own = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
        except FileNotFoundError:
            continue
        if own and owner is not None and str(_started(int(owner[1]))) != owner[2]:
            shutil.rmtree(folder, ignore_errors=True)


def _started(pid: int) -> int | None:
    start = process_start(pid)
    return None if start is None else int(start)


def _machine() -> str:
    """A short name of this computer, for names of folders."""
    return hashlib.sha256(this_machine().encode()).hexdigest()[:12]
