"""What a tracker is: it takes settings, curves and the end of each training.

`study.tracking.registry` lists those that there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["done", "failed", "diverged", "stopped"]
Setting = str | int | float | bool
Point = tuple[int, dict[str, float]]
"""An optimizer step, and values by name, such as `train/loss` or `int4/nc1_ratio`."""


@dataclass(frozen=True)
class Subject:
    """A training as a tracker sees it.

    key       of the training
    name      for people: it tells the trainings of a study apart
    settings  those that its cells share, by column name; none is null
    """

    key: str
    name: str
    settings: Mapping[str, Setting]


class Run(ABC):
    """A training in a tracker; `id` is what the tracker knows it by."""

    id: str

    @abstractmethod
    def log(self, points: Sequence[Point]) -> None:
        """Take values, which are there to stay once this returns."""

    @abstractmethod
    def finish(self, status: Status, cause: str) -> None:
        """Take note of the end; `cause` is '' where the training is done."""


class Tracker(ABC):
    """One tracker for all trainings of a launch. Any method may raise anything."""

    place: str
    """Where it logs to; a run of another place is not gone on with."""

    @abstractmethod
    def __init__(self, folder: Path, study: str) -> None:
        """Log the trainings of a study into a folder.

        Or elsewhere, if the environment of the user says so.
        """

    @abstractmethod
    def start(self, subject: Subject, run: str | None) -> Run:
        """Begin the run of a training, or go on with the one of that id."""
