"""Whether the texts of a figure can be read: matplotlib's own extents after it is drawn."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

DPI = 200
SLACK = 1.0
"""Points that the boxes of two texts may share: they reach beyond the letters."""


def overlaps(figure: Figure) -> list[str]:
    """Pairs of texts whose boxes overlap, and texts that leave the canvas, in words.

    All texts count: titles, labels of axes and ticks, keys, legends, annotations.
    """
    canvas, dpi = FigureCanvasAgg(figure), figure.dpi
    figure.set_dpi(DPI)
    try:
        canvas.draw()
        boxes = [(text, text.get_window_extent()) for text in _texts(figure)]
        page, slack = figure.bbox.frozen(), SLACK * DPI / 72
    finally:
        figure.set_dpi(dpi)
    faults = [f"{_name(text)} leaves the figure" for text, box in boxes if _outside(box, page)]
    boxes.sort(key=lambda pair: pair[1].x0)
    for place, (one, box) in enumerate(boxes):
        for other, beside in boxes[place + 1 :]:
            if beside.x0 >= box.x1 - slack:
                break
            if min(box.y1, beside.y1) - max(box.y0, beside.y0) > slack:
                faults.append(f"{_name(one)} on {_name(other)}")
    return faults


def texts(figure: Figure) -> list[str]:
    """What is written in a figure, once it is drawn."""
    FigureCanvasAgg(figure).draw()
    return [text.get_text() for text in _texts(figure)]


def _texts(figure: Figure) -> Iterator[Text]:
    """The texts that are seen; ticks beyond the limits of their axis are not."""
    ticks: dict[int, bool] = {}
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            room = 1e-9 * (abs(low) + abs(high))
            shown = axes.get_visible()
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                inside = low - room <= tick.get_loc() <= high + room
                for label in (tick.label1, tick.label2):
                    ticks[id(label)] = shown and inside and tick.get_visible()
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text().strip() and ticks.get(id(text), True):
            yield text


def _outside(box: Bbox, page: Bbox) -> bool:
    return bool(box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1)


def _name(text: Text) -> str:
    return repr(text.get_text())
