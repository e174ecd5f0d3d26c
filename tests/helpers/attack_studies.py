"""Studies with attacks whose outcomes are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from intervention_studies import CAUSE, Truth, table

from analysis.reading.table import Table

TWO = Truth(levels=(0.0, 1.0))


@dataclass(frozen=True)
class Attacks:
    """What the world is like: clean accuracy around .9, robust accuracy around .5.

    Both have noise of .01. `link` is what a unit of log10 of `CAUSE`, of which less is more
    collapse, adds to the robust accuracy, `leap` what it adds to the share of leaps that arrive;
    `rounded` is what int4 adds to robust and clean accuracy alike, `fragile` what it adds to the
    robust one alone, `penalty` what a level of the penalty adds to that.
    """

    link: float = 0.0
    leap: float = 0.0
    rounded: float = 0.0
    fragile: float = 0.0
    penalty: float = 0.0


def attacked(world: Attacks, seed: int = 0, truth: Truth = TWO) -> Table:
    """A study of widths, a penalty and seeds at fp32 and int4, with columns of attacks."""
    study = table(truth, seed)
    rows, rng = study.frame, np.random.default_rng([seed, 3])
    level = rows["penalty_nc1"].cast(pl.Float64).to_numpy()
    at_int4 = (rows["precision"] == "int4").to_numpy().astype(float)
    log_x = np.log10(rows[CAUSE].to_numpy())

    def noise() -> np.ndarray:
        return np.asarray(0.01 * rng.standard_normal(len(rows)))

    shared = world.rounded * at_int4
    clean = 0.9 + shared + noise()
    robust = 0.5 + shared + world.fragile * at_int4 + world.penalty * level
    robust += world.link * log_x + noise()
    arrival = 0.7 + world.leap * log_x + noise()
    frame = rows.with_columns(
        attack=pl.lit("pgd-linf-0.1"),
        val_accuracy=pl.Series(clean),
        robust_accuracy=pl.Series(robust),
        robust_loss=pl.Series(2 + noise()),
        attack_gap=pl.Series(clean - robust),
        leap_arrival=pl.Series(arrival),
        leap_progress=pl.Series(0.4 + noise()),
        leap_distance=pl.Series(1 + noise()),
    )
    return replace(study, frame=frame)
