"""Figures of the report: title, caption, svg of the page, files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.figures.drawing import raster_dense
from analysis.figures.lettering import INCH
from analysis.figures.marks import Marks
from analysis.figures.sheets import PAPER, PRINTED, Picture, drawn_for, styled
from analysis.report.names import Style
from study.columns import in_words


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
        """The figure as the page shows it."""
        return self._drawn()

    def _drawn(self) -> Figure:
        figure = self.draw()
        raster_dense(figure)
        return figure

    @property
    def marks(self) -> Marks | None:
        """Its points, where these are single trainings."""
        return self.figure.marks if isinstance(self.figure, Picture) else None

    @property
    def points(self) -> int:
        """How wide it was drawn, in points."""
        return round(float(self.figure.get_size_inches()[0]) * INCH)

    @cached_property
    def svg(self) -> str:
        """The svg element alone, for inlining; its letters stay text of the page."""
        with mpl.rc_context({"svg.fonttype": "none"}):
            return _svg(self.figure)

    def write(self, folder: Path, formats: tuple[str, ...], style: Style = "page") -> None:
        """NAME.svg, NAME.png, NAME.pdf in `folder`, as asked for.

        For the paper: in its folders one-column and two-columns, each drawn for that width; one
        that is higher than a page as NAME-part1, NAME-part2 and so on.
        """
        if style == "page":
            _save(self.figure, folder / self.name, formats)
            return
        for chosen in PAPER:
            (folder / chosen.name).mkdir(exist_ok=True)
            part, parts = 0, 1
            while part < parts:
                with drawn_for(replace(chosen, part=part)):
                    figure = self._drawn()
                    parts = figure.parts if isinstance(figure, Picture) else 1
                    part += 1
                    name = self.name if parts == 1 else f"{self.name}-part{part}"
                    _save(figure, folder / chosen.name / name, formats)


def _save(figure: Figure, stem: Path, formats: tuple[str, ...]) -> None:
    """Files on a white ground, with their letters inside."""
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        if kind == "svg":
            content = _svg(figure)
            opened = content.index(">") + 1
            white = '<rect width="100%" height="100%" fill="#ffffff"/>'
            content = content[:opened] + white + content[opened:]
            path.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + content, encoding="utf-8")
        else:
            metadata = {"CreationDate": None} if kind == "pdf" else {}
            with styled():
                figure.savefig(path, dpi=PRINTED, facecolor="white", metadata=metadata)


def _svg(figure: Figure) -> str:
    """The svg element of a figure, without a ground."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(
            buffer,
            format="svg",
            dpi=PRINTED,
            facecolor="none",
            metadata={"Date": None, "Creator": None},
        )
    content = buffer.getvalue()
    return content[content.index("<svg") :]
