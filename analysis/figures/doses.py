"""The figure of a dose: what goes with the levels of an intervention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import RASTER_ABOVE, panels
from analysis.figures.key import Entry, Group
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis, log_axis, spans_decades
from analysis.findings.blocks import Blocks, Response
from analysis.findings.dose_response import level_means
from analysis.findings.interventions import shown_level
from analysis.statistics.linear import Floats
from study.columns import label

PAIRED = "#777777"
MEANING = (
    Entry("a block", PAIRED, dash="-"),
    Entry("mean and 95% interval", OKABE_ITO[0], "o", "-"),
)


def dose_figure(blocks: Blocks, responses: Sequence[Response]) -> Figure:
    """A panel a response: means over blocks with their intervals, and a line a block.

    Levels stand side by side in equal steps, as the trend test ranks them.
    """
    names = [shown_level(level) for level in blocks.levels]
    with styled():
        key = [Group("", MEANING)]
        figure, axes = panels(
            len(responses),
            titles=[_heading(response) for response in responses],
            xlabels=label(blocks.intervention.axis),
            key=key,
            levels=names,
        )
        for axis, response in zip(axes, responses, strict=True):
            values = blocks.values[response]
            values = 10**values if response.log10 else values
            _lines(axis, values[np.isfinite(values).sum(axis=1) > 1])
            _means(axis, blocks, response)
            known = values[np.isfinite(values)]
            if response.log10 and spans_decades(known):
                log_axis(axis, "y", known)
            else:
                linear_axis(axis, "y")
            axis.set_xlim(-0.35, len(names) - 0.65)
    return figure


def _heading(response: Response) -> str:
    if response.precision is None:
        return label(response.metric)
    return f"{label(response.metric)} at {response.precision}"


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
