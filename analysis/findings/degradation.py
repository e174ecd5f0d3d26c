"""What a precision changes: one difference per training, never more.

The reference precision is compared with each other one.

Shapes: n trainings, each with a value at the reference precision and one at the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import (
    CDNV_NORM,
    CDNV_SCALE_FREE,
    CDNV_VARIANTS,
    REFMEANS,
    Choices,
    Direction,
    Table,
)
from analysis.statistics.decomposition import pooled_deviation
from analysis.statistics.levels import LEAST_ROWS
from analysis.statistics.paired import median_interval, sign_flip_test
from study.store.reference import CONTROL, TUNED


@dataclass(frozen=True)
class Change:
    """One line: the change of a column from baseline to precision over `n` trainings.

    `low`, `high` 95% percentile bootstrap interval of the median over trainings; `p` by sign flips
    of the mean; `seed_sd` between-seed standard deviation at the baseline, pooled over groups of
    trainings that differ in their seed alone; `in_seed_sd` the median in its units.
    """

    precision: str
    baseline: str
    column: str
    n: int
    median: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    p: float | None = None
    patterns: int | None = None
    exact: bool | None = None
    worse: int | None = None
    seed_sd: float | None = None
    in_seed_sd: float | None = None
    note: str = ""


def seed_spread(rows: pl.DataFrame, axes: tuple[str, ...], column: str) -> float | None:
    """Between-seed standard deviation of a column, pooled over groups of equal axes.

    None where no group has two trainings with a value.
    """
    known = rows.select(list(dict.fromkeys([*axes, column]))).drop_nulls(column)
    parts = known.partition_by(list(axes)) if axes else [known]
    return pooled_deviation([part[column].to_numpy() for part in parts])


def comparisons(table: Table) -> list[tuple[str, str]]:
    """Pairs (precision, baseline) in the order of the table.

    qat-* and efqat-* are compared with ft-fp32, all others with fp32.
    """
    names = precisions(table)
    pairs = [(name, CONTROL if name.startswith(TUNED) else names[0]) for name in names[1:]]
    return [(name, baseline) for name, baseline in pairs if baseline in names]


def uncompared(table: Table) -> list[str]:
    """Precisions of the table that have no baseline in it (qat-* without ft-fp32)."""
    return [
        name
        for name in precisions(table)[1:]
        if name not in {pair[0] for pair in comparisons(table)}
    ]


def paired(table: Table, precision: str, baseline: str) -> pl.DataFrame:
    """One row per training measured at both precisions.

    Columns of the baseline have their names, those at `precision` the suffix `_q`.
    """
    key, before = table.roles.unit, final_rows(table, baseline)
    if baseline == precisions(table)[0]:
        # At the reference precision a metric with that precision's class means is the metric
        # itself.
        own_means = [
            name
            for name in before.columns
            if name.endswith(REFMEANS) and name.removesuffix(REFMEANS) in before
        ]
        before = before.with_columns(
            pl.coalesce(name, name.removesuffix(REFMEANS)).alias(name) for name in own_means
        )
    return before.join(final_rows(table, precision), on=key, how="inner", suffix="_q").sort(key)


def changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines of every precision.

    The response and other outcomes come first, then the metrics.
    """
    roles = table.roles
    kept_means = [name for name in table.frame.columns if name.endswith(REFMEANS)]
    columns = dict.fromkeys([roles.response, *roles.responses, *_ordered(table), *kept_means])
    lines = []
    pairs = comparisons(table)
    spreads = {
        (baseline, column): seed_spread(before, roles.axes, column)
        for baseline, before in (
            (name, final_rows(table, name)) for name in {pair[1] for pair in pairs}
        )
        for column in columns
        if column in before.columns
    }
    for precision, baseline in pairs:
        rows = paired(table, precision, baseline)
        for column in columns:
            spread = spreads.get((baseline, column))
            better = table.roles.responses.get(column)
            lines.append(
                _change(
                    rows, Change(precision, baseline, column, 0, seed_sd=spread), better, choices
                )
            )
    return frame_of(Change, lines)


def _ordered(table: Table) -> list[str]:
    """Metrics, a CDNV together with its scale-free form and the norm it depends on."""
    names = list(table.roles.metrics)
    if any(name in names for name in CDNV_VARIANTS):
        first = [*(name for name in CDNV_VARIANTS if name in names), CDNV_SCALE_FREE, CDNV_NORM]
        names = [*first, *(name for name in names if name not in first)]
    return names


def _change(rows: pl.DataFrame, line: Change, better: Direction | None, choices: Choices) -> Change:
    column, spread = line.column, line.seed_sd
    if column not in rows.columns:
        return replace(line, note=f"{column} is not in this table")
    d = (rows[f"{column}_q"] - rows[column]).drop_nulls().to_numpy()
    line = replace(line, n=len(d))
    if not len(d):
        return replace(line, note="no training has a value at both precisions")
    median = float(np.median(d))
    interval = median_interval(d, replicates=choices.bootstrap, seed=choices.seed)
    line = replace(
        line,
        median=median,
        mean=float(d.mean()),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        worse=None
        if better is None
        else int(np.count_nonzero(d > 0 if better == "lower" else d < 0)),
        in_seed_sd=median / spread if spread else None,
    )
    if len(d) < LEAST_ROWS:
        return replace(line, note=f"{len(d)} trainings: too few for a test")
    try:
        test = sign_flip_test(d, permutations=choices.permutations, seed=choices.seed)
    except ValueError as error:
        return replace(line, note=str(error))
    return replace(line, p=test.p, patterns=test.n_patterns, exact=test.exact)
