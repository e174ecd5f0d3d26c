"""The figure of a dose: what goes with the levels of an intervention."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import RASTER_ABOVE, STYLE, label, panels
from analysis.figures.ticks import log_axis, spans_decades
from analysis.findings.blocks import Blocks, Response
from analysis.findings.dose_response import level_means
from analysis.findings.interventions import shown_level
from analysis.statistics.linear import Floats

PAIRED = "#777777"
LONGEST_TICKS = 24  # letters of all levels that stand side by side


def dose_figure(blocks: Blocks, responses: Sequence[Response]) -> Figure:
    """A panel a response: means over blocks with their intervals, and a line a block.

    Levels stand side by side in equal steps, as the trend test ranks them.
    """
    names = [shown_level(level) for level in blocks.levels]
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(responses), titled=0.3, gap=0.62)
        for axis, response in zip(axes, responses, strict=True):
            values = blocks.values[response]
            values = 10**values if response.log10 else values
            _lines(axis, values[np.isfinite(values).sum(axis=1) > 1])
            _means(axis, blocks, response)
            _dress(axis, values[np.isfinite(values)], response)
            crowded = sum(map(len, names)) > LONGEST_TICKS
            axis.set_xticks(
                range(len(names)),
                names,
                rotation=30 if crowded else 0,
                ha="right" if crowded else "center",
            )
            axis.set_xlim(-0.35, len(names) - 0.65)
            axis.set_xlabel(blocks.intervention.name)
    return figure


def _lines(axis: Axes, values: Floats) -> None:
    """A light line a block through the levels that it has."""
    paths = [
        np.column_stack([np.flatnonzero(known), row[known]])
        for row, known in zip(values, np.isfinite(values), strict=True)
    ]
    axis.add_collection(
        LineCollection(
            paths,
            colors=PAIRED,
            linewidths=0.6,
            alpha=0.35,
            rasterized=values.size > RASTER_ABOVE,
        )
    )
    if paths:
        axis.update_datalim(np.concatenate(paths))
        axis.autoscale_view()


def _means(axis: Axes, blocks: Blocks, response: Response) -> None:
    lines = level_means(blocks, response)
    means = [line.mean for line in lines if line.mean is not None]
    axis.plot(range(len(means)), means, "-o", color=OKABE_ITO[0], linewidth=1.6, markersize=4.5)
    for at, line in enumerate(lines):
        if line.low is not None and line.high is not None:
            axis.plot([at, at], [line.low, line.high], color=OKABE_ITO[0], linewidth=1.6)


def _dress(axis: Axes, values: Floats, response: Response) -> None:
    """Scale and heading of a panel."""
    if response.log10 and spans_decades(values):
        log_axis(axis, "y", values)
    else:
        axis.locator_params(axis="y", nbins=5)
    heading = label(response.metric)
    if response.precision is not None:
        heading = f"{response.metric} at {response.precision}"
    axis.set_title(heading, loc="left", pad=3)
