"""Studies without any association: metrics and loss follow the axes, each by itself."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.reading.table import PRIMARY, Metric, Roles

WIDTHS, DEPTHS, EPOCHS, SEEDS = (32, 64, 128, 256), (1, 2), (1, 3, 10, 30), 4
KINDS = ("log epochs", "inverse", "interaction")
ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower", "generalization_gap": "lower"},
    metrics={name: Metric(name) for name in PRIMARY},
    axes=("width", "depth", "epochs"),
    architecture=("width", "depth"),
    unit="training",
    seed="seed",
)


def lost_study() -> pl.DataFrame:
    """8 cells of 4 seeds: nc4_agreement follows progress alone, nc1_ratio the whole loss.

    Given train_loss the partial r of nc1_ratio is still large, but too uncertain to be found.
    """
    rng = np.random.default_rng(0)
    progress, beyond = rng.standard_normal((2, 128))
    rows = null_study("inverse", 0).with_columns(
        val_loss=pl.Series(progress + beyond),
        train_loss=pl.Series(progress),
        nc1_ratio=pl.Series(progress + beyond + 1.2 * rng.standard_normal(128)),
        nc4_agreement=pl.Series(progress + 0.3 * rng.standard_normal(128)),
    )
    return rows.head(32)


def null_study(kind: str, number: int, *, seeds: int = SEEDS) -> pl.DataFrame:
    """32 cells of some seeds: one function of the axes stands behind every column, or its negative.

    Beside it every column has noise of its own, a fifth of that in size.
    """
    rng = np.random.default_rng(number)
    points = list(itertools.product(WIDTHS, DEPTHS, EPOCHS, range(seeds)))
    width, depth, epochs, seed = np.array(points, dtype=float).T
    log_width, log_epochs = np.log(width), np.log(epochs)
    shape = {
        "log epochs": -log_epochs,
        "inverse": 1.0 / (width * epochs),
        "interaction": -(log_width - log_width.mean()) * (log_epochs - log_epochs.mean()),
    }[kind]
    shape = (shape - shape.mean()) / shape.std()

    def column() -> NDArray[np.float64]:
        return np.asarray(shape + 0.2 * rng.standard_normal(len(points)))

    loss, train_loss = column(), column()
    return pl.DataFrame(
        {
            "training": [f"t{row:03}" for row in range(len(points))],
            "width": width.astype(int),
            "depth": depth.astype(int),
            "epochs": epochs.astype(int),
            "epoch": epochs.astype(int),
            "seed": seed.astype(int),
            "val_loss": loss,
            "train_loss": train_loss,
            "generalization_gap": loss - train_loss,
            **{name: column() * rng.choice([-1.0, 1.0]) for name in PRIMARY},
        }
    )
