"""Figures of the report: title, caption, svg of the page, files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.figures.drawing import STYLE, raster_dense
from study.columns import in_words

INCH = 72.0  # points, the unit of an svg


@dataclass(frozen=True)
class FigureExhibit:
    """A figure of the report, drawn when it is first asked for.

    `caption` says which rows and how many trainings it shows; `folded` hides it at first.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]
    folded: bool = False

    def __post_init__(self) -> None:
        """Name columns as people do."""
        for name in ("title", "caption"):
            object.__setattr__(self, name, in_words(getattr(self, name)))

    @cached_property
    def figure(self) -> Figure:
        """The drawing."""
        figure = self.draw()
        raster_dense(figure)
        return figure

    @property
    def points(self) -> int:
        """Width in points."""
        return round(float(self.figure.get_size_inches()[0]) * INCH)

    @cached_property
    def svg(self) -> str:
        """The svg element alone, for inlining and for the file."""
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(
                buffer,
                format="svg",
                dpi=200,
                facecolor="none",
                metadata={"Date": None, "Creator": None},
            )
        content = buffer.getvalue()
        return content[content.index("<svg") :]

    def write(self, folder: Path, formats: tuple[str, ...]) -> None:
        """NAME.svg, NAME.png, NAME.pdf in `folder`, as asked for."""
        for kind in formats:
            path = folder / f"{self.name}.{kind}"
            if kind == "svg":
                opened = self.svg.index(">") + 1
                white = '<rect width="100%" height="100%" fill="#ffffff"/>'
                content = self.svg[:opened] + white + self.svg[opened:]
                path.write_text(
                    '<?xml version="1.0" encoding="utf-8"?>\n' + content, encoding="utf-8"
                )
            else:
                metadata = {"CreationDate": None} if kind == "pdf" else {}
                with mpl.rc_context(STYLE):
                    self.figure.savefig(path, dpi=200, facecolor="white", metadata=metadata)
