"""Who works on a training: leases in the run directory.

A lease is taken exclusively, as `study.store.slots` says, and renewed by its owner's heartbeat. It
is taken over when its process is known to be dead, or its heartbeat has stood still for `STALE`
seconds *on the observer's clock*, so that the clocks of several machines need not agree. Should two
owners ever hold one lease, the store still keeps one set of rows: leases save work, the store keeps
results right.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from study.store.lease import HELD, Lease, process_start, this_machine
from study.store.paths import LeasePaths
from study.store.slots import Slot, held, slot_of

__all__ = ["Holding", "Lease", "LeaseLost", "Leases", "process_start", "this_machine"]

BEAT = 2.0
STALE = 120.0
"""Longer than an NFS client caches a folder, which is 60 s unless mounted otherwise."""
BLIND = 30.0
"""Seconds of a look after which nothing is known of the time before it."""


class LeaseLost(RuntimeError):
    """Another process took the lease over: this one's heartbeat must have stood still."""


class Leases:
    """The leases of a run."""

    def __init__(self, folder: Path) -> None:
        self.paths = LeasePaths(folder)
        self._seen: dict[str, tuple[str, int, float]] = {}

    def get(self, training: str) -> Lease | None:
        """The lease of a training, None where nobody works on it."""
        return slot_of(self.paths, training).read()

    def all(self) -> Iterator[Lease]:
        """Every lease, stale ones too."""
        for training in held(self.paths):
            if (lease := self.get(training)) is not None:
                yield lease

    def stale_owner(self, training: str) -> str | None:
        """Owner of the lease that lies there, to be named to `hold` once `busy` says no."""
        lease = self.get(training)
        return None if lease is None else lease.owner

    def busy(self, training: str) -> bool:
        """Whether somebody alive works on a training.

        That a heartbeat stands still shows only over time: call it again and again.
        """
        began = time.monotonic()
        lease = self.get(training)
        if time.monotonic() - began > BLIND:
            self._seen.clear()  # storage that did not answer has shown no heartbeat either
        if lease is None or lease.dead():
            return False
        owner, beats, since = self._seen.get(training, ("", -1, 0.0))
        if (owner, beats) != (lease.owner, lease.beats):
            self._seen[training] = (lease.owner, lease.beats, time.monotonic())
            return True
        return time.monotonic() - since < STALE

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
        slot = slot_of(self.paths, training)
        current = slot.read()
        if current is not None and current.owner != stale and not current.dead():
            yield None
            return
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
        HELD.add(lease.owner)
        try:
            if not slot.take(lease, current):
                yield None
                return
            holding = Holding(lease, slot)
            try:
                yield holding
            finally:
                holding.release()
        finally:
            HELD.discard(lease.owner)


class Holding:
    """A lease that this process holds."""

    def __init__(self, lease: Lease, slot: Slot) -> None:
        self.lease = lease
        self._slot = slot
        self._lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)
        self._thread.start()

    def report(self, **progress: Any) -> None:
        """Publish progress with the next heartbeat.

        Raises LeaseLost if another process has taken the lease over.
        """
        self.check()
        self.lease.progress = progress
        self.lease.progressed = time.time()

    def check(self) -> None:
        """Raise LeaseLost if another process has taken the lease over."""
        if self._lost:
            raise LeaseLost(
                f"the lease of training {self.lease.training} was taken over by another process"
            )

    def _renew(self) -> None:
        while not self._done.wait(BEAT):
            try:
                self.lease.beats += 1
                self.lease.memory = psutil.Process().memory_info().rss
                if not self._slot.renew(self.lease):
                    self._lost = True
                    return
            except OSError:
                # A full disk or a network hiccup: the next beat tries again, and observers wait
                # for STALE seconds.
                continue

    def release(self) -> None:
        """Stop the heartbeat and free the lease."""
        self._done.set()
        self._thread.join()
        if not self._lost:
            self._slot.free(self.lease)
