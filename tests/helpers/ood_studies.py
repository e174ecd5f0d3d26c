"""Studies whose detection of other data, and what goes with it, are known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.reading.naming import SCORES
from analysis.reading.table import Metric, Roles, Table

SETS = ("photos", "noise")


@dataclass(frozen=True)
class World:
    """What the world is like.

    Longer training lowers nc1_ratio and raises every AUROC, in all worlds. Among the seeds of a
    design cell two causes move nc1_ratio: one alone, which adds `link` to the logit of NECO's
    AUROC, and one that moves train_loss as well, which adds `fit` to it. `rounded` is what int4
    adds to the logit of NECO.
    """

    link: float = 0.0
    fit: float = 0.0
    rounded: float = 0.0
    widths: tuple[int, ...] = (8, 16)
    epochs: tuple[int, ...] = (3, 30)
    seeds: int = 12


def detected(world: World, seed: int = 0) -> Table:
    """A study of widths, epochs and seeds at fp32 and int4, with six scores on two sets."""
    rng = np.random.default_rng([seed, 24])
    points = list(itertools.product(world.widths, world.epochs, range(world.seeds)))
    width, epochs, start = (np.array(column) for column in zip(*points, strict=True))
    n, late = len(points), np.log(epochs)

    def noise(size: float = 1.0) -> np.ndarray:
        return np.asarray(size * rng.standard_normal(n))

    got, own = noise(), noise()
    rows = {
        "training": [f"t{number:04}" for number in range(n)],
        "width": width,
        "epochs": epochs,
        "seed": start,
        "val_loss": 2 - 0.2 * late + noise(0.1),
        "train_loss": 1 - 0.3 * late + 0.2 * got,
        "nc1_ratio": 5 - late + 0.2 * own + 0.2 * got,
        "nc3_cosine_mean": noise(),
        "nc4_agreement": noise(),
    }
    frames = []
    for precision, lost in (("fp32", 0.0), ("int4", world.rounded)):
        values = dict(rows)
        for score in SCORES:
            logit = 1 + 0.3 * late + noise(0.3)
            if score == "neco":
                logit = logit + world.link * own + world.fit * got + lost
            for name, sign in (("ood_auroc", 1.0), ("ood_fpr95", -1.0)):
                parts = [1 / (1 + np.exp(-sign * logit + at)) for at in (0.0, -0.5)]
                values[f"{name}_{score}"] = np.mean(parts, axis=0)
                values |= {f"{name}_{score}_{s}": part for s, part in zip(SETS, parts, strict=True)}
        frames.append(pl.DataFrame(values).with_columns(precision=pl.lit(precision)))
    names = {"nc1_ratio": "lower", "nc3_cosine_mean": "higher", "nc4_agreement": "higher"}
    roles = Roles(
        response="val_loss",
        responses={"val_loss": "lower"},
        metrics={
            name: Metric(name, name[:3].upper(), direction)  # type: ignore[arg-type]
            for name, direction in names.items()
        },
        axes=("width", "epochs"),
        architecture=("width",),
        unit="training",
        seed="seed",
        precision="precision",
        primary=("nc1_ratio", "nc3_cosine_mean"),
    )
    return Table(pl.concat(frames), roles, "made")
