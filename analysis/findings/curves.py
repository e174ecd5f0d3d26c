"""Collapse over training: how far each metric went, and when no error was left."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.selection import at_reference
from analysis.reading.table import FLOOR, ZERO_ERROR, Table


@dataclass(frozen=True)
class Course:
    """One line: medians of a metric at first and last checkpoint of `n` trainings.

    `ratio` is the median of last / first.

    `towards` counts the trainings in which it moved in the direction that means more collapse; null
    without one.
    """

    metric: str
    n: int
    first: float | None = None
    last: float | None = None
    ratio: float | None = None
    towards: int | None = None
    direction: str = ""


def several_checkpoints(table: Table) -> bool:
    """Whether some training has more than one checkpoint."""
    return (
        table.roles.order is not None
        and len(at_reference(table)) > table.frame[table.roles.unit].n_unique()
    )


def first_and_last(table: Table) -> pl.DataFrame:
    """One row per training with several checkpoints: its last, and its first.

    Columns of the first have the suffix `_0`.
    """
    order, unit = table.roles.order, table.roles.unit
    assert order is not None
    rows = at_reference(table).sort(unit, order)
    ends = rows.group_by(unit, maintain_order=True)
    return (
        ends.last()
        .join(ends.first(), on=unit, suffix="_0")
        .filter(pl.col(order) > pl.col(f"{order}_0"))
        .sort(unit)
    )


def course(table: Table) -> pl.DataFrame:
    """Table of `Course` lines of the metrics."""
    ends = first_and_last(table)
    lines = []
    for name, metric in table.roles.metrics.items():
        known = ends.drop_nulls([name, f"{name}_0"])
        line = Course(name, len(known), direction=metric.direction or "")
        if len(known):
            before, after = known[f"{name}_0"].to_numpy(), known[name].to_numpy()
            positive = (before > 0).all() and (after > 0).all()
            line = replace(
                line,
                first=float(np.median(before)),
                last=float(np.median(after)),
                ratio=float(np.median(after / before)) if positive else None,
                towards=None
                if metric.direction is None
                else int((after < before if metric.direction == "lower" else after > before).sum()),
            )
        lines.append(line)
    return frame_of(Course, lines)


def zero_error(table: Table) -> pl.DataFrame | None:
    """Trainings (`training`, `epoch`) that reached zero training error.

    None where the table does not say.
    """
    if ZERO_ERROR not in table.frame.columns:
        return None
    epochs = (
        at_reference(table).group_by(table.roles.unit).agg(pl.col(ZERO_ERROR).min().alias("epoch"))
    )
    return epochs.drop_nulls("epoch").sort(table.roles.unit)


def floors(rows: pl.DataFrame) -> list[float]:
    """The values of the least possible loss that are known of some rows, in order."""
    values: list[float] = (
        rows[FLOOR].drop_nulls().unique().sort().to_list() if FLOOR in rows.columns else []
    )
    return values
