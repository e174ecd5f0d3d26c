"""A search as it stood when it was read: its files are not looked up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from study.store import RunPaths

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Objective:
    """A column that the search made small or large."""

    column: str
    lower: bool

    def sorted(self, values: pl.Series) -> pl.Series:
        """Values with the best first."""
        return values.sort(descending=not self.lower)


@dataclass(frozen=True)
class Confirmation:
    """Cells of the winner and of the untuned default, one for each fresh seed."""

    trial: int
    seeds: tuple[int, ...]
    tuned: tuple[str, ...]
    default: tuple[str, ...]


@dataclass(frozen=True)
class SearchRecord:
    """A search.

    `paths` is for the reader, who is told where files lie; `trials` has one row per trial;
    `best` are trials on the front, or the best one, and none where all break a constraint;
    `sound` are the complete trials that hold the constraints; `exemplars` are cells by what they
    show (the best, the worst, the untuned default) and `rates` the learning rate of every
    optimizer step (epoch, lr) of those whose loss log is there.
    """

    paths: RunPaths
    objectives: tuple[Objective, ...]
    constraints: tuple[str, ...]
    trials: pl.DataFrame
    best: tuple[int, ...]
    confirmation: Confirmation | None
    sound: tuple[FrozenTrial, ...] = ()
    exemplars: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, pl.DataFrame] = field(default_factory=dict)
