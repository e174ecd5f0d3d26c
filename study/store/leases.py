"""Who works on a training: leases, as files in the run directory.

They need no locks of the file system, which on shared disks are not to be trusted. A lease is
created exclusively and renewed by its owner's heartbeat. It is taken over when its
process is known to be dead, or its heartbeat has stood still for `STALE` seconds *on the observer's
clock*, so that the clocks of several machines need not agree. Should two owners ever hold one
lease, the store still keeps one set of rows: leases save work, the store keeps results right.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from study.store.atomic import create, give_name, write_atomically
from study.store.paths import LeasePaths

BEAT = 2.0
STALE = 120.0
"""Longer than an NFS client caches a folder, which is 60 s unless mounted otherwise."""


@dataclass
class Lease:
    """A training that somebody works on.

    training         key of the training
    owner            chance name of whoever holds the lease
    launch           name of the launch that works on it
    host             name of its computer
    machine          tells computers apart, and containers, whose process numbers are their own
    node             Ray's name of the computer
    pid              number of its process
    process_started  when that process began, as its computer counts
    started          when the lease was taken (seconds since 1970)
    waiting          number of the process of Ray that waits for this one
    beats            rises while the process lives
    memory           bytes that it occupied at the last beat
    progressed       when it last reported progress (seconds since 1970)
    progress         what it last reported
    """

    training: str
    owner: str
    launch: str
    host: str
    machine: str
    node: str
    pid: int
    process_started: float
    started: float
    waiting: int | None = None
    beats: int = 0
    memory: int = 0
    progressed: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)

    def dead(self) -> bool:
        """Whether its process ran on this machine and is gone."""
        return self.machine == this_machine() and process_start(self.pid) != self.process_started


@cache
def this_machine() -> str:
    """A name of this machine, until it starts anew.

    It is the same for all processes that see each other's process numbers.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return f"{socket.gethostname()} {uuid.getnode()}"


def process_start(pid: int) -> float | None:
    """When a process of this machine began; None where it has ended.

    A process counts as ended even if its parent has not taken note of that yet.
    """
    if not Path("/proc/self/stat").exists():  # no Linux
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
        except psutil.NoSuchProcess:
            return None
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = content.rpartition(")")[2].split()
    ticks = float(fields[18])  # since boot, which no change of the clock moves
    return None if state in "ZX" else ticks


class LeaseLost(RuntimeError):
    """Another process took the lease over: this one's heartbeat must have stood still."""


class Leases:
    """The leases of a run."""

    def __init__(self, folder: Path) -> None:
        self.paths = LeasePaths(folder)
        self._seen: dict[str, tuple[str, int, float]] = {}

    def get(self, training: str) -> Lease | None:
        """The lease of a training, None where nobody works on it."""
        return _read(self.paths.lease(training), training)

    def all(self) -> Iterator[Lease]:
        """Every lease, stale ones too."""
        for path in self.paths.leases():
            if (lease := self.get(path.stem)) is not None:
                yield lease

    def stale_owner(self, training: str) -> str | None:
        """Owner of the lease that lies there, to be named to `hold` once `busy` says no."""
        lease = self.get(training)
        return None if lease is None else lease.owner

    def busy(self, training: str) -> bool:
        """Whether somebody alive works on a training.

        That a heartbeat stands still shows only over time: call it again and again.
        """
        lease = self.get(training)
        if lease is None or lease.dead():
            return False
        owner, beats, since = self._seen.get(training, ("", -1, 0.0))
        if (owner, beats) != (lease.owner, lease.beats):
            self._seen[training] = (lease.owner, lease.beats, time.monotonic())
            return True
        return time.monotonic() - since < STALE

    def _clear(self, training: str, owner: str) -> None:
        """Remove the lease of an owner who is gone; of several observers one succeeds."""
        aside = self.paths.aside(training, secrets.token_hex(8))
        try:
            self.paths.lease(training).rename(aside)
        except FileNotFoundError:
            return
        taken = _read(aside, training)
        if taken is not None and taken.owner != owner:
            # Somebody else has taken it over in between: give it back.
            with suppress(FileExistsError):  # its owner has renewed it already
                give_name(aside, self.paths.lease(training))
        aside.unlink(missing_ok=True)

    @contextmanager
    def hold(
        self,
        training: str,
        launch: str,
        *,
        node: str = "",
        waiting: int | None = None,
        stale: str | None = None,
    ) -> Iterator[Holding | None]:
        """Hold the lease of a training, renewing it in the background.

        Gives None if somebody else works on it. `stale` names an owner whom the caller knows to be
        gone.
        """
        current = self.get(training)
        if current is not None:
            if current.owner != stale and not current.dead():
                yield None
                return
            self._clear(training, current.owner)
        pid = os.getpid()
        lease = Lease(
            training=training,
            owner=secrets.token_hex(8),
            launch=launch,
            host=socket.gethostname(),
            machine=this_machine(),
            node=node,
            pid=pid,
            process_started=process_start(pid) or 0.0,
            started=time.time(),
            waiting=waiting,
            progressed=time.time(),
        )
        try:
            create(self.paths.lease(training), _content(lease))
        except FileExistsError:
            yield None
            return
        holding = Holding(lease, self.paths.lease(training))
        try:
            yield holding
        finally:
            holding.release()


class Holding:
    """A lease that this process holds."""

    def __init__(self, lease: Lease, path: Path) -> None:
        self.lease = lease
        self._path = path
        self._lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)
        self._thread.start()

    def report(self, **progress: Any) -> None:
        """Publish progress with the next heartbeat.

        Raises LeaseLost if another process has taken the lease over.
        """
        if self._lost:
            raise LeaseLost(
                f"the lease of training {self.lease.training} was taken over by another process"
            )
        self.lease.progress = progress
        self.lease.progressed = time.time()

    def _renew(self) -> None:
        while not self._done.wait(BEAT):
            try:
                current = _read(self._path, self.lease.training)
                if (
                    current is not None
                    and current.owner != self.lease.owner
                    and not _unreadable(current)
                ):
                    self._lost = True
                    return
                self.lease.beats += 1
                self.lease.memory = psutil.Process().memory_info().rss
                write_atomically(self._path, _content(self.lease))
            except OSError:
                # A full disk or a network hiccup: the next beat tries again, and observers wait
                # for STALE seconds.
                continue

    def release(self) -> None:
        """Stop the heartbeat and free the lease."""
        self._done.set()
        self._thread.join()
        current = _read(self._path, self.lease.training)
        if current is not None and current.owner == self.lease.owner:
            self._path.unlink(missing_ok=True)


def _read(path: Path, training: str) -> Lease | None:
    """A lease; None where there is none.

    A damaged one belongs to nobody known and stands still, so it is taken over, or repaired by its
    owner.
    """
    while True:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ESTALE:  # replaced on its server while it was read
                continue
            raise
        try:
            return Lease(**json.loads(content))
        except (ValueError, TypeError):
            owner = f"{_UNREADABLE}{hashlib.sha256(content).hexdigest()}"
            return Lease(training, owner, "", "?", "", "", 0, 0.0, 0.0)


_UNREADABLE = "unreadable:"


def _unreadable(lease: Lease) -> bool:
    return lease.owner.startswith(_UNREADABLE)


def _content(lease: Lease) -> bytes:
    return json.dumps(asdict(lease)).encode()
