"""Ray Tune as scheduler: one trial per training. The only module that imports Ray.

Tune decides where and when a training runs, and starts it again when its worker or node is lost. What is done is read from
the store alone, so Tune's own state is thrown away.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.grid import Cell, Training
from study.worker import Work

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_V2_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class SweepError(RuntimeError):
    """Ray ended the sweep before its trials were through; the store has what they finished."""


def describe(task: Work) -> str:
    """A task as one opaque text, which is all that Tune sees of it."""
    return json.dumps(
        {
            "key": task.training.key,
            "cells": [cell.to_json() for cell in task.training.cells],
            "run_dir": str(task.run_dir.resolve()),
            "launch": task.launch,
            "git_sha": task.git_sha,
            "stale": task.stale,
        }
    )


def read_description(text: str) -> Work:
    """The task that `describe` wrote."""
    value = json.loads(text)
    cells = tuple(Cell.from_json(cell) for cell in value["cells"])
    return Work(
        Training(value["key"], cells), Path(value["run_dir"]), value["launch"], value["git_sha"], value["stale"]
    )


def _trainable(config: dict[str, Any]) -> dict[str, Any]:
    from study.worker import work

    return {"outcome": work(read_description(config["task"])), "done": True}


def connect(address: str | None) -> None:
    """Join a Ray cluster (`address`, or the one RAY_ADDRESS names), or start Ray on this computer."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if not ray.is_initialized():
        local: dict[str, Any] = {} if address or "RAY_ADDRESS" in os.environ else {"num_cpus": os.cpu_count()}
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            **local,
        )


def disconnect() -> None:
    """Leave the cluster, or stop the Ray that `connect` started."""
    import ray

    ray.shutdown()


def capacity() -> dict[str, float]:
    """CPUs and GPUs of the cluster."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return {"cpus": resources.get("CPU", 0.0), "gpus": resources.get("GPU", 0.0)}


def run_trials(tasks: Sequence[Work], *, parallel: int | None = None) -> None:
    """Run tasks as Tune trials; returns when all have ended, however they ended. Raises SweepError if Ray gave up."""
    from ray import tune
    from ray.tune.search.basic_variant import BasicVariantGenerator

    resources = {describe(task): task.training.first.resources for task in tasks}

    def placement(config: dict[str, Any]) -> Any:
        wanted = resources[config["task"]]
        bundle = {"CPU": float(wanted.cpus)}
        if wanted.gpus:
            bundle["GPU"] = wanted.gpus
        if wanted.memory_gib:
            bundle["memory"] = wanted.memory_gib * 2**30
        return tune.PlacementGroupFactory([bundle])

    generator = BasicVariantGenerator(
        points_to_evaluate=[{"task": text} for text in resources], max_concurrent=parallel or 0
    )
    with tempfile.TemporaryDirectory(prefix="collapse-study-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(_trainable, placement),
            param_space={"task": None},
            tune_config=tune.TuneConfig(search_alg=generator, num_samples=len(tasks), reuse_actors=False),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=max(t.training.first.resources.retries for t in tasks)),
            ),
        )
        try:
            tuner.fit()
        except (RuntimeError, tune.TuneError) as error:
            raise SweepError(str(error)) from error
