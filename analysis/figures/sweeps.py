"""Metrics against one axis of the grid, for each weight decay apart: figures 6 to 19, 23 to 26, 29, 30 of Wu & Papyan.

One line per point of the other axes, the median over its seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.colours import KEY_HEIGHT, Colours
from analysis.figures.drawing import STYLE, Lines, label, panels
from analysis.figures.ticks import apart, log_axis, spans_decades
from analysis.findings.confounders import LOGGED
from analysis.reading.groups import medians
from analysis.reading.table import Table

FACET = "weight_decay"


def swept(table: Table, rows: pl.DataFrame) -> list[str]:
    """Axes of numbers that vary, without the one that tells the panels apart."""
    return [
        axis
        for axis in table.roles.axes
        if rows[axis].dtype.is_numeric()
        and rows[axis].n_unique() > 1
        and axis != facet_of(table, rows)
    ]


def facet_of(table: Table, rows: pl.DataFrame) -> str | None:
    """weight_decay where it varies beside another axis of numbers: each of its values gets panels of its own."""
    numbers = [
        axis
        for axis in table.roles.axes
        if rows[axis].dtype.is_numeric() and rows[axis].n_unique() > 1
    ]
    return FACET if FACET in numbers and len(numbers) > 1 else None


def against_axis(
    table: Table, rows: pl.DataFrame, axis_name: str, columns: Sequence[str]
) -> Figure:
    """`columns` against an axis, panels in pairs or more by weight decay; a panel of an incomplete grid says so."""
    facet = facet_of(table, rows)
    levels: list[Any] = rows[facet].unique().sort().to_list() if facet else [None]
    others = [
        axis
        for axis in table.roles.axes
        if axis not in (axis_name, facet) and rows[axis].n_unique() > 1
    ]
    colour = next((axis for axis in (*table.roles.architecture, *others) if axis in others), None)
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour)
        figure, axes = panels(
            len(columns) * len(levels),
            above=KEY_HEIGHT if colours else 0.1,
            titled=0.27 + 0.15 * ((facet is not None) + bool(table.missing)),
            gap=0.6,
        )
        for place, axis in enumerate(axes):
            name, level = columns[place // len(levels)], levels[place % len(levels)]
            part = rows if facet is None else rows.filter(pl.col(facet) == level)
            drawn = Lines()
            for settings, line in medians(part, others, axis_name, [name]):
                drawn.add(
                    line[axis_name], line[name], colours.of([settings.get(colours.axis or "")])[0]
                )
            drawn.draw(axis)
            _dress(axis, rows, axis_name, name)
            told = [] if facet is None else [f"{facet} {level:g}"]
            if lacking := missing_points(table, facet, level):
                told.append(f"{lacking} points missing")
            axis.set_title("\n".join([label(name), *told]), loc="left", pad=3)
        colours.key(figure)
    return figure


def missing_points(table: Table, facet: str | None, level: Any) -> int:
    """Points of the grid without rows that belong to a panel."""
    return sum(
        len(
            part.points
            if facet is None or facet not in part.points.columns
            else part.points.filter(pl.col(facet) == level)
        )
        for part in table.missing
    )


def _dress(axis: Axes, rows: pl.DataFrame, axis_name: str, name: str) -> None:
    """Scales and limits that all panels of a metric share."""
    values = rows[name].drop_nulls().to_numpy()
    if spans_decades(values):
        log_axis(axis, "y", values)
        axis.set_ylim(values.min() / 1.15, values.max() * 1.15)
    elif values.size:
        room = 0.06 * (values.max() - values.min()) or 0.5
        axis.set_ylim(values.min() - room, values.max() + room)
        axis.locator_params(axis="y", nbins=5)
    ticks: list[float] = rows[axis_name].unique().sort().cast(pl.Float64).to_list()
    log = (axis_name in LOGGED or spans_decades(ticks, 8)) and ticks[0] > 0
    if log:
        axis.set_xscale("log")
    ticks = apart(ticks, log=log)
    axis.set_xticks(ticks, labels=[f"{value:g}" for value in ticks])
    axis.minorticks_off()
    axis.set_xlabel(label(axis_name))
