"""Whether a Ray cluster answers, and whether it asks for a token.

Both are found out before Ray is asked to join it.

Ray itself retries a dead address for minutes, in which it hears no Ctrl-C. A client whose
RAY_AUTH_MODE is not that of the cluster is refused, or its workers die as soon as they start.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import psutil

CONNECT, ANSWER, LONGEST = 4.0, 8.0, 120.0
"""Seconds for a connection, for an answer of Ray's command once it only waits, and in all."""
LOOK, WORKS = 0.1, 0.1
"""Seconds between two looks, and of a processor that tell work from waiting."""
MODE, TOKENS = "RAY_AUTH_MODE", ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
OURS = ("disabled", "token")
"""Modes between which an answer decides; a cluster may have others, which the user sets."""


class ClusterError(RuntimeError):
    """The Ray cluster cannot be joined."""


def bring_home() -> None:
    """Lend a user without a name or a home what Ray reads from there.

    It lasts while this process lives.
    """
    try:
        Path.home()
    except RuntimeError:
        home = tempfile.mkdtemp(prefix="study-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        os.environ["HOME"] = home


def bring_token() -> None:
    """Give a Ray of our own its token where the home folder cannot keep one."""
    if any(name in os.environ for name in (MODE, *TOKENS)):
        return
    folder = Path.home() / ".ray"
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not (folder / "auth_token").exists() and not os.access(nearest, os.W_OK):
        os.environ[TOKENS[0]] = secrets.token_hex(32)


def agree(address: str) -> None:
    """Set RAY_AUTH_MODE to what a cluster asks for.

    Raises ClusterError where nobody answers in time, or the cluster refuses our token.
    """
    if "://" in address:
        return  # Ray's client, which has ways of its own
    if address != "auto":
        _connect(address)
    answers = _ask(address)
    if mode := next((mode for mode, answer in answers.items() if answer == ""), None):
        os.environ[MODE] = mode
        return
    last = list(answers.values())[-1]
    if last is None:
        raise ClusterError(f"what answers at {address} is no Ray cluster, or it hangs")
    if "token" in last.lower():
        raise ClusterError(
            f"the cluster at {address} asks for its token: copy ~/.ray/auth_token of its head node "
            "to the same place here, or set RAY_AUTH_TOKEN to what is in it"
        )
    raise ClusterError(f"cannot join the Ray cluster at {address}: {last}")


def _connect(address: str) -> None:
    """Raises ClusterError where nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
    except ValueError:
        raise ClusterError(f"{address} is no address: HOST:PORT, or auto") from None
    except OSError as error:
        raise ClusterError(
            f"nobody answers at {address} ({error.strerror or error}): is the cluster up?"
        ) from None


def _ask(address: str) -> dict[str, str | None]:
    """What a cluster says by mode.

    '' where it takes us, None where it says nothing in time.
    """
    own = os.environ.get(MODE, OURS[0])
    modes = OURS if own in OURS else (own,)
    where = [] if address == "auto" else ["--address", address]
    asking = {
        mode: subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "health-check", *where],
            env={**os.environ, MODE: mode, **({} if where else {"RAY_ADDRESS": ""})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        for mode in modes
    }
    try:
        _wait(asking.values())
        return {mode: _answer(process) for mode, process in asking.items()}
    finally:
        for process in asking.values():
            process.kill()
            process.communicate()


def _answer(process: subprocess.Popen[str]) -> str | None:
    """What Ray's command said in the end; None where it has not ended."""
    if process.poll() is None:
        return None
    assert process.stderr is not None
    lines = process.stderr.read().strip().splitlines() or ["it ended without a word"]
    return lines[-1] if process.returncode else ""


def _wait(asking: Collection[subprocess.Popen[str]]) -> None:
    """Wait until all have ended, or those that have not do nothing any more.

    On a busy computer the start of Ray's command alone takes longer than an answer may.
    """
    end = time.monotonic() + LONGEST
    used, moved = 0.0, time.monotonic()
    while running := [process for process in asking if process.poll() is None]:
        now, work = time.monotonic(), sum(map(_processor_time, running))
        if abs(work - used) > WORKS:
            used, moved = work, now
        if now > end or now - moved > ANSWER:
            return
        time.sleep(LOOK)


def _processor_time(process: subprocess.Popen[str]) -> float:
    """Seconds of processors that it has used; 0 once it has ended."""
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
