"""Names of points in a panel, as many as can be read."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from analysis.figures.lettering import INCH, height_of, width_of
from analysis.figures.sheets import sheet


def name_points(axis: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """A name beside each point that has room for it.

    It has none where it would touch another name or leave the panel.

    The limits of the axes are set before.
    """
    size, (width, height) = sheet().size - 1, axis.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    box = axis.get_position()
    inside = (axis.transScale + axis.transLimits).transform(points)
    taken: list[tuple[float, float, float, float]] = []
    for (across, up), point, name in zip(inside, points, names, strict=True):
        wide, high = width_of(name, size) + 0.02, height_of(name, size)
        x, y = float(across * box.width * width), float(up * box.height * height)
        for right, top in ((True, True), (True, False), (False, True), (False, False)):
            left = x + 0.05 if right else x - 0.05 - wide
            bottom = y + 0.03 if top else y - 0.03 - high
            frame = (left, bottom, left + wide, bottom + high)
            within = left >= 0 and bottom >= 0 and frame[2] <= box.width * width
            if within and frame[3] <= box.height * height and not _touches(frame, taken):
                taken.append(frame)
                axis.annotate(
                    name,
                    point,
                    xytext=((left - x) * INCH, (bottom - y) * INCH),
                    textcoords="offset points",
                    fontsize=size,
                    va="bottom",
                )
                break


def _touches(
    frame: tuple[float, float, float, float], others: Sequence[tuple[float, float, float, float]]
) -> bool:
    left, bottom, right, top = frame
    return any(left < r and lx < right and bottom < t and b < top for lx, b, r, t in others)
