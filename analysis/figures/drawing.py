"""What all figures share: their style, panels, labels, points and lines.

Drawn with matplotlib's object interface (no global state). An svg has no background, so that the
page may show it on its own; files on disk have a white one.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from analysis.figures.ticks import log_axis, spans_decades

RASTER_ABOVE = 2_000
"""Points of a panel; more become a picture, whose labels stay text."""
MOST_ELEMENTS = 20_000
"""Points of a figure, each an element of an svg; of more, all panels become pictures."""
LETTER = 0.068  # inches of a letter of the name of a row
LONGEST_NAME = 50  # letters of it in a line
STYLE: Any = {
    "svg.hashsalt": "collapse-study",  # the same numbers give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.0,
    # A place of its own: to look for what lies above the axes takes a tenth of the time of a
    # figure.
    "axes.titley": 1.0,
    "axes.labelsize": 9.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
UNITS = {
    "val_loss": "val_loss (nats per sample)",
    "train_loss": "train_loss (nats per sample)",
    "val_loss_above_floor": "val_loss_above_floor (nats per sample)",
    "generalization_gap": "generalization_gap (nats per sample)",
    "val_accuracy": "val_accuracy (share)",
    "train_accuracy": "train_accuracy (share)",
    "nc4_agreement": "nc4_agreement (share)",
    "nc4_agreement_train": "nc4_agreement_train (share)",
    "nc2_log_norm_mean": "nc2_log_norm_mean (log)",
    "epoch": "epoch (completed)",
    "bits_per_weight": "bits per weight",
    "data_train_tokens": "data_train_tokens (tokens)",
}
FORMATS = ("svg", "png", "pdf")


def label(column: str) -> str:
    """Axis label of a column, with its unit where it has one."""
    return UNITS.get(column, column)


def panels(
    count: int,
    ylabel: str = "",
    *,
    above: float = 0.1,
    titled: float = 0.4,
    gap: float = 0.22,
    high: float = 1.75,
    wide: float | None = None,
    beside: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, four across; sizes in inches.

    `above` is free at the top, `titled` over each panel, `beside` at the right. A panel is `wide`
    across, or a quarter of the page.

    With a `ylabel` the panels share their y axis by `share_y`, and `gap` may be small. Fixed sizes,
    not a layout engine: that takes seconds for forty panels.
    """
    across, down = min(4, max(count, 1)), max(1, math.ceil(count / 4))
    left, right, bottom = 0.75, 0.15, 0.5
    wide = wide or (9.2 - 3 * gap) / 4
    width = left + across * wide + (across - 1) * gap + right + beside
    height = above + down * (titled + high + bottom)
    figure = Figure(figsize=(width, height))
    axes: list[Axes] = []
    for place in range(count):
        row, column = divmod(place, across)
        x = left + column * (wide + gap)
        y = height - above - titled - high - row * (high + titled + bottom)
        axis = figure.add_axes((x / width, y / height, wide / width, high / height))
        if ylabel:
            axis.tick_params(labelleft=column == 0)
            axis.set_ylabel(ylabel if column == 0 else "")
        axes.append(axis)
    return figure, axes


def share_y(axes: list[Axes]) -> None:
    """The same y limits for all panels.

    Linked axes would ask each other at every change: quadratic in the panels.
    """
    limits = [axis.get_ylim() for axis in axes if axis.has_data()]
    if limits:
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        for axis in axes:
            axis.set_ylim(low, high)


def finish(axis: Axes, values: pl.Series, name: str) -> None:
    """Scale and label of a y axis that is this column's own."""
    known = values.drop_nulls().to_numpy()
    if spans_decades(known):
        log_axis(axis, "y", known)
    else:
        axis.locator_params(axis="y", nbins=5)
    axis.set_title(label(name), loc="left", pad=3)


def dots(
    axis: Axes,
    points: np.ndarray[Any, Any],
    colours: Sequence[Any],
    *,
    size: float = 16.0,
    marker: str = "o",
    hollow: bool = False,
) -> None:
    """Points (n, 2), one artist for each colour.

    That is less work, in an svg above all, than a style for each point.

    `size` is the area of a point, as for `Axes.scatter`.
    """
    places: dict[Any, list[int]] = {}
    for place, colour in enumerate(colours):
        same = colour if isinstance(colour, str) else tuple(colour)
        places.setdefault(same, []).append(place)
    for colour, chosen in places.items():
        axis.plot(
            points[chosen, 0],
            points[chosen, 1],
            linestyle="",
            marker=marker,
            markersize=math.sqrt(size),
            markerfacecolor="none" if hollow else colour,
            markeredgecolor=colour,
            markeredgewidth=1.0 if hollow else 0.0,
            alpha=0.85,
            rasterized=len(points) > RASTER_ABOVE,
        )


def raster_dense(figure: Figure) -> None:
    """Make pictures of the points of a figure that has more than `MOST_ELEMENTS`."""
    points: dict[Artist, int] = {}
    for axis in figure.axes:
        marked = (line for line in axis.lines if line.get_marker() != "None")
        points |= {line: np.size(line.get_xdata()) for line in marked}
        scattered = (each for each in axis.collections if isinstance(each, PathCollection))
        points |= {each: np.shape(each.get_offsets())[0] for each in scattered}
    if sum(points.values()) > MOST_ELEMENTS:
        for artist in points:
            artist.set_rasterized(True)


class Lines:
    """Lines with points, gathered for a panel and drawn as two artists.

    Hundreds of lines cost as little as one.
    """

    def __init__(self) -> None:
        self._paths: list[Any] = []
        self._colours: list[Any] = []

    def add(self, x: pl.Series, y: pl.Series, colour: Any) -> None:
        """A line; pairs with a null are left out."""
        points = np.column_stack([x.cast(pl.Float64).to_numpy(), y.cast(pl.Float64).to_numpy()])
        points = points[~np.isnan(points).any(axis=1)]
        if len(points):
            self._paths.append(points)
            self._colours.append(colour)

    def draw(
        self,
        axis: Axes,
        *,
        width: float = 1.1,
        size: float = 9.0,
        marker: str = "o",
        hollow: bool = False,
    ) -> None:
        """Lines unless `width` is 0, points unless `size` is 0."""
        if not self._paths:
            return
        if width:
            axis.add_collection(
                LineCollection(self._paths, colors=self._colours, linewidths=width, alpha=0.85)
            )
        points = np.concatenate(self._paths)
        if size:
            colours = [
                colour
                for colour, path in zip(self._colours, self._paths, strict=True)
                for _ in path
            ]
            dots(axis, points, colours, size=size, marker=marker, hollow=hollow)
        axis.update_datalim(points)
        axis.autoscale_view()


def rows_of(names: list[str], *, wide: float, below: float) -> tuple[Figure, Axes]:
    """A figure with a labelled, banded row for each name.

    Its one axes is `wide` inches across, with `below` inches under it.
    """
    figure, (axis,) = columns_of_rows(names, 1, wide=wide, above=0.15, below=below)
    return figure, axis


def columns_of_rows(
    names: list[str], columns: int, *, wide: float, above: float, below: float, high: float = 0.3
) -> tuple[Figure, list[Axes]]:
    """A figure with a labelled, banded row for each name, in axes side by side.

    Each of the `columns` axes is `wide` inches across, each row `high`.

    `above` and `below` are the inches over and under the rows. Names have as much room as the
    longest needs, and are broken after `LONGEST_NAME` letters.
    """
    names = [textwrap.fill(name, LONGEST_NAME) for name in names]
    longest = max(len(line) for name in names for line in name.splitlines() or [""])
    left, gap, high = max(2.3, LETTER * longest + 0.2), 0.15, high * len(names)
    width, height = left + columns * (wide + gap) + 0.05, above + high + below
    figure = Figure(figsize=(width, height))
    axes = []
    for column in range(columns):
        x = left + column * (wide + gap)
        axis = figure.add_axes((x / width, below / height, wide / width, high / height))
        for row in range(1, len(names), 2):
            axis.axhspan(row - 0.5, row + 0.5, color="#000000", alpha=0.05, linewidth=0)
        axis.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
        axis.set_ylim(len(names) - 0.5, -0.5)
        axes.append(axis)
    return figure, axes
