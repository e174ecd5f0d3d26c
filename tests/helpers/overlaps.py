"""Whether the texts of a figure can be read: matplotlib's own extents after it is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis.figures.sheets import ONE_COLUMN, Sheet, drawn_for
from analysis.report.page import Page
from analysis.report.pictures import FigureExhibit
from study.columns import label as display_name

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
        canvas.draw()  # type: ignore[no-untyped-call]
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
    """What is written in a figure that has been drawn."""
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


def unreadable(page: Page, sheets: Sequence[Sheet] = (ONE_COLUMN,)) -> dict[str, list[str]]:
    """What is wrong with the texts of the figures of a report, by figure and sheet.

    Overlaps, and identifiers of columns, which nobody but the code should read.
    """
    faults = {}
    for exhibit in page.exhibits:
        if isinstance(exhibit, FigureExhibit):
            for chosen in sheets:
                with drawn_for(chosen):
                    figure = exhibit.draw()
                faults[f"{exhibit.name}, {chosen.name}"] = overlaps(figure) + [
                    f"{text!r} is an identifier" for text in texts(figure) if _names_a_column(text)
                ]
    return {name: found for name, found in faults.items() if found}


def _names_a_column(text: str) -> bool:
    """Whether an identifier stands in a text that has a name of its own."""
    words = re.findall(r"[a-z][a-z0-9]*(?:[._][a-z0-9]+)+", text.replace("\n", ""))
    return any("train." in word or display_name(word) != word for word in words)
