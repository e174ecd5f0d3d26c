"""Figures of single classes: their frequencies, and metrics against these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import RASTER_ABOVE, Lines, panels, scale_y
from analysis.figures.key import Entry, Group
from analysis.figures.sheets import PAGE, sheet, styled
from analysis.figures.ticks import linear_axis, log_axis, spans_decades
from analysis.reading.table import DataSet
from study.columns import label

NAMED = len(OKABE_ITO)  # data sets that get a line of the legend
DOTTED = 100  # classes up to which each is a dot


def frequencies(data: Sequence[DataSet]) -> Figure:
    """Samples of each class by its rank, on logarithmic scales.

    Figure 4 of Wu & Papyan 2024; classes without samples are left out.

    A line per data set; those of more than `NAMED` share one colour.
    """
    shown = [
        (each.name, each.classes["samples"].to_numpy()) for each in data if each.classes is not None
    ]
    named = 1 < len(shown) <= NAMED
    entries = [
        Entry(name, colour, dash="-")
        for (name, _), colour in zip(shown if named else [], OKABE_ITO, strict=False)
    ]
    with styled():
        key = [Group("", entries)]
        figure, (axis,) = panels(
            1,
            "samples of the class",
            xlabels="rank of the class",
            key=key,
            wide=3.5 if sheet() == PAGE else None,
            across=1,
        )
        for place, (_, samples) in enumerate(shown):
            line, counts = Lines(), np.sort(samples[samples > 0])[::-1]
            line.add(
                pl.Series(np.arange(1, len(counts) + 1)),
                pl.Series(counts),
                OKABE_ITO[place if named else 0],
            )
            line.draw(axis, size=9.0 if len(counts) <= DOTTED else 0.0)
        every = np.concatenate([samples[samples > 0] for _, samples in shown])
        log_axis(axis, "x", [1, max(int(np.count_nonzero(samples)) for _, samples in shown)])
        if spans_decades(every, 2):
            log_axis(axis, "y", every)
        else:  # balanced, or nearly so
            axis.set_ylim(0, 1.1 * every.max())
            linear_axis(axis, "y")
    return figure


def by_frequency(classes: pl.DataFrame, columns: Sequence[str]) -> Figure:
    """Columns of a table of classes against the samples of the class, a point each."""
    with styled():
        figure, axes = panels(
            len(columns),
            titles=[label(name) for name in columns],
            xlabels="samples of the class",
        )
        for axis, name in zip(axes, columns, strict=True):
            known = classes.drop_nulls(name)
            axis.plot(
                known["count"],
                known[name],
                linestyle="",
                marker="o",
                markersize=3,
                markeredgewidth=0,
                alpha=0.6,
                color=OKABE_ITO[0],
                rasterized=len(known) > RASTER_ABOVE,
            )
            if spans_decades(known["count"].to_numpy(), 2):
                log_axis(axis, "x", known["count"].to_numpy())
            else:
                linear_axis(axis, "x")
            scale_y(axis, known[name])
    return figure
