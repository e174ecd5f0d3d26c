"""All checkpoints of all trainings at once, moved as whole trainings.

Rows of one training are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.selection import precisions
from analysis.reading.table import Choices, Table, with_companions
from analysis.statistics.batch import Batch, Outcome
from analysis.statistics.levels import LEAST_ROWS
from analysis.statistics.regression import bootstrap_r, regress


@dataclass(frozen=True)
class Pooled:
    """One line: r over all rows at the reference precision.

    Interval and p have whole trainings as units.

    `p` exchanges trainings with equally many checkpoints; `slope_se` is cluster-robust.
    """

    metric: str
    given: str
    n: int
    trainings: int
    r: float | None = None
    r2: float | None = None
    boot_low: float | None = None
    boot_high: float | None = None
    p: float | None = None
    slope: float | None = None
    slope_se: float | None = None
    note: str = ""


def pooled(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Pooled` lines; empty when every training has a single checkpoint."""
    roles, rows = table.roles, table.frame
    if roles.precision is not None:
        rows = rows.filter(pl.col(roles.precision) == precisions(table)[0])
    lines: list[Pooled] = []
    if len(rows) > rows[roles.unit].n_unique():
        rows = rows.sort(roles.unit, *([roles.order] if roles.order else []))
        batch = Batch(permutations=choices.permutations, seed=choices.seed)
        lines = [
            _line(rows, table, name, given, choices, batch)
            for name, given in with_companions(roles.metrics)
        ]
        outcomes = batch.run()
        lines = [_tested(line, outcomes.get((line.metric, line.given))) for line in lines]
    return frame_of(Pooled, lines)


def _tested(line: Pooled, outcome: Outcome | str | None) -> Pooled:
    if isinstance(outcome, Outcome):
        return replace(line, r=outcome.r, r2=outcome.r**2, p=outcome.p)
    return replace(line, note="; ".join(filter(None, [line.note, outcome])))


def _line(
    rows: pl.DataFrame, table: Table, name: str, given: str | None, choices: Choices, batch: Batch
) -> Pooled:
    """A line without its r and p, for which `batch` is asked."""
    roles = table.roles
    names = [name, roles.response, *([given] if given else [])]
    complete = rows.drop_nulls([column for column in names if column in rows.columns])
    line = Pooled(name, given or "", len(complete), complete[roles.unit].n_unique())
    if reason := obstacle(rows, names, complete):
        return replace(line, note=reason)
    x, y = complete[name].to_numpy(), complete[roles.response].to_numpy()
    unit = complete[roles.unit].cast(pl.String).to_numpy()
    covariates = complete[given].to_numpy() if given else None
    try:
        fit = regress(x, y, covariates=covariates, groups=unit)
        batch.ask((name, given or ""), x, y, units=unit, covariates=covariates)
    except ValueError as error:
        return replace(line, note=str(error))
    line = replace(line, slope=fit.slope, slope_se=fit.se)
    if given:
        return line
    low, high = bootstrap_r(x, y, unit, replicates=choices.bootstrap, seed=choices.seed)
    return (
        line
        if np.isnan(low[0])
        else replace(line, boot_low=float(low[0]), boot_high=float(high[0]))
    )


def obstacle(rows: pl.DataFrame, names: list[str], complete: pl.DataFrame) -> str:
    """Why these columns cannot be related over `complete`; empty if they can.

    `complete` are the rows where none of the columns is null.
    """
    for name in names:
        if name not in rows.columns:
            return f"{name} is not in this table"
    if len(complete) < LEAST_ROWS:
        return f"{len(complete)} rows have values; {LEAST_ROWS} are needed"
    for name in names:
        if complete[name].n_unique() < 2:
            return f"{name} is constant"
    return ""
