"""Trackio: a run a training, in a project of the name of the study.

It lies in the folder, unless TRACKIO_DIR, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL of the environment
name another place. A training that goes on has the same run. Trackio writes in the background, and
its own trouble it tells only in its log.
"""

from __future__ import annotations

import contextvars
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.tracking.base import Point, Run, Status, Subject, Tracker


class Trackio(Tracker):
    """`TRACKIO_DIR=FOLDER trackio show` shows it."""

    def __init__(self, folder: Path, study: str) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder.resolve()))
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        elsewhere = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_DIR")
        self.place = next(os.environ[name] for name in elsewhere if os.environ.get(name))
        self.project = re.sub(r"[^\w-]+", "-", study)

    def start(self, subject: Subject, run: str | None) -> Run:
        """Open the run of the name of the training."""
        import trackio  # reads the environment

        # In a context of its own, or the next one would end this run.
        opened = contextvars.copy_context().run(
            trackio.init,
            self.project,
            name=run or subject.name,
            config=dict(subject.settings),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        return _Run(opened)


class _Run(Run):
    def __init__(self, run: Any) -> None:
        self.run, self.id = run, run.name

    def log(self, points: Sequence[Point]) -> None:
        for step, values in points:
            self.run.log(values, step=step)

    def finish(self, status: Status, cause: str) -> None:
        self.run.finish()
