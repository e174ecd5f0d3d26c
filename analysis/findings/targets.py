"""Collapse of regressions and ordered classes, over training and by precision.

Everything is paired by training: a line is n differences of the same trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.changes import Change, adjustments, changes_of, verdict_of
from analysis.findings.curves import first_and_last, several_checkpoints
from analysis.findings.frames import frame_of
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import (
    BESIDE_REGRESSION,
    OF_ORDER,
    OF_REGRESSION,
    Choices,
    Direction,
    Table,
)
from analysis.statistics.changes import signed_rank

OUTCOMES: dict[str, Direction] = {"val_loss": "lower", "val_r2": "higher", "val_accuracy": "higher"}
"""What collapse is read beside, and the direction that is better."""


@dataclass(frozen=True)
class TargetLine:
    """One line: a column at the last checkpoint of `n` trainings at a precision.

    `median` over them, `least` and `largest`.
    """

    precision: str
    column: str
    n: int
    median: float | None = None
    least: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class TargetCourse:
    """One line: how a column moved in `n` trainings, at the reference precision.

    `first` and `last` are medians at the first and the last checkpoint; `estimate` the
    pseudo-median of the differences, `low` to `high` its 95% interval and `p` of the same
    signed-rank test; `p_maxt` adjusts it for the columns by joint sign flips of `permutations`
    patterns (`exact`: all). `verdict` is `changed`, `undecided` or `cannot reject`.
    """

    column: str
    n: int
    first: float | None = None
    last: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_maxt: float | None = None
    verdict: str = ""
    permutations: int | None = None
    exact: bool | None = None
    note: str = ""


def collapse_columns(table: Table) -> list[str]:
    """Columns of collapse of a regression, or of ordered classes, that have values."""
    rows = table.frame
    names = (*OF_REGRESSION, *BESIDE_REGRESSION, *OF_ORDER)
    return [name for name in names if name in rows and rows[name].count()]


def outcome_columns(table: Table) -> list[str]:
    """Outcomes that stand beside them, the response first."""
    rows = table.frame
    names = dict.fromkeys([table.roles.response, *OUTCOMES])
    return [name for name in names if name in rows and rows[name].count()]


def levels(table: Table) -> pl.DataFrame:
    """Table of `TargetLine` lines, the reference precision first."""
    lines = []
    for precision in precisions(table) or [""]:
        rows = final_rows(table, precision or None)
        for column in (*collapse_columns(table), *outcome_columns(table)):
            values = rows[column].cast(pl.Float64).drop_nulls().to_numpy()
            line = TargetLine(precision, column, len(values))
            if len(values):
                least, largest = float(values.min()), float(values.max())
                line = replace(line, median=float(np.median(values)), least=least, largest=largest)
            lines.append(line)
    return frame_of(TargetLine, lines)


def target_course(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `TargetCourse` lines; empty without trainings of several checkpoints."""
    if not several_checkpoints(table):
        return frame_of(TargetCourse, [])
    ends, unit = first_and_last(table), table.roles.unit
    lines, differences = [], []
    for column in (*collapse_columns(table), *outcome_columns(table)):
        known = ends.drop_nulls([column, f"{column}_0"])
        d = known.select(unit, d=(pl.col(column) - pl.col(f"{column}_0")).cast(pl.Float64))
        if not len(d):
            continue
        test = signed_rank(d["d"].to_numpy())
        verdict, note = verdict_of(test, None)
        lines.append(
            TargetCourse(
                column,
                len(d),
                first=float(np.median(known[f"{column}_0"].to_numpy())),
                last=float(np.median(known[column].to_numpy())),
                estimate=test.estimate,
                low=test.low,
                high=test.high,
                p=test.p,
                verdict=verdict,
                note="" if note.startswith("no margin") else note,
            )
        )
        differences.append(d)
    outcomes = adjustments(lines, differences, unit, choices, over="columns")
    adjusted: Sequence[TargetCourse] = [
        line if outcome is None else replace(line, **vars(outcome))
        for line, outcome in zip(lines, outcomes, strict=True)
    ]
    return frame_of(TargetCourse, adjusted)


def target_changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines: what precisions do to collapse and outcomes."""
    roles = replace(table.roles, responses={**OUTCOMES, **table.roles.responses})
    columns = [*collapse_columns(table), *outcome_columns(table)]
    return frame_of(Change, changes_of(replace(table, roles=roles), columns, choices))
