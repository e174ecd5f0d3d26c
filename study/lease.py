"""Leases: who works on a training. Files in the run directory, for file systems whose locks are not to be trusted.

A lease is created exclusively (hard link), renewed by its owner's heartbeat, and taken over when its process is known to
be dead or its heartbeat has stood still for `STALE` seconds *on the observer's clock*, so that clocks of several machines
need not agree. Should two owners ever hold one lease, the store still keeps one set of rows: leases save work, the store
is what keeps results right.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from study.atomic import create, write_atomically

BEAT = 2.0
STALE = 60.0


@dataclass
class Lease:
    """A training that somebody works on. `beats` rises while its process lives; `progress` is what it last reported."""

    training: str
    owner: str
    launch: str
    host: str
    pid: int
    process_started: float
    started: float
    beats: int = 0
    progressed: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)

    def dead(self) -> bool:
        """Whether its process ran on this machine and is gone."""
        if self.host != socket.gethostname():
            return False
        try:
            return abs(psutil.Process(self.pid).create_time() - self.process_started) > 1
        except psutil.NoSuchProcess:
            return True


class LeaseLost(RuntimeError):
    """Another process took the lease over: this one's heartbeat must have stood still."""


class Leases:
    """The leases of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, tuple[str, int, float]] = {}

    def _path(self, training: str) -> Path:
        return self.folder / f"{training}.json"

    def get(self, training: str) -> Lease | None:
        """The lease of a training, None where nobody works on it."""
        try:
            return Lease(**json.loads(self._path(training).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def all(self) -> Iterator[Lease]:
        """Every lease, stale ones too."""
        for path in sorted(self.folder.glob("[!.]*.json")):
            if (lease := self.get(path.stem)) is not None:
                yield lease

    def stale_owner(self, training: str) -> str | None:
        """Owner of the lease that lies there, to be named to `hold` once `busy` says no."""
        lease = self.get(training)
        return None if lease is None else lease.owner

    def busy(self, training: str) -> bool:
        """Whether somebody alive works on a training. Call it again and again: standing still shows only over time."""
        lease = self.get(training)
        if lease is None or lease.dead():
            return False
        owner, beats, since = self._seen.get(training, ("", -1, 0.0))
        if (owner, beats) != (lease.owner, lease.beats):
            self._seen[training] = (lease.owner, lease.beats, time.monotonic())
            return True
        return time.monotonic() - since < STALE

    def _clear(self, training: str) -> None:
        """Remove a lease that is not busy; of several observers one succeeds."""
        stale = self.get(training)
        if stale is None:
            return
        aside = self.folder / f".{training}.{secrets.token_hex(8)}.stale"
        try:
            self._path(training).rename(aside)
        except FileNotFoundError:
            return
        taken = Lease(**json.loads(aside.read_text(encoding="utf-8")))
        if taken.owner != stale.owner:  # somebody else had taken it over in between: give it back
            with suppress(FileExistsError):  # its owner has renewed it already
                os.link(aside, self._path(training))
        aside.unlink()

    @contextmanager
    def hold(self, training: str, launch: str, *, stale: str | None = None) -> Iterator[Holding | None]:
        """Hold the lease of a training, renewing it in the background; gives None if somebody else works on it.

        `stale` names an owner whose heartbeat the caller has seen standing still.
        """
        current = self.get(training)
        if current is not None and current.owner != stale and not current.dead():
            yield None
            return
        self._clear(training)
        process = psutil.Process()
        lease = Lease(
            training=training,
            owner=secrets.token_hex(8),
            launch=launch,
            host=socket.gethostname(),
            pid=process.pid,
            process_started=process.create_time(),
            started=time.time(),
            progressed=time.time(),
        )
        try:
            create(self._path(training), _content(lease))
        except FileExistsError:
            yield None
            return
        holding = Holding(lease, self._path(training))
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
        """Publish progress with the next heartbeat. Raises LeaseLost if another process has taken the lease over."""
        if self._lost:
            raise LeaseLost(f"the lease of training {self.lease.training} was taken over by another process")
        self.lease.progress = progress
        self.lease.progressed = time.time()

    def _renew(self) -> None:
        while not self._done.wait(BEAT):
            try:
                current = json.loads(self._path.read_text(encoding="utf-8"))["owner"]
            except FileNotFoundError:
                current = None
            if current not in (None, self.lease.owner):
                self._lost = True
                return
            self.lease.beats += 1
            try:
                write_atomically(self._path, _content(self.lease))
            except OSError:
                continue  # a full disk or a network hiccup: the next beat tries again, observers wait for STALE seconds

    def release(self) -> None:
        """Stop the heartbeat and free the lease."""
        self._done.set()
        self._thread.join()
        if not self._lost:
            self._path.unlink(missing_ok=True)


def _content(lease: Lease) -> bytes:
    return json.dumps(asdict(lease)).encode()
