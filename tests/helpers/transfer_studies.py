"""Studies with probes of other classes whose accuracy is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from intervention_studies import CAUSE, Truth, table

from analysis.reading.table import Table


@dataclass(frozen=True)
class Probes:
    """What the world is like: accuracies of probes around .7, with noise of .01.

    `link` is what a unit of log10 of `CAUSE`, of which less is more collapse, adds to the linear
    probe of all samples; `rounded` what int4 adds, `penalty` what a level of the penalty adds;
    `forgetting` what a unit of log10 of `CAUSE` adds to forgetting, None for no such column.
    """

    link: float = 0.0
    rounded: float = 0.0
    penalty: float = 0.0
    forgetting: float | None = None


TWO = Truth(levels=(0.0, 1.0))


def probed(world: Probes, seed: int = 0, truth: Truth = TWO) -> Table:
    """A study of widths, a penalty and seeds at fp32 and int4, with columns of probes."""
    study = table(truth, seed)
    rows, rng = study.frame, np.random.default_rng([seed, 2])
    level = rows["penalty_nc1"].cast(pl.Float64).to_numpy()
    at_int4 = (rows["precision"] == "int4").to_numpy().astype(float)
    log_x = np.log10(rows[CAUSE].to_numpy())

    def noise() -> np.ndarray:
        return np.asarray(0.01 * rng.standard_normal(len(rows)))

    shift = world.rounded * at_int4 + world.penalty * level
    frame = rows.with_columns(
        probe_ncc_5=pl.Series(0.6 + shift + noise()),
        probe_ncc_5_std=pl.lit(0.03),
        probe_linear_5=pl.Series(0.65 + shift + noise()),
        probe_linear_5_std=pl.lit(0.02),
        probe_linear_all=pl.Series(0.7 + shift + world.link * log_x + noise()),
        probe_effective_rank=pl.lit(3.0),
    )
    if world.forgetting is not None:
        lost = pl.Series(0.2 + world.forgetting * log_x + noise())
        frame = frame.with_columns(forgetting=lost)
    return replace(study, frame=frame)
