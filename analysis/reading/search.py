"""A search as Optuna's journal tells it: its trials, the best of them, what mattered, and its confirmation."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from analysis.reading.table import AnalysisError
from study.store import RunPaths

SCHEDULE = "train.schedule"
TOP = 5  # trials that importances call the top, at least, as their authors advise; a parameter needs twice as many


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
    """Cells of the winner and of the untuned default, one for each of the same fresh seeds."""

    trial: int
    seeds: tuple[int, ...]
    tuned: tuple[str, ...]
    default: tuple[str, ...]


@dataclass(frozen=True)
class SearchRecord:
    """A search. `trials`: one row per trial; `best`: trials on the front, or the best one; none where all break a
    constraint.
    """

    paths: RunPaths
    objectives: tuple[Objective, ...]
    constraints: tuple[str, ...]
    trials: pl.DataFrame
    best: tuple[int, ...]
    confirmation: Confirmation | None
    study: optuna.Study


def read_search(run: Path) -> SearchRecord | None:
    """The search of a run directory; None where it holds none. Raises AnalysisError for a journal that cannot be read."""
    paths = RunPaths(run)
    if not paths.journal.exists():
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.load_study(
            study_name=None, storage=JournalStorage(JournalFileBackend(str(paths.journal)))
        )
        definition = study.user_attrs["definition"]
    except (ValueError, KeyError) as error:
        raise AnalysisError(
            f"{paths.journal}: holds no search that can be read ({error})"
        ) from None
    found = study.user_attrs.get("confirmation")
    return SearchRecord(
        paths=paths,
        objectives=tuple(
            Objective(column, direction == "minimize")
            for column, direction in definition["search.objective"].items()
        ),
        constraints=tuple(definition["search.constraints"]),
        trials=_trials(study, list(definition["search.objective"])),
        best=tuple(_best(study)),
        confirmation=None
        if found is None
        else Confirmation(
            found["trial"], tuple(found["seeds"]), tuple(found["tuned"]), tuple(found["default"])
        ),
        study=study,
    )


def holds(trial: FrozenTrial) -> bool:
    """Whether a trial satisfies every constraint."""
    return all(violation <= 0 for violation in trial.constraints.values())


def _best(study: optuna.Study) -> list[int]:
    if len(study.directions) > 1:
        numbers: dict[
            str, int
        ] = {}  # of trials that one training answered the first stands for all
        for trial in sorted(study.best_trials, key=lambda trial: trial.number):
            numbers.setdefault(str(trial.user_attrs.get("cell", trial.number)), trial.number)
        return list(numbers.values())
    try:
        return [study.best_trial.number]
    except ValueError:  # none is complete, or none holds the constraints
        return []


def _trials(study: optuna.Study, columns: list[str]) -> pl.DataFrame:
    """trial, state, objectives, holds (null where there is no value), family, settings as text, cell, training, note."""
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
            parts.append(f"{value['kind']} ({own})" if own else str(value["kind"]))
        else:
            parts.append(f"{path.removeprefix('train.')} {_shown(value)}")
    return ", ".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_shown(part) for part in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def importances(search: SearchRecord, objective: int) -> pl.DataFrame | None:
    """parameter, importance (shares of 1, largest first; null where too few trials had it), trials that had it.

    PED-ANOVA: how differently the top trials and all choose a parameter, among trials that hold the constraints. Rank-based:
    a logarithm of the objective changes nothing. None where no parameter was in as many trials as it needs.
    """
    usable = [
        t
        for t in search.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if holds(t)
    ]
    counts = Counter(name for trial in usable for name in trial.params)
    enough = [name for name, count in counts.items() if count >= 2 * TOP]
    if not enough:
        return None
    sign = 1.0 if search.objectives[objective].lower else -1.0

    def target(trial: FrozenTrial) -> float:
        return (
            sign * trial.values[objective] if holds(trial) else float("inf")
        )  # what is not finite is left out

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that low targets are good, which is so here
        evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, TOP / len(usable)))
        found = get_param_importances(
            search.study, evaluator=evaluator, params=enough, target=target
        )
    return pl.DataFrame(
        [(name, found.get(name), count) for name, count in counts.items()],
        schema={"parameter": pl.String, "importance": pl.Float64, "n": pl.Int64},
        orient="row",
    ).sort("importance", "n", descending=True, nulls_last=True)


def learning_rates(search: SearchRecord, training: str) -> pl.DataFrame | None:
    """epoch, lr: the rate of each optimizer step of a training; None where its loss log is gone."""
    try:
        text = (search.paths.training(training) / "loss_log.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return pl.DataFrame(
        {"epoch": [row["epoch"] for row in rows], "lr": [row["lr"] for row in rows]}, strict=False
    )
