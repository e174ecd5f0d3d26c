"""What a figure is drawn for: the page, or one or two columns of a paper.

Each has its width and the size of its letters. Drawn with matplotlib's object interface; only what
is set by `styled` is global, and only while a figure is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.figures.marks import Marks

PRINTED = 200  # dots an inch of a png
HIGHEST = 9.0  # inches of a page of a paper, beside the caption


@dataclass(frozen=True)
class Sheet:
    """What figures are drawn for.

    `width` is in inches, `size` that of letters in points, `across` the panels side by side. A
    figure that would be higher than `highest` inches is drawn in parts of whole rows of panels, of
    which `part` is one.
    """

    name: str
    width: float
    size: float
    across: int
    highest: float = math.inf
    part: int = field(default=0, compare=False)


PAGE = Sheet("page", 10.1, 9.0, 4)
TWO_COLUMNS = Sheet("two-columns", 6.9, 8.0, 4, HIGHEST)
ONE_COLUMN = Sheet("one-column", 3.3, 8.0, 2, HIGHEST)
PAPER = (ONE_COLUMN, TWO_COLUMNS)

_SHEET: ContextVar[Sheet] = ContextVar("sheet", default=PAGE)


def sheet() -> Sheet:
    """What is drawn for at present."""
    return _SHEET.get()


@contextmanager
def drawn_for(chosen: Sheet) -> Iterator[None]:
    """Figures that are drawn inside are for this sheet."""
    token = _SHEET.set(chosen)
    try:
        yield
    finally:
        _SHEET.reset(token)


def styled() -> AbstractContextManager[None]:
    """Matplotlib's settings of all figures, while one is drawn or saved."""
    size = sheet().size
    settings: Any = {
        "svg.hashsalt": "collapse-study",  # the same numbers give the same file
        "pdf.fonttype": 42,  # letters stay letters that a publisher can edit
        "font.family": "sans-serif",
        "font.size": size,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": size,
        # A place of its own: to look for what lies above the axes takes a tenth of the time of a
        # figure.
        "axes.titley": 1.0,
        "axes.labelsize": size,
        "xtick.labelsize": size,
        "ytick.labelsize": size,
        "legend.fontsize": size,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    }
    return mpl.rc_context(settings)


class Picture(Figure):
    """A figure that shows itself where it is the value of a notebook's cell.

    `marks` tells which training each point is, where points are single trainings; `parts` is how
    many figures of the sheet's height its panels take.
    """

    marks: Marks | None = None
    parts: int = 1

    def _repr_png_(self) -> bytes:
        """The figure on white, as a png."""
        buffer = io.BytesIO()
        with styled():
            self.savefig(buffer, format="png", dpi=PRINTED, facecolor="white")
        return buffer.getvalue()


def picture(width: float, height: float) -> Picture:
    """An empty figure; sizes in inches."""
    return Picture(figsize=(width, height))
