"""A study that runs in seconds, and what tests of sweeps compare of its run."""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from rich.console import Console

from study.launch import main
from study.store import VOLATILE, Store

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "kind": "text",
        "source": "python-docs",
        "tokenizer": "char",
        "context": 32,
        "train_tokens": 3000,
        "val_tokens": 1000,
    },
    "model": {"kind": "gpt_neo", "heads": 2},
    "train": {"lr": 1e-3, "batch_size": 16},
    "measure": {"agreement_samples": 500, "min_count": 5},
    "grid": {
        "width": [16],
        "depth": [1],
        "epochs": [1, 2],
        "precision": ["fp32", "int8"],
        "seed": [0],
    },
}


def tiny(**changes: Any) -> dict[str, Any]:
    """The tiny study with other sections; those that are mappings are merged."""
    study = copy.deepcopy(TINY)
    for key, value in changes.items():
        study[key] = {**study[key], **value} if isinstance(study.get(key), dict) else value
    return study


def write_study(folder: Path, study: dict[str, Any]) -> Path:
    """The YAML file of a study."""
    path = folder / f"{study['name']}.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def launch(folder: Path, study: dict[str, Any], *options: str) -> int:
    """Launch a study in this process; the exit code.

    Without Ray unless `options` say otherwise.
    """
    path = write_study(folder, study)
    return main([str(path), "--runs", str(folder / "runs"), "--serial", *options])


def rows(run: str | Path) -> pl.DataFrame:
    """All rows of a run, ready to be compared.

    Without the volatile columns and the name of the study.
    """
    frame = Store(run).read()
    return frame.drop([c for c in (*VOLATILE, "study") if c in frame.columns]).select(
        sorted(set(frame.columns) - set(VOLATILE) - {"study"})
    )


def starts(run: Path) -> dict[str, int]:
    """How many times each training of a run was begun, by the headers of its log."""
    return {
        path.parent.name: sum(
            line.startswith("--- ") and " launch " in line for line in path.open()
        )
        for path in (run / "trainings").glob("*/console.log")
    }


def training_steps(run: Path) -> dict[str, int]:
    """Optimizer steps in the loss log of each training."""
    return {
        path.parent.name: len(path.read_text().splitlines())
        for path in (run / "trainings").glob("*/loss_log.jsonl")
    }


def failures(run: Path) -> dict[str, dict[str, Any]]:
    """Failure records by cell."""
    return {path.stem: json.loads(path.read_text()) for path in (run / "failures").glob("*.json")}


def silent() -> Console:
    """A console that prints nowhere."""
    return Console(file=StringIO())
