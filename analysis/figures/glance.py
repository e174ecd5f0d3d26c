"""Estimates with their intervals, one row each, narrow enough for a phone."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import STYLE
from analysis.figures.precision import both_signs

WIDTH = 4.4  # inches, so that letters are legible on a screen of 390 px
LETTER = 0.062  # inches of a letter of a label
BROKEN = 26  # letters of a label in a line
ROW = 0.3  # inches, of a label in one line
ABOVE, BELOW = 0.12, 0.42  # inches over and under the rows
LINE = 0.15  # inches of a further line under them
SPREAD = 30.0  # ratio of sizes from which a logarithmic axis shows more


def rows_with_intervals(lines: pl.DataFrame, *, xlabel: str, whole: bool = False) -> Figure:
    """A row a line of the columns label, estimate, low, high and solid (a filled dot).

    The axis of correlations is `whole`, -1 to 1; that of changes is logarithmic in both directions
    where their sizes differ by more than `SPREAD`.
    """
    labels = [textwrap.fill(label, BROKEN) for label in lines["label"]]
    longest = max(len(part) for label in labels for part in label.splitlines() or [""])
    below = BELOW + LINE * xlabel.count("\n")
    left, height = LETTER * longest + 0.15, ABOVE + ROW * len(labels) + below
    wide = WIDTH - left - 0.15
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axis = figure.add_axes(
            (left / WIDTH, below / height, wide / WIDTH, ROW * len(labels) / height)
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
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel(xlabel, fontsize=8)
        if whole:
            axis.set_xlim(-1.05, 1.05)
            axis.set_xticks([-1, -0.5, 0, 0.5, 1])
        else:
            _of_changes(axis, lines, wide)
    return figure


def _of_changes(axis: mpl.axes.Axes, lines: pl.DataFrame, wide: float) -> None:
    sizes = np.abs(lines["estimate"].to_numpy())
    sizes = sizes[sizes > 0]
    if len(sizes) and sizes.max() > SPREAD * sizes.min():
        values = [
            value for name in ("estimate", "low", "high") for value in lines[name].drop_nulls()
        ]
        both_signs(axis, values, float(sizes.min()), wide)
    else:
        axis.locator_params(axis="x", nbins=4)
