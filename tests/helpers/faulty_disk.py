"""Launches on a disk that fails: the n-th call of a kind, once or from then on.

Run as a script, under the library that `compiled` makes, it forks a launch for each line of its
input, so that torch and Ray are imported once.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from places import HELPERS, ROOT
from ray_home import RayHome, finish

KINDS = ("none", "write", "link", "rename", "fsync", "read")
LONGEST = 240.0
"""Seconds after which a launch counts as hung."""


@dataclass(frozen=True)
class Fault:
    """Which call fails, and how; `kind` none: no call does."""

    kind: str = "none"
    at: int = 1
    forever: bool = False
    number: int = errno.ENOSPC


@dataclass(frozen=True)
class Result:
    """How a launch ended: its exit code, output, and number of calls by kind."""

    code: int
    output: str
    calls: dict[str, int]


class Control(ctypes.Structure):
    """What the library reads, as its source declares it."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("kind", "number", "at", "forever")),
        ("counts", ctypes.c_int * len(KINDS)),
    ]


def compiled(folder: Path) -> Path | None:
    """The library; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "faulty_disk.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library)]
    subprocess.run([*command, str(HELPERS / "faulty_disk.c"), "-ldl"], check=True)
    return library


class FaultyDisk:
    """A folder whose disk fails as told, for this process's children under the library."""

    def __init__(self, folder: Path, root: Path, library: Path) -> None:
        path = folder / "control"
        path.write_bytes(bytes(ctypes.sizeof(Control)))
        with path.open("r+b") as stream:
            self.control = Control.from_buffer(mmap.mmap(stream.fileno(), 0))
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTY_DISK_CONTROL": str(path),
            "FAULTY_DISK_ROOT": str(root),
        }

    def set(self, fault: Fault) -> None:
        """Fail like this from now on."""
        for name, value in asdict(fault).items():
            setattr(self.control, name, KINDS.index(value) if name == "kind" else int(value))
        self.control.counts[:] = [0] * len(KINDS)


class Launches:
    """Launches, each forked from one process that has imported what they need."""

    def __init__(self, disk: FaultyDisk, folder: Path, cluster: Mapping[str, str]) -> None:
        """`cluster`: the environment of a Ray cluster to join; empty for serial launches."""
        self.disk, self.log = disk, folder / "output"
        self.process = subprocess.Popen(
            [sys.executable, str(HELPERS / "faulty_disk.py"), "ray" if cluster else "serial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                **disk.environment,
                **cluster,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)]),
            },
        )

    def run(self, arguments: Sequence[str], fault: Fault) -> Result:
        """Launch once."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.disk.set(fault)
        line = json.dumps({"arguments": list(arguments), "log": str(self.log)})
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        calls = dict(zip(KINDS, self.disk.control.counts, strict=True))
        self.disk.set(Fault())
        return Result(code, self.log.read_text(encoding="utf-8", errors="replace"), calls)


@contextmanager
def launches(
    disk: FaultyDisk, folder: Path, cluster: Mapping[str, str] | None = None
) -> Iterator[Launches]:
    """Launches, until the block ends."""
    server = Launches(disk, folder, cluster or {})
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def started_cluster(home: RayHome, **variables: str) -> dict[str, str]:
    """Start a Ray cluster in a home, with `variables`; the environment of those who join it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mode = {"RAY_AUTH_MODE": "disabled"}
    options = ("--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false")
    start = (sys.executable, "-m", "ray.scripts.scripts", "start", *options)
    variables |= mode
    code, output = finish(home.run(*start, f"--temp-dir={home.folder}", stdin=None, **variables))
    assert code == 0, output
    return {**home.environment, **mode, "RAY_ADDRESS": f"127.0.0.1:{port}"}


def serve(kind: str) -> None:
    """Fork a launch for each line of the input; answer with its exit code."""
    from study.launch import main
    from study.scheduling import backlog, ray_environment
    from study.scheduling.processes import NEEDED
    from study.store import leases

    backlog.BACK_OFF = backlog.POLL = 0.05
    needed = [*NEEDED, "study.launching.study_launch", "study.precision.ao", "pandas"]
    if kind == "ray":
        os.environ.update(ray_environment.SETTINGS)
        vars(ray_environment)["agree"] = lambda address: None  # the cluster is ours, and it is up
        needed.append("study.scheduling.ray_tune")
    else:
        leases.STALE, leases.BEAT = 1.0, 0.1
    for name in needed:
        __import__(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            handle = os.open(request["log"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            for number in (1, 2):
                os.dup2(handle, number)
            code = 70
            try:
                code = main(request["arguments"])
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(_wait(child), flush=True)


def _wait(child: int) -> int:
    """The exit code of a child, 124 where it hangs."""
    deadline = time.monotonic() + LONGEST
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 124
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(done[1])


if __name__ == "__main__":
    serve(sys.argv[1])
