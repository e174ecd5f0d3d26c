"""The process beside a launch that serves one tracker.

    python -m study.tracking NAME RUN FOLDER STUDY LAUNCH

Trainings to follow come on standard input, a line of JSON each; its end asks for what is left, and
ends the process. Answers go to standard output: `.` after each piece that was logged, `!TEXT` for
what people should know. All that libraries print goes to `FOLDER/log.txt`.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from study.store.leases import Leases
from study.tracking.mirror import Mirror, Training
from study.tracking.registry import tracker_class

PAUSE, REST, LONGEST = 2.0, 10.0, 60.0
"""Seconds between two looks; at least so many times what a look took; at most so many."""
TURN = 30.0
"""Seconds that the tracker of an earlier launch has for its end."""
NICE = 5
"""Trainings come first; with less than that a busy computer would hold up the end of a launch."""


def main() -> int:
    """Follow a run until the launch ends; the exit code: 0, faults are told."""
    name, run_dir, folder, study, launch = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    log = (Path(folder) / "log.txt").open("a", encoding="utf-8", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    with suppress(OSError):  # a container may forbid it
        os.nice(NICE)

    def say(text: str) -> None:
        with suppress(OSError):  # the launch was killed: what it knew of is logged all the same
            answers.write(text + "\n")

    with ExitStack() as stack:
        if _is_writer(Leases(Path(folder)), launch, stack):
            _follow(lambda: _open(name, Path(run_dir), Path(folder), study), say)
        else:
            say("!another launch of this run logs to it; launch again once that has ended")
    return 0


def _is_writer(leases: Leases, launch: str, stack: ExitStack) -> bool:
    """Whether this process alone logs, while the stack is open.

    The tracker of a launch that was killed just now still logs what that knew of.
    """
    end = time.monotonic() + TURN
    while stack.enter_context(leases.hold("writer", launch)) is None:
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE / 4)
    return True


def _open(name: str, run_dir: Path, folder: Path, study: str) -> Mirror:
    return Mirror(run_dir, folder, tracker_class(name)(folder, study))


def _follow(opened: Callable[[], Mirror], say: Callable[[str], None]) -> None:
    """Look again and again; a tracker that fails is tried again, and warned of once."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    trainings: dict[str, Training] = {}
    mirror, last, pause, failures = None, False, 0.0, 0
    while True:
        last = _take(lines, trainings, pause) or last
        began = time.monotonic()
        try:
            mirror = mirror or opened()
            mirror.trainings = trainings
            mirror.look(last=last, beat=lambda: say("."))
            failures = 0
        except Exception as error:
            traceback.print_exc()
            failures += 1
            if failures == 1:
                say(f"!{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        if last:
            return
        pause = min(max(PAUSE * 2**failures, REST * (time.monotonic() - began)), LONGEST)


def _listen(lines: queue.SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)


def _take(
    lines: queue.SimpleQueue[str | None], trainings: dict[str, Training], seconds: float
) -> bool:
    """Take new trainings for some seconds.

    True, and at once, where the launch has ended.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return False
        if line is None:
            return True
        training = Training.from_json(line)
        trainings[training.subject.key] = training


if __name__ == "__main__":
    sys.exit(main())
