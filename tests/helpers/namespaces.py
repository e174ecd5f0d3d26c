"""Computers of their own for tests: network namespaces on one bridge."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

BRIDGE = "10.77.0.254"
"""The address at which they reach this computer, which has the bridge."""


@dataclass(frozen=True)
class Computer:
    """A namespace and its address."""

    name: str
    address: str

    def command(self, *words: str) -> list[str]:
        """A command as it runs there."""
        return ["ip", "netns", "exec", self.name, *words]

    def kill_all(self) -> None:
        """Kill everything that runs there, as a loss of power does."""
        listed = ["ip", "netns", "pids", self.name]
        for pid in subprocess.run(
            listed, check=True, capture_output=True, text=True
        ).stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@contextmanager
def computers(count: int) -> Iterator[list[Computer] | None]:
    """So many computers that reach each other; None where there is no right to make them."""
    tag = f"cs{os.getpid() % 10_000}"
    bridge, made = f"{tag}br", [Computer(f"{tag}n{n}", f"10.77.0.{n}") for n in range(1, count + 1)]
    try:
        yield made if _make(bridge, made) else None
    finally:
        for computer in made:
            _ip("netns", "del", computer.name)
        _ip("link", "del", bridge)


def _make(bridge: str, made: list[Computer]) -> bool:
    if shutil.which("ip") is None or os.getuid() != 0:
        return False
    steps = [
        f"link add {bridge} type bridge",
        f"addr add {BRIDGE}/24 dev {bridge}",
        f"link set {bridge} up",
    ]
    for computer in made:
        name, cable = computer.name, f"v{computer.name}"
        steps += [
            f"netns add {name}",
            f"link add {cable} type veth peer name eth0 netns {name}",
            f"link set {cable} master {bridge} up",
            f"-n {name} addr add {computer.address}/24 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} link set lo up",
        ]
    return all(_ip(*step.split()) for step in steps)


def _ip(*words: str) -> bool:
    """Whether a command of `ip` succeeds."""
    return subprocess.run(["ip", *words], check=False, capture_output=True).returncode == 0
