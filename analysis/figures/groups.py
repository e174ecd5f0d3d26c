"""Figures of groups of samples: their gaps by precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import RASTER_ABOVE, panels
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis
from study.columns import label

SPREAD = 0.3  # of the place of a precision over which its trainings lie side by side


def gaps_by_precision(values: Sequence[tuple[str, pl.DataFrame]], columns: Sequence[str]) -> Figure:
    """A panel a column: a dot a training at each precision, and their mean.

    `values` are rows, one a training, with the `columns`, by precision in the order of the axis.
    """
    names = [name for name, _ in values]
    with styled():
        figure, axes = panels(
            len(columns), titles=[label(column) for column in columns], levels=names
        )
        for axis, column in zip(axes, columns, strict=True):
            for place, (_, rows) in enumerate(values):
                known = rows[column].drop_nulls().to_numpy()
                offsets = np.linspace(-SPREAD, SPREAD, len(known)) if len(known) > 1 else [0.0]
                if not len(known):
                    continue
                axis.plot(
                    place + np.asarray(offsets),
                    known,
                    linestyle="",
                    marker="o",
                    markersize=3,
                    markeredgewidth=0,
                    alpha=0.5,
                    color=OKABE_ITO[0],
                    rasterized=len(known) > RASTER_ABOVE,
                )
                mean = float(known.mean())
                axis.plot([place - 0.35, place + 0.35], [mean, mean], color="#333333")
            axis.set_xlim(-0.6, len(names) - 0.4)
            linear_axis(axis, "y")
    return figure
