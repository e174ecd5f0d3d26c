"""Metrics against one axis of the grid: a colour and a style for two others.

Figures 6 to 19, 23 to 26, 29 and 30 of Wu & Papyan 2024. A fourth axis, the one of the fewest
levels, has a panel for each of these.

One line per point of the other axes, the median over its seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import Lines, panels
from analysis.figures.looks import Looks, level_text
from analysis.figures.sheets import sheet, styled
from analysis.figures.ticks import level_axis, linear_axis, log_axis, spans_decades
from analysis.reading.groups import medians
from analysis.reading.table import LOGGED, Roles
from study.columns import label


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
    others = [axis for axis in roles.axes if axis not in (axis_name, facet)]
    others = sorted(others, key=lambda axis: axis not in roles.architecture)
    titles = [_heading(name, facet, level, missing[level]) for name in columns for level in levels]
    across = sheet().across // len(levels) * len(levels) or sheet().across
    with styled():
        looks = Looks(rows, others)
        key = looks.key()
        figure, drawn = panels(
            len(titles),
            titles=titles,
            xlabels=label(axis_name),
            key=key,
            across=across,
        )
        for place, panel in enumerate(drawn):
            name, level = columns[place // len(levels)], levels[place % len(levels)]
            part = rows if facet is None else rows.filter(pl.col(facet).eq_missing(level))
            lines = Lines()
            for settings, line in medians(part, others, axis_name, [name]):
                look = looks.of(settings)
                x, y = line[axis_name], line[name]
                lines.add(x, y, look.colour, marker=look.marker, dash=look.dash)
            lines.draw(panel)
            _dress(panel, rows, axis_name, name)
    return figure


def _heading(name: str, facet: str | None, level: Any, lacking: int) -> str:
    """What a panel shows: the column, the level, and the points that it lacks."""
    lines = [label(name)]
    if facet is not None:
        lines.append(f"{label(facet)} {level_text(level)}")
    if lacking:
        lines.append(f"{lacking} points missing")
    return "\n".join(lines)


def _dress(axis: Axes, rows: pl.DataFrame, axis_name: str, name: str) -> None:
    """Scales and limits that all panels of a metric share."""
    values = rows[name].drop_nulls().to_numpy()
    if spans_decades(values):
        log_axis(axis, "y", values)
        axis.set_ylim(values.min() / 1.15, values.max() * 1.15)
    elif values.size:
        room = 0.06 * (values.max() - values.min()) or 0.5
        axis.set_ylim(values.min() - room, values.max() + room)
        linear_axis(axis, "y")
    ticks: list[float] = rows[axis_name].drop_nulls().unique().sort().cast(pl.Float64).to_list()
    log = (axis_name in LOGGED or spans_decades(ticks, 8)) and ticks[0] > 0
    level_axis(axis, ticks, log=log)
