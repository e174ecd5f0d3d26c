"""Curves of loss, accuracy and collapse over training.

One line per configuration: the median over the trainings that differ in their seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import Lines, panels, scale_y
from analysis.figures.key import Entry, Group
from analysis.figures.looks import Looks
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis, plain, with_room
from analysis.reading.groups import medians
from analysis.reading.table import ZERO_ERROR, Roles
from study.columns import label

EPOCHS = (0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)  # ticks of a long training
LONG = 30  # epochs beyond which the first ones would be squeezed: logarithmic from 1
LOSSES = ("val_loss", "train_loss")


def collapse_curves(
    rows: pl.DataFrame,
    roles: Roles,
    columns: Sequence[str],
    *,
    axes: Sequence[str],
    floor: float | None,
) -> Figure:
    """Columns over the checkpoints, a line per configuration.

    Its colour is the first of `axes` that varies, its dash the next. A star marks the first
    checkpoint at or after zero training error, where the terminal phase begins, a dashed line the
    least possible loss, where all trainings share one.
    """
    order = roles.order
    assert order is not None
    marked = ZERO_ERROR in rows.columns and rows[ZERO_ERROR].dtype.is_numeric()
    marked = marked and rows[ZERO_ERROR].count() > 0
    floored = floor is not None and any(name in LOSSES for name in columns)
    marks = [Entry("zero training error: the terminal phase", marker="*", size=8)] * marked
    marks += [Entry("least possible loss", colour="#333333", dash="--")] * floored
    with styled():
        looks = Looks(rows, axes)
        key = [*looks.key(markers=False), Group("", marks)]
        figure, drawn = panels(
            len(columns),
            titles=[label(name) for name in columns],
            xlabels=label(order),
            key=key,
        )
        measured = [*columns, *([ZERO_ERROR] if marked else [])]
        lines, stars = [Lines() for _ in columns], [Lines() for _ in columns]
        for settings, part in medians(rows, roles.axes, order, measured):
            look = looks.of(settings)
            start = part[ZERO_ERROR].min() if marked else None
            after = part.clear() if start is None else part.filter(pl.col(order) >= start).head(1)
            for place, name in enumerate(columns):
                lines[place].add(part[order], part[name], look.colour, dash=look.dash)
                stars[place].add(after[order], after[name], look.colour)
        for place, panel in enumerate(drawn):
            lines[place].draw(panel)
            stars[place].draw(panel, width=0, size=80, marker="*")
        longest = rows[order].cast(pl.Float64).max()
        for panel, name in zip(drawn, columns, strict=True):
            if name in LOSSES and floor is not None:
                panel.axhline(floor, color="#333333", linewidth=0.8, linestyle="--")
            scale_y(panel, rows[name])
            along(panel, longest if isinstance(longest, float) else 0.0)
    return figure


def along(axis: Axes, longest: float) -> None:
    """Ticks of epochs, logarithmic from 1 on where there are many."""
    if longest <= LONG:
        linear_axis(axis, "x", integer=True)
        return
    axis.set_xscale("symlog", linthresh=1)
    ticks = [float(tick) for tick in EPOCHS if tick <= longest]
    axis.set_xlim(-0.15, 1.25 * longest)
    kept = with_room(axis, ticks)
    axis.set_xticks(kept, labels=[plain(tick) for tick in kept])
    axis.minorticks_off()
