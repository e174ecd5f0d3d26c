"""Trainings that differ in one axis alone, side by side.

A block holds those that agree in all other axes and in every seed, one at each level of the axis.
Shapes: b blocks, l levels, n trainings of them, k columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.findings.pairs import comparisons, paired
from analysis.reading.selection import final_rows
from analysis.reading.table import PARTS_OF_SEED, Intervention, Table
from analysis.statistics.decomposition import pooled_deviation
from analysis.statistics.linear import Codes, Floats

OTHER_SEEDS = (*PARTS_OF_SEED, "data_seed")
DAMAGE = "damage"  # what the response loses, or rises by, from the reference precision


@dataclass(frozen=True)
class Response:
    """What is asked about: a column at the reference, or damage at a `precision`.

    `log10`: its decimal logarithm is taken, so that a difference is a ratio.
    """

    metric: str
    precision: str | None = None
    log10: bool = False

    @property
    def name(self) -> str:
        """What it is called where a column has one name: `val_loss`, `damage int4`."""
        return self.metric if self.precision is None else f"{self.metric} {self.precision}"


@dataclass(frozen=True)
class Blocks:
    """The blocks of an intervention and the values of responses in them.

    `values` has (b, l) numbers by response, the levels with the baseline first where they are no
    numbers and ascending otherwise; NaN where there is no value. `cells` (b,) are the design cells
    of the blocks, whose seeds alone differ. `most` trainings at one level of a block, of which the
    mean stands.
    """

    intervention: Intervention
    levels: tuple[float | str | bool, ...]
    values: dict[Response, Floats]
    cells: Codes
    most: int

    @property
    def baseline(self) -> int:
        """The place of the baseline among the levels."""
        return self.levels.index(self.intervention.baseline)

    def differences(self, response: Response, level: int) -> Floats:
        """(b,) value at a level less that at the baseline, NaN where one is missing."""
        values = self.values[response]
        return np.asarray(values[:, level] - values[:, self.baseline])

    def seed_sd(self, response: Response) -> float | None:
        """Standard deviation at the baseline between seeds, pooled over design cells.

        None where no cell has two blocks with a value.
        """
        values = self.values[response][:, self.baseline]
        known = np.isfinite(values)
        return pooled_deviation(
            [values[known & (self.cells == cell)] for cell in np.unique(self.cells)]
        )

    def against_baseline(self, level: int) -> Blocks:
        """The same with one level beside the baseline."""
        chosen = [self.baseline, level]
        return replace(
            self,
            levels=tuple(self.levels[at] for at in chosen),
            values={name: array[:, chosen] for name, array in self.values.items()},
        )

    def long(self) -> Long:
        """A row for each block and level that has a value."""
        known = np.any([np.isfinite(array) for array in self.values.values()], axis=0)
        block, level = np.nonzero(known)
        values = {name: array[known] for name, array in self.values.items()}
        return Long(block, level, values)


@dataclass(frozen=True)
class Long:
    """Rows (n,) of a block and a level each, with values by response, NaN for none."""

    block: Codes
    level: Codes
    values: dict[Response, Floats]

    def comparable(self, known: NDArray[np.bool_]) -> Codes:
        """Those of the known rows (n,) in whose block another level is known."""
        count = np.bincount(self.block, weights=known)
        return np.flatnonzero(known & (count[self.block] > 1))


def blocks_of(table: Table, intervention: Intervention, columns: Iterable[str]) -> Blocks:
    """The blocks of an intervention over last checkpoints: outcomes, damage, metrics.

    The damage is the change of the response at each precision from its baseline, of a response
    that is better when higher what it falls by. Heavy-tailed
    metrics whose values are all positive are taken as logarithms, unless a margin is declared for
    them, which has their own unit.
    """
    rows, roles = final_rows(table), table.roles
    names = list(columns)
    sign = -1.0 if roles.responses.get(roles.response) == "higher" else 1.0
    responses = {
        Response(name): pl.col(name).cast(pl.Float64) for name in names if name not in roles.metrics
    }
    for precision, baseline in comparisons(table):
        name = f"{DAMAGE} {precision}"
        damage = sign * (pl.col(f"{roles.response}_q") - pl.col(roles.response))
        changes = paired(table, precision, baseline).select(roles.unit, damage.alias(name))
        rows = rows.join(changes, on=roles.unit, how="left")
        responses[Response(DAMAGE, precision)] = pl.col(name)
    for name in (name for name in names if name in roles.metrics):
        values = rows[name].drop_nulls()
        heavy = roles.metrics[name].heavy_tailed and name not in roles.margin
        log10 = bool(heavy and len(values) and (values > 0).all())
        column = pl.col(name).cast(pl.Float64)
        responses[Response(name, log10=log10)] = column.log10() if log10 else column
    levels = _levels(intervention)
    seeds = [name for name in (roles.seed, *OTHER_SEEDS) if name is not None and name in rows]
    others = [axis for axis in roles.axes if axis != intervention.axis]
    keys = list(dict.fromkeys([*others, *(name for name in seeds if name != intervention.axis)]))
    block = pl.struct(keys).rank("dense") - 1 if keys else pl.lit(0)
    cell = pl.struct(others).rank("dense") - 1 if others else pl.lit(0)
    places = pl.DataFrame(
        {"value": levels, "level": range(len(levels))},
        schema_overrides={"value": rows.schema[intervention.axis]},
    )
    means = (
        rows.select(
            block.cast(pl.Int64).alias("block"),
            cell.cast(pl.Int64).alias("cell"),
            pl.col(intervention.axis).alias("value"),
            *(value.alias(str(at)) for at, value in enumerate(responses.values())),
        )
        .join(places, on="value")
        .group_by("block", "level")
        .agg(
            pl.len().alias("trainings"),
            pl.col("cell").first(),
            *(pl.col(str(at)).mean() for at in range(len(responses))),
        )
    )
    # Trainings without a partner, such as those of another intervention, are in no block.
    means = means.filter(pl.len().over("block") > 1).with_columns(
        block=pl.col("block").rank("dense").cast(pl.Int64) - 1
    )
    at_block, at_level = means["block"].to_numpy(), means["level"].to_numpy()
    shape = (means["block"].n_unique(), len(levels))
    arrays = {}
    for at, response in enumerate(responses):
        array = np.full(shape, np.nan)
        array[at_block, at_level] = means[str(at)].fill_null(np.nan).to_numpy()
        arrays[response] = array
    cells = np.zeros(shape[0], dtype=np.intp)
    cells[at_block] = means["cell"].to_numpy()
    most = int(means["trainings"].to_numpy().max(initial=1))
    return Blocks(intervention, levels, arrays, cells, most)


def _levels(intervention: Intervention) -> tuple[float | str | bool, ...]:
    levels = (intervention.baseline, *intervention.levels)
    return tuple(sorted(levels)) if intervention.numeric else levels
