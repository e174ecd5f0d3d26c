"""Figures of single classes: their frequencies, and metrics against these."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import RASTER_ABOVE, STYLE, Lines, finish, panels
from analysis.figures.ticks import log_axis, spans_decades
from analysis.reading.table import DataSet

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
    with mpl.rc_context(STYLE):
        figure, (axis,) = panels(1, wide=3.5, high=2.4, titled=0.1, beside=4.0 if named else 0.0)
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
        axis.set_xlabel("rank of the class")
        axis.set_ylabel("samples of the class")
        if named:
            handles = [Line2D([], [], color=colour) for colour in OKABE_ITO[: len(shown)]]
            names = [name for name, _ in shown]
            axis.legend(handles, names, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


def by_frequency(classes: pl.DataFrame, columns: Sequence[str]) -> Figure:
    """Columns of a table of classes against the samples of the class, a point each."""
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(columns), titled=0.27, gap=0.6)
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
            axis.set_xlabel("samples of the class")
            finish(axis, known[name], name)
    return figure
