"""Launches in processes of their own, with a Ray of their own, and their end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from places import HELPERS, ROOT
from tiny_study import write_study


class RayHome:
    """A folder for Ray's sessions and the processes that were started in it.

    Its path must be short.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.environment = {
            **os.environ,
            "RAY_TMPDIR": str(self.folder),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",  # on a busy machine nice workers take minutes to start
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)]),
        }
        self.environment.pop("RAY_ADDRESS", None)
        self.started: list[subprocess.Popen[str]] = []

    def run(
        self, *command: str, stdin: int | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        """Start a command in a process group of its own; `finish` gives its output."""
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=self.environment | variables,
            cwd=self.folder,
        )
        self.started.append(process)
        return process

    def launch(
        self, folder: Path, study: dict[str, Any], *options: str, **variables: str
    ) -> subprocess.Popen[str]:
        """Start `python -m study.launch` of a study in a folder."""
        path = write_study(folder, study)
        command = (
            sys.executable,
            "-m",
            "study.launch",
            str(path),
            "--runs",
            str(folder / "runs"),
            *options,
        )
        return self.run(*command, stdin=None, **variables)

    def processes(self) -> Iterator[psutil.Process]:
        """Everything that runs in this home.

        It has the folder in its environment, or one of its files open: titles overwrite
        environments.
        """
        here = f"RAY_TMPDIR={self.folder}".encode()
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                proc = Path("/proc") / str(process.pid)
                links = [proc / "cwd", *(proc / "fd").iterdir()]
                at_home = any(str(link.readlink()).startswith(f"{self.folder}/") for link in links)
                if process.pid != os.getpid() and (
                    at_home or here in (proc / "environ").read_bytes()
                ):
                    yield process

    def workers(self) -> list[psutil.Process]:
        """Processes of Tune's trials: Ray's workers, their nurseries and the trainings."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if any(
                    name in " ".join(process.cmdline())
                    for name in ("ImplicitFunc", "study.scheduling.processes")
                ):
                    found.append(process)
        return found

    def remains(self) -> list[str]:
        """What still runs in this home, and the files that lie there."""
        running = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                running.append(" ".join(process.cmdline()))
        return running + [str(path) for path in self.folder.iterdir()]

    def close(self) -> None:
        """End all that still runs."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        for started in self.started:
            with suppress(ProcessLookupError):
                started.kill()
            started.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def ray_home() -> Iterator[RayHome]:
    """A home that is closed in the end."""
    home = RayHome()
    try:
        yield home
    finally:
        home.close()


class Nodes:
    """A cluster of two nodes in a process of its own.

    It cannot import the project: its code must come with a launch.
    """

    def __init__(self, home: RayHome, folder: Path) -> None:
        broken = folder / "study"
        broken.mkdir()
        (broken / "__init__.py").write_text("raise ImportError('not the code that was launched')")
        script = str(HELPERS / "cluster.py")
        self.process = home.run(
            sys.executable, script, stdin=subprocess.PIPE, PYTHONPATH=str(folder)
        )
        self.address = self._wait("address ").removeprefix("address ")

    def _wait(self, start: str) -> str:
        """The next line that begins so; Ray prints others."""
        assert self.process.stdout is not None
        return next(line.strip() for line in self.process.stdout if line.startswith(start))

    def do(self, command: str) -> None:
        """Kill the second node, or add it again."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        self._wait(command)


def finish(process: subprocess.Popen[str], seconds: float = 240.0) -> tuple[int, str]:
    """Exit code and output of a process that ends by itself."""
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true value of a condition."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value
