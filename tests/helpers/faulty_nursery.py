"""A nursery whose trainings fail on purpose.

`FAULTS` maps a seed to a fault, which comes once per marker in `MARKERS` where it says so.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import study.training.train
from study.data import DataError
from study.scheduling import processes
from study.scheduling.work import Ended, Work, work


def faulty(task: Work, **options: Any) -> Ended:
    """Break what the fault of this training's seed says, then work."""
    seed = task.training.first.config.seed
    name, _, once = json.loads(os.environ["FAULTS"]).get(str(seed), "none").partition(" ")
    marker = Path(os.environ["MARKERS"]) / str(seed)
    if once == "once":
        if marker.exists():
            name = "none"
        marker.touch()

    if name == "first-node":  # whatever comes to the computer that was first asked
        with suppress(FileExistsError), (marker.parent / "node").open("x") as file:
            file.write(task.node)
        name = "raise" if (marker.parent / "node").read_text() == task.node else "none"

    def act(*arguments: Any, **settings: Any) -> None:
        if name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "kill-worker":
            assert task.waiting is not None
            os.kill(task.waiting, signal.SIGKILL)
            time.sleep(60)
        if name == "crash":
            ctypes.string_at(0)
        if name == "hang":
            while True:
                time.sleep(1)
        if name == "eat":
            hoard = [b"x" * 2**20 for _ in range(int(os.environ["APPETITE_MIB"]))]
            time.sleep(60)
            del hoard
        if name == "raise":
            raise KeyError("injected")
        if name == "data":
            raise DataError("the corpus is gone")

    if name == "none":
        return work(task, **options)
    with patch.object(study.training.train, "build_model", act):
        return work(task, **options)


if __name__ == "__main__":
    with patch.object(processes, "work", faulty):
        processes.serve()
