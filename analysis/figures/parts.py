"""Where rows of panels lie; a figure higher than a page is in parts of whole rows."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.sheets import Picture, picture, sheet


def placed(
    width: float, top: float, heights: Sequence[float], below: float = 0.0
) -> tuple[Picture, list[tuple[Picture, float]]]:
    """The figure of the sheet's part, and the figure and top (inches) of each row.

    Rows of other parts lie on a figure of their own, which nobody sees: what draws panels need not
    know of parts. `top` are the inches of the key, `below` those under the last row.
    """
    parts = rows_of_parts(heights, top + below)
    shown = parts[sheet().part]
    figure = picture(width, top + sum(heights[at] for at in shown) + below)
    figure.parts = len(parts)
    aside = figure if len(parts) == 1 else picture(width, top + sum(heights) + below)
    return figure, [
        (figure, top + sum(heights[shown.start : row]))
        if row in shown
        else (aside, top + sum(heights[:row]))
        for row in range(len(heights))
    ]


def axes_at(figure: Figure, top: float, box: tuple[float, float, float, float]) -> Axes:
    """Axes in a row whose top is known; their box in inches.

    The `box` is their left, distance from the top of the row, width and height.
    """
    width, height = figure.get_size_inches()
    left, under, wide, high = box
    bottom = height - top - under - high
    return figure.add_axes((left / width, bottom / height, wide / width, high / height))


def rows_of_parts(heights: Sequence[float], above: float) -> list[range]:
    """Which rows of panels each part of a figure has.

    A part has as many as are not too high together. `above` are the inches of the key, which every
    part has. A row that is too high by itself is a part of its own.
    """
    parts: list[range] = []
    first = 0
    for row in range(len(heights)):
        if row > first and above + sum(heights[first : row + 1]) > sheet().highest:
            parts.append(range(first, row))
            first = row
    return [*parts, range(first, len(heights))]
