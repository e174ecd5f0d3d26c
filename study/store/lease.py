"""What a lease says: who works on a training, where, and how far it is."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_UNREADABLE = "unreadable-"
HELD: set[str] = set()
"""Owners of the leases that this process holds now."""


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

    @property
    def unreadable(self) -> bool:
        """Whether its content was damaged."""
        return self.owner.startswith(_UNREADABLE)

    def content(self) -> bytes:
        """What is written down."""
        return json.dumps(asdict(self)).encode()

    def dead(self) -> bool:
        """Whether its process ran on this machine and is gone.

        One of this process counts as gone that it does not hold: storage that was away has kept it.
        """
        if self.machine != this_machine():
            return False
        if process_start(self.pid) != self.process_started:
            return True
        return self.pid == os.getpid() and self.owner not in HELD


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


def lease_of(training: str, content: bytes, name: str) -> Lease:
    """The lease that a content says, of a file or an object of a name.

    A damaged one belongs to nobody known and stands still, so it is taken over, or repaired by its
    owner.
    """
    try:
        return Lease(**json.loads(content))
    except (ValueError, TypeError):
        digest = hashlib.sha256(name.encode() + b"\n" + content).hexdigest()
        owner = f"{_UNREADABLE}{digest}"
        return Lease(training, owner, "", "?", "", "", 0, 0.0, 0.0)
