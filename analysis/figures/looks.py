"""How a line shows its settings: colour for one axis, style for the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.figures.colours import FEW, MARKERS, OKABE_ITO, SIZES, Colours
from analysis.figures.key import Bar, Entry, Group
from analysis.figures.ticks import plain
from study.columns import label

DASHES: tuple[Any, ...] = (
    "-",
    "--",
    ":",
    "-.",
    (0, (6, 1)),
    (0, (1, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (8, 3)),
)


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash of a line."""

    colour: Any
    marker: str
    dash: Any


class Looks:
    """Looks by the first two of `axes` that vary in `rows`, and their key.

    The first has the colour, the next of at most eight values the marker and the dash. Lines that
    differ in any other look alike, which the key says.
    """

    def __init__(self, rows: pl.DataFrame, axes: Sequence[str]) -> None:
        varying = [axis for axis in dict.fromkeys(axes) if rows[axis].n_unique() > 1]
        self.colours = Colours(rows, varying[0] if varying else None)
        styled = [axis for axis in varying[1:] if rows[axis].n_unique() <= len(MARKERS)]
        self.style = styled[0] if styled else None
        self.alike = [axis for axis in varying[1:] if axis != self.style]
        self._levels: list[Any] = (
            [] if self.style is None else rows[self.style].unique().sort(nulls_last=True).to_list()
        )

    def of(self, settings: Mapping[str, Any]) -> Look:
        """The look of a line by its settings, of which it may have more."""
        place = self._levels.index(settings[self.style]) if self.style else 0
        return Look(self.colours.of(settings.get(self.colours.axis or "")), *_style(place))

    def each(self, rows: pl.DataFrame) -> list[Look]:
        """The look of each row."""
        names = [name for name in (self.colours.axis, self.style) if name is not None]
        if not names:
            return [self.of({})] * len(rows)
        settings = rows.select(names).rows()
        # A colour of a scale takes a tenth of a millisecond, and rows share few settings.
        looks = {each: self.of(dict(zip(names, each, strict=True))) for each in set(settings)}
        return [looks[each] for each in settings]

    def key(self, *, lines: bool = True, markers: bool = True) -> list[Group | Bar]:
        """The parts of the key, of points, of the `lines` that join them, or of both."""
        parts: list[Group | Bar] = []
        colours = self.colours
        if colours.axis is not None and colours.norm is not None and len(colours.values) > FEW:
            values = [float(value) for value in colours.values]
            parts.append(Bar(label(colours.axis), colours.norm, SIZES, values))
        elif colours.axis is not None:
            marker, dash = ("", "-") if lines and self.style else ("o", "")
            parts.append(
                Group(
                    label(colours.axis),
                    [Entry(level_text(v), colours.of(v), marker, dash) for v in colours.values],
                )
            )
        if self.style is not None:
            entries = []
            for place, level in enumerate(self._levels):
                marker, dash = _style(place)
                entries.append(
                    Entry(
                        level_text(level),
                        marker=marker if markers else "",
                        dash=dash if lines else "",
                    )
                )
            parts.append(Group(label(self.style), entries))
        if self.alike:
            names = ", ".join(label(axis) for axis in self.alike)
            parts.append(Group(f"not told apart: {names}", ()))
        return parts


def looks_of_names(names: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """Colour and marker of each name by its place, 64 pairs before one comes again.

    Of precisions the names are all of the table, so that each looks the same in all figures.
    """
    colours, markers = len(OKABE_ITO), len(MARKERS)
    return {
        name: (OKABE_ITO[(at + at // colours) % colours], MARKERS[at % markers])
        for at, name in enumerate(names)
    }


def _style(place: int) -> tuple[str, Any]:
    return MARKERS[place], DASHES[place]


def level_text(value: Any) -> str:
    """A level of a setting as keys and titles write it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return plain(float(value))
    return "not given" if value is None else str(value)
