"""Estimates with their intervals, one row each, narrow enough for a phone."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.lettering import height_of, width_of, wrapped
from analysis.figures.sheets import picture, sheet, styled
from analysis.figures.ticks import linear_axis, signed_axis

WIDTH = 4.4  # inches, so that letters are legible on a screen of 390 px
SMALL = 8.0  # points of all letters
BROKEN = 1.7  # inches of a label in a line
ROW = 0.3  # inches, of a label in one line
ABOVE, BELOW = 0.12, 0.3  # inches over and under the rows, without the label of the axis
SPREAD = 30.0  # ratio of sizes from which a logarithmic axis shows more


def rows_with_intervals(lines: pl.DataFrame, *, xlabel: str, whole: bool = False) -> Figure:
    """A row a line of the columns label, estimate, low, high and solid (a filled dot).

    The axis of correlations is `whole`, -1 to 1; that of changes is logarithmic in both directions
    where their sizes differ by more than `SPREAD`.
    """
    width = min(WIDTH, sheet().width)
    labels = [wrapped(label, BROKEN, SMALL) for label in lines["label"]]
    left = max((width_of(label, SMALL) for label in labels), default=0.0) + 0.15
    xlabel = wrapped(xlabel, width - 0.3, SMALL)
    below, high = BELOW + height_of(xlabel, SMALL), ROW * len(labels)
    height = ABOVE + high + below
    with styled():
        figure = picture(width, height)
        axis = figure.add_axes(
            (left / width, below / height, (width - left - 0.15) / width, high / height)
        )
        for row, line in enumerate(lines.to_dicts()):
            if line["low"] is not None and line["high"] is not None:
                axis.plot(
                    [line["low"], line["high"]], [row, row], color=OKABE_ITO[0], linewidth=1.4
                )
            axis.plot(
                line["estimate"],
                row,
                marker="o",
                markersize=5,
                color=OKABE_ITO[0],
                markerfacecolor=OKABE_ITO[0] if line["solid"] else "white",
            )
        axis.axvline(0, color="#333333", linewidth=0.8)
        axis.set_yticks(range(len(labels)), labels)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        axis.tick_params(labelsize=SMALL)
        figure.text(0.5, 0.04 / height, xlabel, ha="center", va="bottom", fontsize=SMALL)
        if whole:
            axis.set_xlim(-1.05, 1.05)
            axis.set_xticks([-1, -0.5, 0, 0.5, 1])
        else:
            _of_changes(axis, lines)
    return figure


def _of_changes(axis: Axes, lines: pl.DataFrame) -> None:
    sizes = np.abs(lines["estimate"].to_numpy())
    sizes = sizes[sizes > 0]
    if len(sizes) and sizes.max() > SPREAD * sizes.min():
        values = [
            value for name in ("estimate", "low", "high") for value in lines[name].drop_nulls()
        ]
        signed_axis(axis, "x", values, float(sizes.min()))
    else:
        linear_axis(axis, "x")
