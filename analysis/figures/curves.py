"""Curves of loss, accuracy and collapse over training.

One line per configuration: the median over the trainings that differ in their seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import KEY_HEIGHT, Colours
from analysis.figures.drawing import STYLE, Lines, finish, label, panels
from analysis.reading.groups import medians
from analysis.reading.table import ZERO_ERROR, Roles

EPOCHS = (0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)  # ticks of a long training
LONG = 30  # epochs beyond which the first ones would be squeezed: logarithmic from 1


def collapse_curves(
    rows: pl.DataFrame,
    roles: Roles,
    columns: Sequence[str],
    *,
    colour: str | None,
    floor: float | None,
) -> Figure:
    """Columns over the checkpoints, a line per configuration in the colour of an axis.

    A star marks the first checkpoint at or after zero training error, a dashed line the least
    possible loss, where all trainings share one.
    """
    order = roles.order
    assert order is not None
    marked = ZERO_ERROR in rows.columns and rows[ZERO_ERROR].dtype.is_numeric()
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour)
        figure, axes = panels(
            len(columns), above=KEY_HEIGHT if colours else 0.1, titled=0.27, gap=0.6
        )
        measured = [*columns, *([ZERO_ERROR] if marked else [])]
        drawn, stars = [Lines() for _ in columns], [Lines() for _ in columns]
        for settings, part in medians(rows, roles.axes, order, measured):
            hue = colours.of([settings.get(colours.axis or "")])[0]
            start = part[ZERO_ERROR].min() if marked else None
            after = part.clear() if start is None else part.filter(pl.col(order) >= start).head(1)
            for place, name in enumerate(columns):
                drawn[place].add(part[order], part[name], hue)
                stars[place].add(after[order], after[name], hue)
        for place, axis in enumerate(axes):
            drawn[place].draw(axis)
            stars[place].draw(axis, width=0, size=80, marker="*")
        longest = rows[order].cast(pl.Float64).max()
        for axis, name in zip(axes, columns, strict=True):
            if name in ("val_loss", "train_loss") and floor is not None:
                axis.axhline(floor, color="#333333", linewidth=0.8, linestyle="--")
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
