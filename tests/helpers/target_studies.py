"""Studies of regressions whose truth is known, as files that a report reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from analysis.reading.load import load
from analysis.reading.table import Table

PRECISIONS = ("fp32", "int4", "int2")


@dataclass(frozen=True)
class World:
    """What moves collapse and loss; all zero: nothing does.

    `trained` is added to nrc1 by training, `rounded` to nrc2 by int2, `lost` to the loss by int2;
    `link` is what a deviation of nrc1 between seeds adds to the loss. With `vary` of 0 nrc3 is the
    same in all trainings.
    """

    trained: float = 0.0
    rounded: float = 0.0
    lost: float = 0.0
    link: float = 0.0
    seeds: int = 8
    vary: float = 1.0


def regression_study(folder: Path, world: World, seed: int = 0) -> Table:
    """Two widths and some seeds, at two checkpoints and three precisions."""
    rng = np.random.default_rng([seed, 5])
    rows = []
    for width in (16, 64):
        for number in range(world.seeds):
            own = rng.standard_normal(4)
            for epoch in (0, 8):
                for precision in PRECISIONS:
                    noise = 0.02 * rng.standard_normal(4)
                    coarse, late = precision == "int2", epoch == 8
                    rows.append(
                        {
                            "training": f"w{width}-s{number}",
                            "width": width,
                            "seed": number,
                            "epoch": epoch,
                            "precision": precision,
                            "nrc1": 0.5 + 0.05 * own[0] + noise[0] + world.trained * late,
                            "nrc2": 0.6 + 0.05 * own[1] + noise[1] + world.rounded * coarse,
                            "nrc3": 0.1 + world.vary * (0.01 * own[2] + noise[2] / 5),
                            "val_loss": 1 + 0.05 * own[3] + noise[3] + world.link * own[0]
                            + world.lost * coarse,
                            "val_r2": 0.5 - 0.05 * own[3] + noise[3] - world.lost * coarse,
                        }
                    )  # fmt: skip
    path = folder / "study.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return load(path)
