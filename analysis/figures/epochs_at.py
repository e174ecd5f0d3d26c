"""The time scales of training: when it fits, generalizes and collapses."""

from __future__ import annotations

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import STYLE, dots, rows_of
from analysis.figures.ticks import log_axis, spans_decades

BELOW = 0.75  # inches under the rows: ticks, label and legend


def time_scales(lines: pl.DataFrame, trainings: pl.DataFrame, fitted: str) -> Figure:
    """A row for each event: epochs of trainings, and their mean with its interval.

    Args:
        lines: of the table of epochs, those with an epoch.
        trainings: the epochs of single trainings.
        fitted: the event whose mean stands as a line through all rows.
    """
    names = [
        fitted if line["event"] == fitted else f"{line['metric']}, {line['event']}"
        for line in lines.to_dicts()
    ]
    points = trainings.join(
        lines.select("metric", "event").with_row_index("row"), on=["metric", "event"], how="inner"
    ).drop_nulls("epoch")
    with mpl.rc_context(STYLE):
        figure, axis = rows_of(names, wide=5.2, below=BELOW)
        epochs = points["epoch"].to_numpy()
        logged = spans_decades(epochs)
        least = epochs.min() / 1.3 if logged else 0.0
        scattered = points.select("epoch", pl.col("row").cast(pl.Float64)).to_numpy()
        dots(axis, scattered, [OKABE_ITO[5]] * len(scattered), size=14.0, hollow=True)
        for row, line in enumerate(lines.to_dicts()):
            colour = OKABE_ITO[1 if line["event"] == fitted else 0]
            if line["low"] is not None:
                ends = [max(line["low"], least), line["high"]]
                axis.plot(ends, [row, row], color=colour, linewidth=1.6)
            axis.plot(line["epoch"], row, marker="D", markersize=4.5, color=colour)
            if line["event"] == fitted:
                axis.axvline(line["epoch"], color=colour, linewidth=0.8, linestyle="--")
        if logged:
            log_axis(axis, "x", epochs)
            axis.set_xlim(least, epochs.max() * 1.3)
        axis.set_xlabel("epoch (completed)")
        handles = [
            Line2D([], [], linestyle="", marker="o", markerfacecolor="none", color=OKABE_ITO[5]),
            Line2D([], [], marker="D", markersize=4.5, color=OKABE_ITO[0]),
            Line2D([], [], linestyle="--", linewidth=0.8, color=OKABE_ITO[1]),
        ][: 2 + bool((lines["event"] == fitted).any())]
        figure.legend(
            handles,
            ["a training", "mean and 95% interval", fitted][: len(handles)],
            loc="lower right",
            ncols=3,
            frameon=False,
            fontsize=8,
            borderaxespad=0.1,
        )
    return figure
