"""A search as Optuna's journal has it: trials, the best of them, confirmation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from optuna.trial import FrozenTrial, TrialState

from analysis.reading.search_record import Confirmation, Objective, SearchRecord
from analysis.reading.table import AnalysisError
from study.search.journal import best_trials, definition, read_journal
from study.store import RunPaths

SCHEDULE = "train.schedule"


def read_search(run: Path, training_of: Mapping[str, str]) -> SearchRecord:
    """The search of a run directory that has a journal.

    `training_of` names the training of a cell.

    Raises AnalysisError for a journal that cannot be read.
    """
    paths = RunPaths(run)
    try:
        study = read_journal(paths.journal)
        begun = definition(study, paths.journal)
    except ValueError as error:
        raise AnalysisError(str(error)) from None
    objectives = tuple(
        Objective(column, direction == "minimize")
        for column, direction in begun["search.objective"].items()
    )
    trials = _trials(study, [each.column for each in objectives])
    confirmation = _confirmation(study)
    exemplars = _exemplars(trials, objectives[0], confirmation)
    rates = {
        name: learning_rates(paths, training_of[cell])
        for name, cell in exemplars.items()
        if cell in training_of
    }
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return SearchRecord(
        paths=paths,
        objectives=objectives,
        constraints=tuple(begun["search.constraints"]),
        trials=trials,
        best=tuple(trial.number for trial in best_trials(study)),
        confirmation=confirmation,
        sound=tuple(trial for trial in complete if holds(trial)),
        exemplars=exemplars,
        rates={name: frame for name, frame in rates.items() if frame is not None},
    )


def _confirmation(study: optuna.Study) -> Confirmation | None:
    entry = study.user_attrs.get("confirmation")
    if entry is None:
        return None
    return Confirmation(
        entry["trial"], tuple(entry["seeds"]), tuple(entry["tuned"]), tuple(entry["default"])
    )


def _exemplars(
    trials: pl.DataFrame, objective: Objective, confirmation: Confirmation | None
) -> dict[str, str]:
    """Cells by name: best and worst sound trial, and the default's first seed."""
    sound = trials.filter((pl.col("state") == "complete") & pl.col("holds").fill_null(False))
    if sound.is_empty():
        return {}
    ordered = sound.sort(objective.column, descending=not objective.lower)
    cells = {f"best: trial {ordered['trial'][0]}": str(ordered["cell"][0])}
    if len(ordered) > 1:
        cells[f"worst: trial {ordered['trial'][-1]}"] = str(ordered["cell"][-1])
    if confirmation is not None:
        cells[f"untuned default, seed {confirmation.seeds[0]}"] = confirmation.default[0]
    return cells


def holds(trial: FrozenTrial) -> bool:
    """Whether a trial satisfies every constraint."""
    return all(violation <= 0 for violation in trial.constraints.values())


def _trials(study: optuna.Study, columns: list[str]) -> pl.DataFrame:
    """One row per trial.

    Columns: trial, state, objectives, holds (null where there is no value), family, settings as
    text, cell, training, note.
    """
    rows = []
    for trial in study.get_trials(deepcopy=False):
        complete = trial.state == TrialState.COMPLETE
        values = trial.values if complete else [None] * len(columns)
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower().replace("fail", "failed"),
                **dict(zip(columns, values, strict=True)),
                "holds": holds(trial) if complete else None,
                "family": trial.params.get(SCHEDULE, ""),
                "settings": describe(trial.user_attrs.get("settings", trial.params)),
                "cell": trial.user_attrs.get("cell", ""),
                "training": trial.user_attrs.get("training", ""),
                "note": _note(trial),
            }
        )
    kinds: dict[str, Any] = {
        "trial": pl.Int64,
        "state": pl.String,
        **dict.fromkeys(columns, pl.Float64),
    }
    texts = dict.fromkeys(("family", "settings", "cell", "training", "note"), pl.String)
    return pl.DataFrame(rows, schema={**kinds, "holds": pl.Boolean, **texts})


def _note(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return str(trial.user_attrs.get("reason", "its launch ended; asked again"))
    if trial.state == TrialState.PRUNED:
        return f"ended early, after epoch {trial.last_step}"
    broken = [name for name, violation in trial.constraints.items() if violation > 0]
    text = f"breaks {', '.join(broken)}" if broken else ""
    return ", ".join(
        filter(
            None,
            [
                text,
                f"again trial {trial.user_attrs['again']}" if "again" in trial.user_attrs else "",
            ],
        )
    )


def describe(settings: dict[str, Any]) -> str:
    """Settings in a line: `lr 0.31, cosine (warmup 0.12, floor 0.03)`."""
    parts = []
    for path, value in settings.items():
        if path == SCHEDULE and isinstance(value, dict):
            own = ", ".join(
                f"{name} {_shown(part)}" for name, part in value.items() if name != "kind"
            )
            kind = str(value.get("kind", ""))
            parts.append(f"{kind} ({own})" if own else kind)
        else:
            parts.append(f"{path.removeprefix('train.')} {_shown(value)}")
    return ", ".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_shown(part) for part in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def learning_rates(paths: RunPaths, training: str) -> pl.DataFrame | None:
    """Rate (epoch, lr) of each step of a training; None where its loss log is gone."""
    try:
        text = paths.loss_log(training).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return pl.DataFrame(
        {"epoch": [row["epoch"] for row in rows], "lr": [row["lr"] for row in rows]}, strict=False
    )
