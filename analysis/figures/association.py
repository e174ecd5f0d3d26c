"""Figures of associations: the response against each metric."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import KEY_HEIGHT, Colours
from analysis.figures.drawing import STYLE, dots, label, panels, share_y
from analysis.figures.ticks import log_axis, plain_ticks, spans_decades
from analysis.reading.table import Roles


def scatter(
    rows: pl.DataFrame,
    roles: Roles,
    lines: pl.DataFrame,
    metrics: Sequence[str],
    *,
    colour: str | None,
) -> Figure:
    """The response against each metric, one panel each.

    A panel is titled with R^2 and r of `lines`.

    Colours are an axis of the grid, normally a size. A metric whose line has no r is left out;
    one with heavy tails has a logarithmic axis.
    """
    known = {line["metric"]: line for line in lines.to_dicts() if line["estimate"] is not None}
    shown = [name for name in metrics if name in known]
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour)
        figure, axes = panels(
            len(shown), label(roles.response), above=KEY_HEIGHT if colours else 0.1
        )
        for axis, name in zip(axes, shown, strict=True):
            complete = rows.drop_nulls([name, roles.response])
            values = complete[colours.axis].to_list() if colours.axis else [None] * len(complete)
            dots(axis, complete.select(name, roles.response).to_numpy(), colours.of(values))
            line, numbers = known[name], complete[name].to_numpy()
            heavy = roles.metrics[name].heavy_tailed and numbers.min() > 0
            if heavy and spans_decades(numbers, 5):
                log_axis(axis, "x", numbers)
            else:
                plain_ticks(axis)
            title = f"R² {line['r2']:.3f}, r {line['estimate']:+.2f}, n {line['n']}"
            axis.set_title(title.replace("-", "−"))
            axis.set_xlabel(label(name))
        share_y(axes)
        colours.key(figure)
    return figure
