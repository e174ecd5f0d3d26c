"""What a search leaves: the settings of its best trials, and their confirmation.

The settings are files that a grid may extend; the confirmation is of cells on fresh seeds.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial

from study.grid import Cell, trainings
from study.search.config import Search, reference_cell
from study.search.space import Assignment
from study.store import RunPaths
from study.store.atomic import write_atomically


@dataclass(frozen=True)
class Confirmation:
    """The winner and the study as it is, each on the same fresh seeds.

    `tuned` and `default` are cells at the reference precision, by seed.
    """

    trial: int
    seeds: tuple[int, ...]
    tuned: tuple[Cell, ...]
    default: tuple[Cell, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Cells of both arms; those of a winner that is the default come once."""
        return tuple({cell.key: cell for cell in (*self.tuned, *self.default)}.values())

    def record(self) -> dict[str, Any]:
        """What a report needs to know."""
        arms = {
            "tuned": [cell.key for cell in self.tuned],
            "default": [cell.key for cell in self.default],
        }
        return {"trial": self.trial, "seeds": list(self.seeds), **arms}


def fresh_seeds(search: Search) -> list[int]:
    """The seeds that follow the one that a search tunes on.

    Those of a search that this one extends are left out.
    """
    following = itertools.count(search.default.first.config.seed + 1)
    used = tuning_seeds(search)
    return list(
        itertools.islice((seed for seed in following if seed not in used), search.config.confirm)
    )


def tuning_seeds(search: Search) -> set[int]:
    """Seeds on which settings of this study were chosen.

    Those of this search, and of the searches whose best it extends.
    """
    earlier = search.study.tuned.seeds if search.study.tuned is not None else []
    return {cell.config.seed for cell in search.default.cells} | set(earlier)


def confirmation(search: Search, winner: FrozenTrial, seeds: list[int]) -> Confirmation:
    """The comparison of a search's winner with its default."""
    tuned, default = (
        tuple(reference_cell(training) for training in trainings(search.cells(values, seeds=seeds)))
        for values in (_settings(winner), {})
    )
    return Confirmation(winner.number, tuple(seeds), tuned, default)


def _settings(trial: FrozenTrial) -> Assignment:
    settings: Assignment = trial.user_attrs["settings"]
    return settings


def write_best(search: Search, trials: list[FrozenTrial], paths: RunPaths) -> list[Path]:
    """Write the settings of each best trial as a file that a grid may extend.

    Files of earlier launches go.
    """
    for path in paths.all_best():
        path.unlink(missing_ok=True)
    written = []
    for trial in trials:
        path = paths.best(None if len(search.columns) == 1 else trial.number)
        write_atomically(path, _text(search, trial).encode())
        written.append(path)
    return written


def _text(search: Search, trial: FrozenTrial) -> str:
    point = next(search.study_with(_settings(trial)).points())
    settings = {
        name: value for name, value in point.settings.items() if name not in ("precision", "seed")
    }
    content = {
        "name": f"{search.study.name}_best",
        **settings,
        "resources": point.resources,
        "keep": point.keep,
        "tuned": {
            "search": search.source,
            "trial": trial.number,
            "seeds": sorted(tuning_seeds(search)),
        },
    }
    values = ", ".join(
        f"{name} {value:.6g}" for name, value in zip(search.columns, trial.values, strict=True)
    )
    head = (
        f"# Found by {search.source}: trial {trial.number}, {values}.\n"
        "# Extend it: `extends: this-file.yaml`, a `name`, and `grid: {seed: [...]}` "
        "with seeds that are not in `tuned`.\n"
        "# Relative paths of data start from the file that extends it; "
        f"here they started from {search.study.folder}.\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False)
