"""Studies with an intervention whose effects are known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.reading.interventions import interventions
from analysis.reading.table import Metric, Roles, Table

CAUSE, OTHER = "nc1_ratio", "nc3_cosine_mean"


@dataclass(frozen=True)
class Truth:
    """What the world of a study is like.

    A level of the intervention adds `first` to ln of `CAUSE`, which adds `effect` for each unit of
    log10 to val_loss; `direct` is what a level adds to val_loss past it, `damage` what it adds to
    the loss at int4; `confounding` what a hidden cause of `CAUSE` adds to val_loss. `spread` grows
    with the level; `tails` are Student's t with 3 degrees of freedom.
    """

    levels: tuple[float | str, ...] = (0.0, 0.1, 0.3, 1.0)
    widths: tuple[int, ...] = (8, 16, 32)
    seeds: int = 6
    first: float = 0.0
    effect: float = 0.0
    direct: float = 0.0
    damage: float = 0.0
    confounding: float = 0.0
    spread: float = 0.0
    tails: bool = False
    missing: float = 0.0


def frame(truth: Truth, seed: int) -> pl.DataFrame:
    """Rows of the study at fp32 and int4, one checkpoint each."""
    rng = np.random.default_rng(seed)
    points = list(itertools.product(truth.widths, range(truth.seeds), range(len(truth.levels))))
    width, start, level = (np.array(column) for column in zip(*points, strict=True))
    n = len(points)

    def noise() -> np.ndarray:
        own = rng.standard_t(3, n) if truth.tails else rng.standard_normal(n)
        return np.asarray(own * (1 + truth.spread * level))

    def shared(size: float) -> np.ndarray:
        return np.asarray(size * rng.standard_normal((len(truth.widths) + 9, truth.seeds)))

    cell = np.searchsorted(np.sort(truth.widths), width)
    hidden, start_x, start_y = noise(), shared(1.0), shared(0.5)
    log_x = 0.3 * cell + start_x[cell, start] + truth.first * level + hidden + 0.3 * noise()
    loss = 2 - 0.2 * cell + start_y[cell, start] + 0.2 * noise() + truth.confounding * hidden
    loss += truth.effect * log_x / np.log(10) + truth.direct * level
    rows = pl.DataFrame(
        {
            "training": [f"t{number:04}" for number in range(n)],
            "width": width,
            "seed": start,
            "penalty_nc1": [truth.levels[at] for at in level],
            "precision": "fp32",
            "val_loss": loss,
            "train_loss": 1 + 0.1 * noise(),
            "generalization_gap": 1 + 0.1 * noise(),
            CAUSE: np.exp(log_x),
            OTHER: noise(),
            "nc4_agreement": noise(),
        }
    )
    harm = 0.5 + 0.1 * noise() + truth.damage * level
    rounded = rows.with_columns(
        precision=pl.lit("int4"), val_loss=pl.col("val_loss") + pl.Series(harm)
    )
    both = pl.concat([rows, rounded])
    lacking = pl.Series(rng.random(len(both)) < truth.missing)
    return both.with_columns(pl.when(~lacking).then(pl.col(CAUSE)).alias(CAUSE))


def table(truth: Truth, seed: int, **roles: object) -> Table:
    """The study as a report reads it, with its intervention declared."""
    rows = frame(truth, seed)
    metrics = {
        CAUSE: Metric(CAUSE, "NC1", "lower", heavy_tailed=True),
        OTHER: Metric(OTHER, "NC3", "higher"),
        "nc4_agreement": Metric("nc4_agreement", "NC4", "higher"),
    }
    given: dict[str, object] = {"primary": (CAUSE, OTHER), **roles}
    known = Roles(
        response="val_loss",
        responses={"val_loss": "lower", "train_loss": "lower", "generalization_gap": "lower"},
        metrics=metrics,
        axes=("width", "penalty_nc1"),
        architecture=("width",),
        unit="training",
        seed="seed",
        precision="precision",
        **given,  # type: ignore[arg-type]
    )
    declared = interventions(rows, known, ["train.penalty.nc1"])
    return Table(rows, Roles(**{**vars(known), "interventions": declared}), "made")
