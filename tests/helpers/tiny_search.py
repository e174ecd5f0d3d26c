"""A search whose trials train in a moment, and one whose trials do not train."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import optuna
import yaml

from study.scheduling.work import Ended
from study.search.backlog import Trials
from study.search.config import Search, reference_cell, search_from
from study.search.searcher import Searcher
from study.store import RunPaths
from study.tune import main

SEARCH: dict[str, Any] = {
    "name": "hunt",
    "data": {"kind": "free", "classes": 3, "quota": 6},
    "model": {"kind": "ufm", "width": 4},
    "train": {
        "optimizer": "sgd",
        "lr": 0.05,
        "batch_size": 1000,
        "weight_decay": 5e-3,
        "epochs": 4,
    },
    "measure": {"at": "log", "min_count": 1},
    "grid": {"precision": ["fp32"], "seed": [0]},
    "keep": "none",
    "search": {
        "objective": {"nc1_ratio": "minimize"},
        "trials": 6,
        "space": {
            "train.lr": {"log": [0.05, 5]},
            "train.schedule": {"constant": {}, "cosine": {"warmup": {"float": [0, 0.5]}}},
        },
    },
}


def hunt(**changes: Any) -> dict[str, Any]:
    """The tiny search's file with other settings below `search`."""
    content = copy.deepcopy(SEARCH)
    content["search"] |= changes
    return content


def search_of(content: dict[str, Any]) -> Search:
    """A search from the content of its file."""
    return search_from(copy.deepcopy(content), folder=Path(), source="test")


def write_search(folder: Path, content: dict[str, Any]) -> Path:
    """The YAML file of a search."""
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def tune(folder: Path, content: dict[str, Any], *options: str) -> int:
    """Run a search in this process, without Ray unless asked otherwise; its exit code."""
    return main(
        [str(write_search(folder, content)), "--runs", str(folder / "runs"), "--serial", *options]
    )


def journal(run: Path) -> optuna.Study:
    """The Optuna study of a run."""
    backend = optuna.storages.journal.JournalFileBackend(str(RunPaths(run).journal))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))


def states(run: Path) -> list[str]:
    """The state of each trial of a run."""
    return [trial.state.name for trial in journal(run).trials]


def bowl(lr: float, kind: str, warmup: float) -> float:
    """An analytic objective with its least value, 0.1, at lr 1, cosine, warm-up 0.2."""
    return 0.1 + math.log(lr) ** 2 + (0.5 if kind == "constant" else (warmup - 0.2) ** 2)


def searcher_of(search: Search, run: Path) -> Searcher:
    """A searcher over a run's journal."""
    return Searcher(
        RunPaths(run).journal,
        search.config,
        constraints=search.constraints,
        definition=search.definition(),
    )


def trials_of(search: Search, run: Path) -> Trials:
    """The backlog of a search that says nothing."""
    return Trials(search, searcher_of(search, run), run, "launch", say=lambda text: None)


def answer(trials: Trials, limit: int = 10_000) -> int:
    """Do the backlog's work by the analytic objective in place of training.

    At most `limit` times; how often it was done.
    """
    done = 0
    while done < limit and (task := trials.next()) is not None:
        cell = reference_cell(task.training)
        train = cell.config.train
        value = bowl(train.lr, train.schedule.kind, train.schedule.warmup)
        row = {
            "cell": cell.key,
            "epoch": 4,
            "layer": None,
            "nc1_ratio": value,
            "train_accuracy": 1 / (1 + train.lr),
        }
        trials.store.write(cell.key, [row])
        trials.ended(task.training.key, Ended("done"))
        done += 1
    return done
