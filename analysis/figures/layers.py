"""The depth profile: each metric from the first block to the input of the head."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.drawing import Lines, panels, scale_y
from analysis.figures.looks import Looks
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis
from analysis.reading.groups import medians
from analysis.reading.table import Roles
from study.columns import label


def depth_profile(
    rows: pl.DataFrame, roles: Roles, columns: Sequence[str], *, axes: Sequence[str]
) -> Figure:
    """Each metric against the place of the layer, a line per configuration.

    A line joins medians over seeds. Its colour is the first of `axes` that varies, its style the
    next.
    """
    deepest = int(str(rows["place"].max()))
    with styled():
        looks = Looks(rows, axes)
        key = looks.key()
        figure, drawn = panels(
            len(columns),
            titles=[label(name) for name in columns],
            xlabels="layer (last: input of the head)",
            key=key,
        )
        lines = [Lines() for _ in columns]
        for settings, part in medians(rows, roles.axes, "place", columns):
            look = looks.of(settings)
            for of_panel, name in zip(lines, columns, strict=True):
                of_panel.add(
                    part["place"], part[name], look.colour, marker=look.marker, dash=look.dash
                )
        for panel, of_panel, name in zip(drawn, lines, columns, strict=True):
            of_panel.draw(panel)
            scale_y(panel, rows[name])
            panel.set_xlim(0.8, deepest + 0.2)
            linear_axis(panel, "x", integer=True)
    return figure
