"""Metrics against one axis of the grid, for each weight decay apart.

Figures 6 to 19, 23 to 26, 29 and 30 of Wu & Papyan 2024.

One line per point of the other axes, the median over its seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.colours import KEY_HEIGHT, Colours
from analysis.figures.drawing import STYLE, Lines, label, panels
from analysis.figures.ticks import apart, log_axis, spans_decades
from analysis.reading.groups import medians
from analysis.reading.table import LOGGED, Roles


def against_axis(
    rows: pl.DataFrame,
    roles: Roles,
    axis_name: str,
    columns: Sequence[str],
    *,
    facet: str | None,
    missing: Mapping[Any, int],
) -> Figure:
    """`columns` against an axis, a panel for each level of `facet`.

    `missing` has the points of the grid that lack in the panels of each level, in the order in
    which these stand; without a facet it has the one level None. A panel that lacks some says so.
    """
    levels = list(missing)
    others = [
        axis for axis in roles.axes if axis not in (axis_name, facet) and rows[axis].n_unique() > 1
    ]
    colour = next((axis for axis in (*roles.architecture, *others) if axis in others), None)
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour)
        figure, axes = panels(
            len(columns) * len(levels),
            above=KEY_HEIGHT if colours else 0.1,
            titled=0.27 + 0.15 * ((facet is not None) + any(missing.values())),
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
            heading = [label(name)] if facet is None else [label(name), f"{facet} {level:g}"]
            if missing[level]:
                heading.append(f"{missing[level]} points missing")
            axis.set_title("\n".join(heading), loc="left", pad=3)
        colours.key(figure)
    return figure


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
