"""What the replicates of a table can find, whatever they were found to say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.findings.verdicts import design_cells
from analysis.reading.table import Roles
from analysis.statistics.design_power import FAMILY, design_power


@dataclass(frozen=True)
class Power:
    """The one line: what trainings of one design cell find with 80% power.

    Of `trainings` those in `cells` with replicates leave `r_w` degrees of freedom. An |r| of
    `alone` is found for one metric, of `within_family` for one of the `family` of primary metrics;
    null where none is. `seeds_r30` and `seeds_r50` in each design cell would find an r of .3 and
    of .5 within the family.
    """

    trainings: int
    cells: int
    r_w: int
    family: int
    alone: float | None
    within_family: float | None
    seeds_r30: int
    seeds_r50: int


def power(rows: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """Table of the `Power` line of rows that are one per training."""
    family = len(roles.primary) or FAMILY
    sizes = np.bincount(design_cells(rows, roles))
    design = design_power(sizes[sizes > 0].tolist(), family=family)
    line = Power(
        trainings=design.trainings,
        cells=design.cells,
        r_w=design.r_w,
        family=family,
        alone=design.alone,
        within_family=design.within_family,
        seeds_r30=design.seeds[0.3],
        seeds_r50=design.seeds[0.5],
    )
    return frame_of(Power, [line])
