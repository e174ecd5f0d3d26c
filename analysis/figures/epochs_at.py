"""The time scales of training: when it fits, generalizes and collapses."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import dots, rows_of
from analysis.figures.key import Entry, Group
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis, log_axis, spans_decades
from study.columns import label


def time_scales(lines: pl.DataFrame, trainings: pl.DataFrame, fitted: str) -> Figure:
    """A row for each event: epochs of trainings, and their mean with its interval.

    Args:
        lines: of the table of epochs, those with an epoch.
        trainings: the epochs of single trainings.
        fitted: the event whose mean stands as a line through all rows.
    """
    names = [
        fitted if line["event"] == fitted else f"{label(line['metric'])}, {line['event']}"
        for line in lines.to_dicts()
    ]
    points = trainings.join(
        lines.select("metric", "event").with_row_index("row"), on=["metric", "event"], how="inner"
    ).drop_nulls("epoch")
    entries = [
        Entry("a training", OKABE_ITO[5], "o", hollow=True, size=3.7),
        Entry("mean and 95% interval", OKABE_ITO[0], "D", "-", size=4.5),
        Entry(fitted, OKABE_ITO[1], dash="--"),
    ][: 2 + bool((lines["event"] == fitted).any())]
    with styled():
        key = [Group("", entries)]
        figure, axis = rows_of(names, wide=5.2, xlabel=label("epoch"), key=key)
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
        else:
            linear_axis(axis, "x")
    return figure
