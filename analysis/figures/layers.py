"""The depth profile: each metric from the first block to the input of the head."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import KEY_HEIGHT, Colours
from analysis.figures.drawing import STYLE, Lines, finish, panels
from analysis.reading.groups import medians
from analysis.reading.table import Roles


def depth_profile(
    rows: pl.DataFrame, roles: Roles, columns: Sequence[str], *, colour: str | None
) -> Figure:
    """Each metric against the place of the layer, a line per configuration.

    A line joins medians over seeds.
    """
    deepest = int(str(rows["place"].max()))
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour)
        figure, axes = panels(
            len(columns), above=KEY_HEIGHT if colours else 0.1, titled=0.27, gap=0.6
        )
        drawn = [Lines() for _ in columns]
        for settings, part in medians(rows, roles.axes, "place", columns):
            hue = colours.of([settings.get(colours.axis or "")])[0]
            for lines, name in zip(drawn, columns, strict=True):
                lines.add(part["place"], part[name], hue)
        for axis, lines, name in zip(axes, drawn, columns, strict=True):
            lines.draw(axis)
            finish(axis, rows[name], name)
            axis.set_xlabel("layer (last: input of the head)")
            axis.set_xlim(0.8, deepest + 0.2)
            axis.locator_params(axis="x", nbins=min(deepest, 6), integer=True)
        colours.key(figure)
    return figure
