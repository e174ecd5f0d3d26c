"""What each axis of the grid does to each metric, the other axes held.

One regression of the metric on all axes.

A metric is taken on the scale of its heavy tails (log10 of positive heavy-tailed ones), and in
units of its standard deviation over the rows, so that metrics and axes can be compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.controls import axis_covariates
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import in_words
from analysis.reading.table import Choices, Roles
from analysis.statistics.batch import Batch, Outcome
from analysis.statistics.levels import LEAST_ROWS
from analysis.statistics.regression import regress


@dataclass(frozen=True)
class Effect:
    """One line: `metric` from the least value of `axis` to the greatest.

    Over `n` trainings, the other axes held.

    `effect` = slope (greatest - least) / standard deviation of the metric, by least squares of the
    metric on all axes; `low`, `high` its 95% interval (HC3, Student's t); `partial_r2` the share of
    what the other axes leave unexplained; `p` by permutation of the axis (Freedman-Lane), `p_maxt`
    step-down over the columns without missing values.
    """

    axis: str
    metric: str
    scale: str
    n: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    partial_r2: float | None = None
    p: float | None = None
    p_maxt: float | None = None
    note: str = ""


def effects(
    rows: pl.DataFrame, roles: Roles, columns: Sequence[str], choices: Choices
) -> pl.DataFrame:
    """Table of `Effect` lines by column, then axis, over rows of one training each."""
    batch = Batch(permutations=choices.permutations, seed=choices.seed)
    lines = [
        _effect(Effect(axis, column, "raw", 0), rows, roles, batch)
        for column in columns
        for axis in axis_covariates(rows, roles)[0]
    ]
    outcomes = batch.run()
    return frame_of(Effect, [_tested(line, outcomes) for line in lines])


def _effect(line: Effect, rows: pl.DataFrame, roles: Roles, batch: Batch) -> Effect:
    complete = rows.select(list(dict.fromkeys([line.metric, *roles.axes]))).drop_nulls(line.metric)
    line = replace(line, n=len(complete))
    if len(complete) < LEAST_ROWS:
        return replace(line, note=f"{len(complete)} trainings: too few")
    names, columns = axis_covariates(complete, roles)
    if line.axis not in names:
        return replace(line, note=f"{line.axis} does not vary where {line.metric} is known")
    values, metric = (
        complete[line.metric].cast(pl.Float64).to_numpy(),
        roles.metrics.get(line.metric),
    )
    if metric is not None and metric.heavy_tailed and values.min() > 0:
        line, values = replace(line, scale="log10"), np.log10(values)
    place = names.index(line.axis)
    axis, others = columns[:, place], np.delete(columns, place, axis=1)
    given = others if others.shape[1] else None
    try:
        fit = regress(axis, values, covariates=others)
    except ValueError as error:
        return replace(line, note=in_words(error, line.axis, line.metric))
    try:
        batch.ask(
            (line.axis, line.metric),
            values,
            axis,
            covariates=given,
            family=len(complete) == len(rows),
        )
    except ValueError as error:
        return replace(line, note=in_words(error, line.metric, line.axis))
    unit = float((axis.max() - axis.min()) / values.std(ddof=1))
    low, high = fit.ci or (None, None)
    return replace(
        line,
        effect=fit.slope * unit,
        low=None if low is None else low * unit,
        high=None if high is None else high * unit,
        partial_r2=fit.partial_r2,
    )


def _tested(line: Effect, outcomes: Mapping[Hashable, Outcome | str]) -> Effect:
    outcome = outcomes.get((line.axis, line.metric))
    if isinstance(outcome, str):
        return replace(line, note=outcome)
    return line if outcome is None else replace(line, p=outcome.p, p_maxt=outcome.p_maxt)
