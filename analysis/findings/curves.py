"""Collapse over the course of training: the curves of every metric, and how far each went.

One line per configuration: the median over the trainings that differ in their seed alone, at each checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import KEY_HEIGHT, Colours
from analysis.figures.drawing import STYLE, Lines, finish, label, panels
from analysis.findings.frames import frame
from analysis.reading.groups import at_reference, colour_of, medians
from analysis.reading.table import FLOOR, Table

ZERO_ERROR = "zero_error_epoch"  # first epoch after which the training split had no error
EPOCHS = (0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)  # ticks of a long training
LONG = 30  # epochs beyond which the first ones would be squeezed: logarithmic from 1


@dataclass(frozen=True)
class Course:
    """One line: a metric at the first and last checkpoint of `n` trainings (medians), and the median of last / first.

    `towards` counts the trainings in which it moved in the direction that means more collapse; null without one.
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
    """One row per training with more than one checkpoint: values at the last, and at the first with the suffix `_0`."""
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
        kept = ends.drop_nulls([name, f"{name}_0"])
        line = Course(name, len(kept), direction=metric.direction or "")
        if len(kept):
            before, after = kept[f"{name}_0"].to_numpy(), kept[name].to_numpy()
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
    return frame(Course, lines)


def zero_error(table: Table) -> pl.DataFrame | None:
    """Trainings (`training`, `epoch`) that reached zero training error, or None where the table does not say."""
    if ZERO_ERROR not in table.frame.columns:
        return None
    found = (
        at_reference(table).group_by(table.roles.unit).agg(pl.col(ZERO_ERROR).min().alias("epoch"))
    )
    return found.drop_nulls("epoch").sort(table.roles.unit)


def floors(rows: pl.DataFrame) -> list[float]:
    """The values of the least possible loss that are known of some rows, in order."""
    found: list[float] = (
        rows[FLOOR].drop_nulls().unique().sort().to_list() if FLOOR in rows.columns else []
    )
    return found


def collapse_curves(table: Table, columns: Sequence[str]) -> Figure:
    """Each column over the checkpoints; a star marks the first one at or after zero training error, a dashed line the
    least possible loss where one is known of all rows.
    """
    order = table.roles.order
    assert order is not None
    rows = at_reference(table)
    marked = ZERO_ERROR in rows.columns and rows[ZERO_ERROR].dtype.is_numeric()
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour_of(table))
        figure, axes = panels(
            len(columns), above=KEY_HEIGHT if colours else 0.1, titled=0.27, gap=0.6
        )
        wanted = [*columns, *([ZERO_ERROR] if marked else [])]
        drawn, stars = [Lines() for _ in columns], [Lines() for _ in columns]
        for settings, part in medians(rows, table.roles.axes, order, wanted):
            colour = colours.of([settings.get(colours.axis or "")])[0]
            start = part[ZERO_ERROR].min() if marked else None
            after = part.clear() if start is None else part.filter(pl.col(order) >= start).head(1)
            for place, name in enumerate(columns):
                drawn[place].add(part[order], part[name], colour)
                stars[place].add(after[order], after[name], colour)
        for place, axis in enumerate(axes):
            drawn[place].draw(axis)
            stars[place].draw(axis, width=0, size=80, marker="*")
        longest = rows[order].cast(pl.Float64).max()
        floor = floors(rows)
        for axis, name in zip(axes, columns, strict=True):
            if name in ("val_loss", "train_loss") and len(floor) == 1:
                axis.axhline(floor[0], color="#333333", linewidth=0.8, linestyle="--")
            finish(axis, rows[name], name)
            axis.set_xlabel(label(order))
            if isinstance(longest, float) and longest > LONG:
                axis.set_xscale("symlog", linthresh=1)
                ticks = [tick for tick in EPOCHS if tick <= longest]
                axis.set_xticks(ticks, labels=[f"{tick}" for tick in ticks])
                axis.set_xlim(-0.15, 1.25 * longest)
                axis.minorticks_off()
            else:
                axis.locator_params(axis="x", nbins=5, integer=True)
        colours.key(figure)
    return figure
