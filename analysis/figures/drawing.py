"""What all figures share: panels, rows, labels, points and lines.

An svg has no background, so that the page may show it on its own; files on disk have a white one.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures.key import Bar, Group, Key
from analysis.figures.lettering import INCH, LEADING, height_of, width_of, wrapped
from analysis.figures.parts import axes_at, placed
from analysis.figures.sheets import PAGE, Picture, sheet
from analysis.figures.ticks import linear_axis, log_axis, spans_decades

RASTER_ABOVE = 2_000
"""Points of a panel; more become a picture, whose labels stay text."""
MOST_ELEMENTS = 20_000
"""Points of a figure, each an element of an svg; of more, all panels become pictures."""
PAD = 5.0  # points between a panel and its title, so that the letter clears the topmost tick label
RIGHT = 0.17  # inches beside the last panel, which half a tick label needs
TICKS = 0.27  # inches under a panel for its tick labels
LETTERED = 0.2  # inches left of a panel for its letter
NARROWEST = 0.8  # inches of a panel of rows, else panels stand below each other
DENSE = 12  # rows from which they stand closer and have smaller letters
SMALL = 6.5  # points of these
LONGEST_NAME = 3.4  # inches of the name of a row in a line, on the page
FORMATS = ("svg", "png", "pdf")


def panels(
    count: int,
    ylabel: str = "",
    *,
    titles: Sequence[str] = (),
    xlabels: str | Sequence[str] = "",
    key: Sequence[Group | Bar] = (),
    wide: float | None = None,
    high: float | None = None,
    across: int | None = None,
    levels: Sequence[str] = (),
) -> tuple[Picture, list[Axes]]:
    """A figure of `count` panels in rows; sizes in inches.

    As many panels stand `across` as the sheet has room for, unless fewer are asked for. `titles`
    and `xlabels` (one each, or one text for all) are broken to the width of their panel, and every
    row is as high as its texts need. The `key` stands at the top. Ticks are the `levels`, if there
    are any, in equal steps from 0 on. Several panels have letters.

    With a `ylabel` the panels share their y axis by `share_y`. Fixed sizes, not a layout engine:
    that takes seconds for forty panels.
    """
    size, page = sheet().size, sheet() == PAGE
    columns = across or sheet().across
    across = min(columns, max(count, 1))
    gap = (0.36 if ylabel else 0.7) * size / PAGE.size
    left = (0.74 if ylabel else 0.68) * size / PAGE.size
    columns = across if not page else 2 if columns > 1 and count == 1 else across

    def share(left: float) -> float:
        """Inches of a panel where so many are left of the first."""
        return (sheet().width - left - RIGHT - (columns - 1) * gap) / columns

    high = high or min(max(0.76 * (wide or share(left)), 0.95), 2.4)
    ylabel = wrapped(ylabel, high + 0.25, size)
    left += height_of(ylabel, size)
    wide = wide or share(left)
    titles = [wrapped(each, wide + min(gap - LETTERED, RIGHT) - 0.05, size) for each in titles]
    named = [xlabels] * count if isinstance(xlabels, str) else list(xlabels)
    named = [wrapped(each, wide + min(gap, 2 * RIGHT) - 0.1, size) for each in named]
    down = max(1, math.ceil(count / across))
    rows = [slice(row * across, (row + 1) * across) for row in range(down)]
    least = height_of("a", size) if count > 1 else 0.0  # of the letter
    over = [max(_tallest(titles[row], size), least) + (PAD + 3) / INCH for row in rows]
    turned = not _side_by_side(levels, wide, size)
    ticks = max(width_of(level, size) for level in levels) + 0.12 if turned else TICKS
    under = [ticks + _tallest(named[row], size) + 0.1 for row in rows]
    width = left + across * wide + (across - 1) * gap + RIGHT
    top = Key(key, width)
    heights = [above + high + below for above, below in zip(over, under, strict=True)]
    figure, places = placed(width, top.height, heights)
    axes: list[Axes] = []
    for place in range(count):
        row, column = divmod(place, across)
        x = left + column * (wide + gap)
        axis = axes_at(*places[row], (x, over[row], wide, high))
        if ylabel:
            axis.tick_params(labelleft=column == 0)
            axis.set_ylabel(ylabel if column == 0 else "")
        if titles:
            axis.set_title(titles[place], loc="left", pad=PAD)
        if levels:
            _name_levels(axis, levels, turned, len(levels) * LEADING * size / INCH / wide)
        if named[place]:
            axis.set_xlabel(named[place])
        if count > 1:
            letter(axis, place)
        axes.append(axis)
    top.draw(figure)
    return figure, axes


def _side_by_side(levels: Sequence[str], wide: float, size: float) -> bool:
    """Whether the names of levels have room beside each other in a panel."""
    step = wide / max(len(levels), 1)
    return all(width_of(level, size) + 0.03 <= step for level in levels)


def _name_levels(axis: Axes, levels: Sequence[str], turned: bool, crowding: float) -> None:
    """Ticks at 0, 1, ... with names; every so many-th where turned ones are too many."""
    shown = range(0, len(levels), max(1, math.ceil(crowding)) if turned else 1)
    axis.set_xticks(shown, [levels[at] for at in shown], rotation=90 if turned else 0)
    axis.set_xlim(-0.5, len(levels) - 0.5)


def _tallest(texts: Sequence[str], size: float) -> float:
    """Inches of the text with the most lines."""
    return max((height_of(text, size) for text in texts), default=0.0)


def letter(axis: Axes, place: int, *, left: float = 0.16) -> Text:
    """Name a panel a, b, ... z, aa, ... at its corner, `left` inches beside it."""
    round_, number = divmod(place, len(string.ascii_lowercase))
    name = (string.ascii_lowercase[round_ - 1] if round_ else "") + string.ascii_lowercase[number]
    return axis.annotate(
        name,
        (0, 1),
        xycoords="axes fraction",
        xytext=(-left * INCH, PAD),
        textcoords="offset points",
        ha="center",
        fontweight="bold",
        annotation_clip=False,
    )


def share_y(axes: list[Axes]) -> None:
    """The same y limits for all panels.

    Linked axes would ask each other at every change: quadratic in the panels.
    """
    limits = [axis.get_ylim() for axis in axes if axis.has_data()]
    if limits:
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        for axis in axes:
            axis.set_ylim(low, high)


def intervals(
    axis: Axes,
    x: Sequence[float],
    rows: pl.DataFrame,
    column: str,
    ends: tuple[str, str],
    look: Any,
) -> None:
    """A line through the estimates of rows, with their intervals.

    `look` is colour and marker. Where an end lacks, no bar stands on that side.
    """
    colour, marker = look
    y = rows[column].to_numpy()
    low, high = (rows[end].fill_null(rows[column]).to_numpy() for end in ends)
    axis.errorbar(
        x,
        y,
        yerr=[y - low, high - y],
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.0,
        capsize=2,
    )


def scale_y(axis: Axes, values: pl.Series) -> None:
    """Scale and ticks of a y axis that is this column's own."""
    known = values.drop_nulls().to_numpy()
    if spans_decades(known):
        log_axis(axis, "y", known)
    else:
        linear_axis(axis, "y")


def dots(
    axis: Axes,
    points: np.ndarray[Any, Any],
    colours: Sequence[Any],
    *,
    size: float = 16.0,
    marker: str | Sequence[str] = "o",
    hollow: bool = False,
) -> None:
    """Points (n, 2), one artist for each colour and marker.

    That is less work, in an svg above all, than a style for each point.

    `size` is the area of a point, as for `Axes.scatter`; `marker` that of all, or one each.
    """
    markers = [marker] * len(points) if isinstance(marker, str) else marker
    places: dict[Any, list[int]] = {}
    for place, (colour, shape) in enumerate(zip(colours, markers, strict=True)):
        same = colour if isinstance(colour, str) else tuple(colour)
        places.setdefault((same, shape), []).append(place)
    for (colour, shape), chosen in places.items():
        axis.plot(
            points[chosen, 0],
            points[chosen, 1],
            linestyle="",
            marker=shape,
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
    """Lines with points, gathered for a panel and drawn as a few artists.

    Hundreds of lines cost as little as one.
    """

    def __init__(self) -> None:
        self._paths: list[Any] = []
        self._colours: list[Any] = []
        self._markers: list[str] = []
        self._dashes: list[Any] = []

    def add(
        self, x: pl.Series, y: pl.Series, colour: Any, *, marker: str = "o", dash: Any = "-"
    ) -> None:
        """A line; pairs with a null are left out."""
        points = np.column_stack([x.cast(pl.Float64).to_numpy(), y.cast(pl.Float64).to_numpy()])
        points = points[~np.isnan(points).any(axis=1)]
        if len(points):
            self._paths.append(points)
            self._colours.append(colour)
            self._markers.append(marker)
            self._dashes.append(dash)

    def draw(
        self,
        axis: Axes,
        *,
        width: float = 1.1,
        size: float = 9.0,
        marker: str | None = None,
        hollow: bool = False,
    ) -> None:
        """Lines unless `width` is 0, points unless `size` is 0; a `marker` is that of all."""
        if not self._paths:
            return
        if width:
            axis.add_collection(
                LineCollection(
                    self._paths,
                    colors=self._colours,
                    linestyles=self._dashes,
                    linewidths=width,
                    alpha=0.85,
                )
            )
        points = np.concatenate(self._paths)
        if size:
            colours = self._for_points(self._colours)
            markers = self._for_points(self._markers) if marker is None else marker
            dots(axis, points, colours, size=size, marker=markers, hollow=hollow)
        axis.update_datalim(points)
        axis.autoscale_view()

    def _for_points(self, of_lines: Sequence[Any]) -> list[Any]:
        """What each line has, for each of its points."""
        return [each for each, path in zip(of_lines, self._paths, strict=True) for _ in path]


def rows_of(
    names: Sequence[str], *, wide: float, xlabel: str = "", key: Sequence[Group | Bar] = ()
) -> tuple[Picture, Axes]:
    """A figure with a labelled, banded row for each name, in one axes."""
    figure, (axis,) = columns_of_rows(names, [""], wide=wide, xlabel=xlabel, key=key)
    return figure, axis


def columns_of_rows(
    names: Sequence[str],
    titles: Sequence[str],
    *,
    wide: float,
    xlabel: str = "",
    key: Sequence[Group | Bar] = (),
    high: float = 0.3,
) -> tuple[Picture, list[Axes]]:
    """A figure with a labelled, banded row for each name, and a panel for each title.

    Panels are `wide` inches across, or less where the sheet has less room; those that have none
    stand below the others, with the names again. The `key` stands at the top, the one `xlabel` at
    the bottom. Rows are `high`, or as their names need, which are broken to the room that they
    have.
    """
    size, count, page = sheet().size, len(titles), sheet() == PAGE
    small = size if page or len(names) < DENSE else SMALL
    names = [wrapped(name, min(LONGEST_NAME, 0.46 * sheet().width), small) for name in names]
    left = max(width_of(name, small) for name in names) + 0.2
    gap = 0.3
    room = sheet().width - left - RIGHT
    across = max(1, min(count, int((room + gap) / (NARROWEST + gap))))
    wide = min(wide, (room - (across - 1) * gap) / across)
    high *= small / PAGE.size
    high = sum(max(high, height_of(name, small) + 0.02) for name in names)
    titles = [wrapped(title, wide + gap - 0.3, size) for title in titles]
    width = left + across * wide + (across - 1) * gap + RIGHT
    xlabel = wrapped(xlabel, width - 0.2, size)
    down = math.ceil(count / across)
    over = _tallest(titles, size) + (PAD + 3) / INCH
    under = TICKS * size / PAGE.size + 0.1
    labelled = height_of(xlabel, size) + 0.06 if xlabel else 0.0
    top = Key(key, width)
    figure, places = placed(width, top.height, [over + high + under] * down, labelled)
    height = float(figure.get_size_inches()[1])
    axes = []
    for place in range(count):
        row, column = divmod(place, across)
        x = left + column * (wide + gap)
        axis = axes_at(*places[row], (x, over, wide, high))
        for band in range(1, len(names), 2):
            axis.axhspan(band - 0.5, band + 0.5, color="#000000", alpha=0.05, linewidth=0)
        axis.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_title(titles[place], loc="left", pad=PAD)
        axis.tick_params(axis="y", labelsize=small)
        if count > 1:
            letter(axis, place, left=0.1)
        axes.append(axis)
    if xlabel:
        begin, end = axes[0].get_position().x0, axes[across - 1].get_position().x1
        middle = min(max((begin + end) / 2, 0.5 * width_of(xlabel, size) / width), 1)
        middle = min(middle, 1 - 0.5 * width_of(xlabel, size) / width - 0.05 / width)
        figure.text(middle, 0.06 / height, xlabel, ha="center", va="bottom", linespacing=1.1)
    top.draw(figure)
    return figure, axes
