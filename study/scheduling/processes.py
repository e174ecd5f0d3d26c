"""A process of its own for each training, made by a fork of one that has torch.

    Ray's worker ── work ──► nursery, which has imported what trainings need ── fork ──► training
                 ◄─ ended ─                                                  ◄─ exit ──

A fork takes less time than the import of torch. A training that dies takes nobody along. A worker
that dies takes its training along: its nursery sees the end of its input.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

from study.scheduling.work import Ended, Work, work
from study.store.workspace import Workspace, folder_for

NEEDED = ("torch._dynamo", "study.measuring.checkpoint")
"""Imported before a fork. `torch._dynamo` is what any optimizer of torch imports."""
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
PR_SET_PDEATHSIG = 1
PAUSE = 0.02
LONGEST = 5_000
"""Characters of a message; its answer fits into the buffer of a pipe."""


class Nursery:
    """The side of the worker.

    Starts the other side when it is first needed, and again if it has ended.
    """

    def __init__(self, module: str = __name__) -> None:
        """`module`: what the other side runs."""
        self.module = module
        self._process: subprocess.Popen[str] | None = None

    def run(self, task: Work) -> Ended:
        """Work in a process of its own; `lost` if that ends without a word.

        What that has written, and has to be published, is published then.
        """
        with folder_for(task.home) as folder:
            ended = self._run(replace(task, folder=folder))
            if ended.outcome == "lost":
                with suppress(OSError):
                    Workspace(task.home, folder).publish_end()
            return ended

    def _run(self, task: Work) -> Ended:
        if self._process is None or self._process.poll() is not None:
            self._process = _start(self.module)
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(task.to_json() + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return Ended(**json.loads(answer))
        self._process.kill()
        return Ended(
            "lost",
            message=f"the process that trainings are forked from {_how(self._process.wait())}",
        )


def _start(module: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", module]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def serve() -> None:
    """Run the work that comes on standard input, a line each, one after another.

    The end of the input ends all.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries may print
    if may_fork_late():
        for name in NEEDED:
            import_module(name)
    while line := sys.stdin.readline():
        answers.write(json.dumps(asdict(_forked(line))) + "\n")
        answers.flush()


def may_fork_late() -> bool:
    """Whether a process that has imported torch may be forked.

    Not where the import may have touched an accelerator.
    """
    return sys.platform == "linux" and not any(Path(device).exists() for device in ACCELERATORS)


def _forked(line: str) -> Ended:
    """Run one piece of work in a child."""
    with _pipe() as (reading, writing):
        child = os.fork()
        if child == 0:
            _be_the_training(line, writing)
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if select.select([sys.stdin], [], [], PAUSE)[0]:  # nothing comes meanwhile but the end
                os.kill(child, signal.SIGKILL)
                os._exit(1)
        code = os.waitstatus_to_exitcode(done[1])
        if code == 0:
            return Ended(**json.loads(os.read(reading, 1 << 16)))
        return Ended("lost", message=f"the process of the training {_how(code)}")


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _be_the_training(line: str, writing: int) -> None:
    """Work, answer and end this process."""
    code = 1
    try:
        if sys.platform == "linux":
            # This ends with the nursery; elsewhere it ends once its lease is taken over.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            ended = work(Work.from_json(line), own_process=True)
        except Exception as error:  # `work` raises none: the two sides do not run the same code
            ended = Ended("failed", "bug", "".join(traceback.format_exception(error)))
        answer = asdict(ended) | {"message": ended.message[:LONGEST]}
        os.write(writing, json.dumps(answer).encode())
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
