"""Studies with groups of samples whose gaps are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from intervention_studies import Truth, table

from analysis.reading.table import Table

SE = 0.02


@dataclass(frozen=True)
class Gaps:
    """What the world is like: a level of the penalty adds to gaps, as does int4.

    `gap` at the baseline; `penalty` what a level adds to it, `rounded` what int4 adds, `both` what
    a level adds at int4 alone; `worst` what a level adds to the worst accuracy.
    """

    gap: float = 0.1
    penalty: float = 0.0
    rounded: float = 0.0
    both: float = 0.0
    worst: float = 0.0


TWO = Truth(levels=(0.0, 1.0))


def grouped(world: Gaps, seed: int = 0, truth: Truth = TWO) -> Table:
    """A study of widths, a penalty and seeds at fp32 and int4, with columns of groups."""
    study = table(truth, seed)
    rows, rng = study.frame, np.random.default_rng([seed, 1])
    level = rows["penalty_nc1"].cast(pl.Float64).to_numpy()
    at_int4 = (rows["precision"] == "int4").to_numpy().astype(float)

    def noise(size: float) -> np.ndarray:
        return np.asarray(size * rng.standard_normal(len(rows)))

    gap = world.gap + world.penalty * level + at_int4 * (world.rounded + world.both * level)
    frame = rows.with_columns(
        group_accuracy_gap=pl.Series(np.abs(gap + noise(0.01))),
        group_accuracy_gap_se=pl.lit(SE),
        group_accuracy_worst=pl.Series(0.7 + world.worst * level + noise(0.01)),
        group_cosine_gap=pl.Series(np.abs(0.05 + noise(0.005))),
    )
    return replace(study, frame=frame)
