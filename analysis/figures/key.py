"""The key of a figure: what its colours, markers and lines mean, at its top.

It is laid out by the widths of its texts, so that its height is known before the panels are placed,
and nothing in it overlaps however many entries there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.lettering import INCH, width_of, wrapped
from analysis.figures.sheets import sheet
from analysis.figures.ticks import apart, log_ticks, plain

MARGIN = 0.08  # inches left, right and above
HANDLE = 0.26  # inches that the sample of an entry takes
AFTER = 0.14  # inches between entries
LINE = 1.55  # height of a line over the size of its letters
BAR = 2.2  # inches of a colour bar at most
MOST = 24  # entries of a group that are listed; of more the others are counted
FEW_TICKS = 8  # values of a bar up to which each is a tick


@dataclass(frozen=True)
class Entry:
    """A text with a sample of what it names: a marker, a line, or both."""

    text: str
    colour: Any = "#555555"
    marker: str = ""
    dash: Any = ""
    hollow: bool = False
    size: float = 5.0


@dataclass(frozen=True)
class Group:
    """Entries after a heading, either of which may be empty."""

    heading: str
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Bar:
    """A bar of colours after a heading, with ticks at a few `values`, or round ones."""

    heading: str
    norm: Normalize
    colours: Colormap
    values: Sequence[float] = ()


class Key:
    """Groups and bars in lines that are at most as wide as the figure, in inches."""

    def __init__(self, parts: Sequence[Group | Bar], width: float) -> None:
        self._size = sheet().size
        self._line = LINE * self._size / INCH
        self._width = width - MARGIN
        self._texts: list[tuple[float, float, str]] = []  # x, y from the top, text
        self._handles: list[tuple[float, float, Entry]] = []
        self._bars: list[tuple[float, float, Bar]] = []
        self._x, self._y = MARGIN, MARGIN
        for part in parts:
            if isinstance(part, Bar):
                self._place_bar(part)
            elif part.entries or part.heading:
                self._place_group(part)
        self.height = self._y + (self._line if self._x > MARGIN else 0.0)
        """Inches from the top of the figure that the key takes."""

    def draw(self, figure: Figure) -> None:
        """Put the key at the top of the figure, which is as high as it will be."""
        width, height = figure.get_size_inches()
        inches = figure.dpi_scale_trans
        for x, y, text in self._texts:
            figure.text(x, height - y, text, transform=inches, va="center", fontsize=self._size)
        for x, y, entry in self._handles:
            handle = Line2D(
                [x, x + HANDLE / 2, x + HANDLE],
                [height - y] * 3,
                transform=inches,
                color=entry.colour,
                linestyle=entry.dash or "none",
                linewidth=1.2,
                marker=entry.marker or "none",
                markevery=[1],
                markersize=entry.size,
                markerfacecolor="none" if entry.hollow else entry.colour,
            )
            figure.add_artist(handle)
        for x, y, bar in self._bars:
            long = min(BAR, self._width - x - 0.15)
            axis = figure.add_axes(
                (x / width, 1 - (y + 0.05) / height, long / width, 0.1 / height), label="key"
            )
            drawn = ScalarMappable(bar.norm, bar.colours)
            scale = figure.colorbar(drawn, cax=axis, orientation="horizontal")
            ticks = bar_ticks(bar)
            scale.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
            scale.minorticks_off()

    def _new_line(self) -> None:
        if self._x > MARGIN:
            self._x, self._y = MARGIN, self._y + self._line

    def _width_of(self, entry: Entry) -> float:
        return HANDLE + 0.05 + width_of(entry.text, self._size) + AFTER

    def _place_group(self, group: Group) -> None:
        entries = list(group.entries[:MOST])
        heading = width_of(group.heading, self._size) + AFTER if group.heading else 0.0
        widths = [self._width_of(entry) for entry in entries]
        if self._x + heading + sum(widths) > self._width:
            self._new_line()
        middle = self._line / 2
        if group.heading:
            self._texts.append((self._x, self._y + middle, group.heading))
            self._x += heading
        for entry, width in zip(entries, widths, strict=True):
            if self._x + width - AFTER > self._width:
                self._new_line()
            room = self._width - self._x - HANDLE - 0.05
            text = wrapped(entry.text, max(room, 1.0), self._size)
            lines = text.count("\n") + 1
            self._handles.append((self._x, self._y + middle * lines, entry))
            self._texts.append((self._x + HANDLE + 0.05, self._y + middle * lines, text))
            self._x += width
            if lines > 1:
                self._y += (lines - 1) * self._line
                self._new_line()
        if len(group.entries) > MOST:
            text = f"and {len(group.entries) - MOST} more"
            if self._x + width_of(text, self._size) > self._width:
                self._new_line()
            self._texts.append((self._x, self._y + middle, text))
            self._x += width_of(text, self._size) + AFTER
        self._x += AFTER

    def _place_bar(self, bar: Bar) -> None:
        self._new_line()
        text = wrapped(bar.heading, 0.4 * self._width, self._size)
        self._texts.append((MARGIN, self._y + 0.1, text))
        x = MARGIN + width_of(text, self._size) + 2 * AFTER
        self._bars.append((x, self._y + 0.1, bar))
        self._y += max(0.2 + self._line, (text.count("\n") + 1) * self._line) + 0.06


def bar_ticks(bar: Bar) -> list[float]:
    """The ticks of a bar whose labels have room: a few values, else round numbers."""
    log, (low, high) = isinstance(bar.norm, LogNorm), (bar.norm.vmin, bar.norm.vmax)
    assert low is not None and high is not None
    if 1 < len(bar.values) <= FEW_TICKS:
        return apart(list(bar.values), log=log)
    ticks = log_ticks(low, high, 4) if log else MaxNLocator(3).tick_values(low, high)
    inside = [float(tick) for tick in ticks if low <= tick <= high]
    return inside if len(inside) > 1 else [low, high]
