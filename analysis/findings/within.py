"""Association within design cells: the control that needs no model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.controls import Control, controlled, number, within_control
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import Tested, metric_values
from analysis.reading.table import Choices, Roles
from analysis.statistics.design_power import detectable_r
from analysis.statistics.linear import Floats
from analysis.statistics.meta import meta_of_correlations
from analysis.statistics.regression import fisher_interval
from analysis.statistics.within import CellCorrelation, correlations_by_cell


@dataclass(frozen=True)
class Within(Tested):
    """One line: a metric and the response, both centred in their design cell.

    `estimate` is the pooled r. `cells` with replicates leave `r_w` degrees of freedom, of which
    an |r| of `detectable` is found with 80% power within the family. `meta` is the mean of the
    cells' own r by random effects, `meta_low` to `meta_high` its interval, `heterogeneity`
    Cochran's Q with its p, `i2` the share of its spread that is not chance.
    """

    cells: int = 0
    r_w: int = 0
    detectable: float | None = None
    meta: float | None = None
    meta_low: float | None = None
    meta_high: float | None = None
    heterogeneity: float | None = None
    heterogeneity_p: float | None = None
    i2: float | None = None


@dataclass(frozen=True)
class InCell:
    """One line: r of a metric and the response in one design `cell` of n trainings."""

    metric: str
    cell: str
    n: int
    r: float | None = None
    low: float | None = None
    high: float | None = None


def within(rows: pl.DataFrame, roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Within` lines over rows that are one per training.

    It is empty without replicates.
    """
    control = within_control(rows, roles)
    if not len(control.rows):
        return frame_of(Within, [])
    y = rows[roles.response].to_numpy()
    values = metric_values(rows, roles)
    cells = len(np.unique(control.cells))
    detectable = detectable_r(control.dof, family=max(len(roles.primary), 1))
    start = {
        name: Within(name, 0, cells=cells, r_w=len(control.rows) - cells, detectable=detectable)
        for name in values
    }
    lines = controlled(start, values, y, control, roles, choices)
    return frame_of(Within, [_pooled(line, values[line.metric], y, control) for line in lines])


def _by_cell(x: Floats, y: Floats, control: Control) -> tuple[CellCorrelation, ...]:
    x, y = x[control.rows], y[control.rows]
    known = np.isfinite(x)
    if not known.any():
        return ()
    return correlations_by_cell(x[known], y[known], control.cells[known])


def _pooled(line: Within, x: Floats, y: Floats, control: Control) -> Within:
    if line.estimate is None:
        return line
    parts = _by_cell(x, y, control)
    meta = meta_of_correlations([float(part.r[0]) for part in parts], [part.n for part in parts])
    if meta is None:
        return line
    return replace(
        line,
        meta=meta.estimate,
        meta_low=meta.low,
        meta_high=meta.high,
        heterogeneity=meta.q,
        heterogeneity_p=meta.q_p,
        i2=meta.i2,
    )


def by_cell(rows: pl.DataFrame, roles: Roles, metrics: tuple[str, ...]) -> pl.DataFrame:
    """Table of `InCell` lines of some metrics, over rows that are one per training."""
    control = within_control(rows, roles)
    values, y = metric_values(rows, roles), rows[roles.response].to_numpy()
    used = rows[control.rows.tolist()] if len(control.rows) else rows.head(0)
    names = {
        int(cell): ", ".join(f"{axis} {used[axis][at]}" for axis in roles.axes) or "all trainings"
        for at, cell in reversed(list(enumerate(control.cells)))
    }
    lines = []
    for metric in metrics:
        for part in _by_cell(values[metric], y, control) if len(used) else ():
            r = float(part.r[0])
            interval = None if np.isnan(r) else fisher_interval(r, part.n)
            low, high = interval or (None, None)
            lines.append(InCell(metric, names[int(str(part.label))], part.n, number(r), low, high))
    return frame_of(InCell, lines)
