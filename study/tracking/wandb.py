"""Weights & Biases: a run a training, in a project of the name of the study.

Nothing leaves the computer, unless WANDB_MODE or WANDB_API_KEY of the environment ask for it:
runs lie in the folder and wait for `wandb sync`. A training that goes on has a run of the same id,
offline as a further part, which `wandb sync --append` joins to the first. The axis of its charts is
the value `step`, so that values may come in any order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # is read by the import

import wandb

from study.tracking.base import Point, Run, Status, Subject, Tracker


class WandB(Tracker):
    """`wandb sync FOLDER/wandb/offline-run-*` sends it."""

    def __init__(self, folder: Path, study: str) -> None:
        self.folder, self.study = folder, study
        asked = os.environ.get("WANDB_API_KEY")
        self.mode = os.environ.get("WANDB_MODE") or ("online" if asked else "offline")
        self.place = f"{self.mode} {folder.resolve()}"

    def start(self, subject: Subject, run: str | None) -> Run:
        """Open a run of the key of the training as its id."""
        opened = wandb.init(
            project=self.study,
            id=subject.key,
            name=subject.name,
            dir=str(self.folder),
            config=dict(subject.settings),
            mode=self.mode,
            resume="allow" if self.mode == "online" else None,
            reinit="create_new",
            save_code=False,
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_save_requirements=False,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
            ),
        )
        opened.define_metric("*", step_metric="step")
        return _Run(opened)


class _Run(Run):
    def __init__(self, run: wandb.Run) -> None:
        self.run, self.id = run, run.id

    def log(self, points: Sequence[Point]) -> None:
        for step, values in points:
            self.run.log({"step": step, **values})

    def finish(self, status: Status, cause: str) -> None:
        self.run.summary.update({"status": status, "cause": cause})
        self.run.finish(exit_code=0 if status == "done" else 1)
