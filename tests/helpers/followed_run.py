"""The folder of a run with one training, written by hand, and what trackers must show of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from study.store import Store
from study.tracking.base import Subject
from study.tracking.mirror import Training

TRAINING = "a" * 32
CELLS = {"fp32": "b" * 32, "int4": "c" * 32}
EVERY, EPOCHS = 5, 2
"""Optimizer steps of an epoch, and epochs."""
Curves = dict[str, dict[int, float]]
"""Values by name and step."""

SUBJECT = Subject(TRAINING, "a name", {"width": 16, "lr": 0.01, "source": "digits"})
FOLLOWED = Training(SUBJECT, {key: precision for precision, key in CELLS.items()})


def losses() -> list[dict[str, float]]:
    """Rows of the log; no value is a float32."""
    return [
        {"step": step, "epoch": step / EVERY, "lr": 0.1 / step, "loss": 2.3 / (step + 0.7)}
        for step in range(1, EVERY * EPOCHS + 1)
    ]


def rows(precision: str) -> list[dict[str, Any]]:
    """Rows of a cell: of the untrained model and of each epoch, one column undefined at first."""
    offset = len(precision) / 7
    return [
        {
            "cell": CELLS[precision],
            "training": TRAINING,
            "precision": precision,
            "width": 16,
            "epoch": epoch,
            "step": epoch * EVERY,
            "layer": None,
            "attack": None,
            "val_loss": 2.3 / (1 + epoch + offset),
            "nc1_ratio": None if epoch == 0 else offset / epoch,
            "classes_measured": 10,
        }
        for epoch in range(EPOCHS + 1)
    ]


def write_run(run: Path) -> Path:
    """Write the run, finished."""
    store = Store(run)
    log = store.paths.loss_log(TRAINING)
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps(row) + "\n" for row in losses()))
    for precision, key in CELLS.items():
        store.write(key, rows(precision), types={"layer": str, "attack": str})
    return run


def expected() -> Curves:
    """All that a tracker must show of the run."""
    curves: Curves = {}
    for row in losses():
        for name in ("epoch", "lr", "loss"):
            curves.setdefault(f"train/{name}", {})[int(row["step"])] = row[name]
    for precision in CELLS:
        for row in rows(precision):
            for name in ("val_loss", "nc1_ratio", "classes_measured"):
                if row[name] is not None:
                    curve = curves.setdefault(f"{precision}/{name}", {})
                    curve[int(row["step"])] = float(row[name])
    return curves


def rounded(curves: Curves) -> Curves:
    """The same as float32, of which TensorBoard's loader shows no others."""
    return {
        name: {step: float(np.float32(value)) for step, value in points.items()}
        for name, points in curves.items()
    }


def events(folder: Path) -> Curves:
    """Scalars of a folder of TensorBoard, by its own reader; no step may be there twice."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.types_pb2 import DT_FLOAT
    from tensorboard.util.tensor_util import make_ndarray

    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    curves: Curves = {}
    for tag in accumulator.Tags()["tensors"]:
        if "/" in tag and not tag.startswith("_hparams_"):
            points = accumulator.Tensors(tag)
            assert {point.tensor_proto.dtype for point in points} == {DT_FLOAT}
            curves[tag] = {point.step: make_ndarray(point.tensor_proto).item() for point in points}
            assert len(curves[tag]) == len(points)
    return curves
