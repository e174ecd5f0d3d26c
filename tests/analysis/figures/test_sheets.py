"""Figures for the page and for a paper: their widths, their letters, their files."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.__main__ import main
from analysis.figures.drawing import columns_of_rows, panels
from analysis.figures.key import Entry, Group
from analysis.figures.lettering import height_of, width_of, wrapped
from analysis.figures.sheets import (
    HIGHEST,
    ONE_COLUMN,
    PAGE,
    PAPER,
    TWO_COLUMNS,
    Picture,
    drawn_for,
    sheet,
    styled,
)
from analysis.report.pictures import FigureExhibit

LONG = "a name of a column of many words, mean of the absolute deviations"


def four() -> Figure:
    with styled():
        figure, axes = panels(4, titles=[LONG] * 4, xlabels=LONG, key=[Group("key", [Entry("a")])])
        for axis in axes:
            axis.plot([0, 1], [0, 1])
    return figure


def shared() -> Figure:
    with styled():
        return panels(7, LONG, titles=[LONG] * 7, key=[Group("", [Entry(LONG)] * 9)])[0]


def three_rows() -> Figure:
    with styled():
        return columns_of_rows([LONG, "b", "c"], [LONG, "two", "three"], wide=5.2, xlabel=LONG)[0]


def png_size(content: bytes) -> tuple[int, int]:
    """Width and height in the header of a png."""
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_for_a_paper_a_figure_is_as_wide_as_its_columns() -> None:
    assert (ONE_COLUMN.width, TWO_COLUMNS.width) == (3.3, 6.9)
    for draw in (four, shared, three_rows):
        for chosen in PAPER:
            with drawn_for(chosen):
                figure = draw()
            assert figure.get_size_inches()[0] == pytest.approx(chosen.width)
            sizes = {float(text.get_fontsize()) for text in figure.findobj(Text)}
            assert sizes == {8.0}
    assert sheet() == PAGE


def test_files_for_a_paper_have_their_letters_inside(tmp_path: Path) -> None:
    FigureExhibit("four", "t", "c", four).write(tmp_path, ("svg", "pdf", "png"), "paper")
    for chosen in PAPER:
        folder = tmp_path / chosen.name
        width, _ = png_size((folder / "four.png").read_bytes())
        assert width == pytest.approx(200 * chosen.width, abs=1)
        svg = (folder / "four.svg").read_text(encoding="utf-8")
        assert "<text" not in svg and "DejaVuSans" in svg  # letters are shapes
        assert f'width="{72 * chosen.width:g}pt"' in svg
        pdf = (folder / "four.pdf").read_bytes()
        assert b"/FontFile2" in pdf and b"/CIDFontType2" in pdf and b"/Type3" not in pdf
        assert re.search(rb"/MediaBox \[ 0 0 %d\.?\d* " % int(72 * chosen.width), pdf)


def test_a_figure_higher_than_a_page_is_in_parts(tmp_path: Path) -> None:
    """Every panel is in one part, in order, and each part has the key."""
    titles = [f"panel {at}" for at in range(19)]
    key = [Group("width", [Entry("32", marker="o")])]

    def many() -> Figure:
        with styled():
            figure, axes = panels(len(titles), titles=titles, key=key)
            for axis in axes:
                axis.plot([0, 1], [0, 1])
        return figure

    def forest() -> Figure:
        with styled():
            return columns_of_rows(list("abcdefgh"), titles, wide=2.9, xlabel="r", key=key)[0]

    for draw in (many, forest):
        seen, part, parts = [], 0, 1
        while part < parts:
            with drawn_for(replace(ONE_COLUMN, part=part)):
                figure = draw()
            assert isinstance(figure, Picture) and figure.get_size_inches()[1] <= HIGHEST
            assert "width" in [text.get_text() for text in figure.texts]
            seen += [axis.get_title(loc="left") for axis in figure.axes]
            part, parts = part + 1, figure.parts
        assert seen == titles and parts > 1
        with drawn_for(PAGE):
            whole = draw()
        assert isinstance(whole, Picture) and whole.parts == 1 and len(whole.axes) == len(titles)
    FigureExhibit("many", "t", "c", many).write(tmp_path, ("svg",), "paper")
    files = [path.stem for path in sorted((tmp_path / ONE_COLUMN.name).iterdir())]
    assert files == ["many-part1", "many-part2"]


def test_the_page_and_a_notebook_have_the_figure_as_it_is(tmp_path: Path) -> None:
    exhibit = FigureExhibit("four", "t", "c", four)
    assert ">two</text>" not in exhibit.svg and "<text" in exhibit.svg
    shown = exhibit.figure._repr_png_()  # type: ignore[attr-defined]
    exhibit.write(tmp_path, ("png",))
    width, height = png_size((tmp_path / "four.png").read_bytes())
    assert png_size(shown) == (width, height)
    assert (width, height) == tuple((exhibit.figure.get_size_inches() * 200).astype(int))


def test_a_style_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["results.csv", "--style", "poster"])
    assert stop.value.code == 2
    assert "poster" in capsys.readouterr().err


def test_a_report_for_a_paper_has_three_formats_of_two_widths(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {"run": range(20), "loss": rng.random(20), "nc1": rng.random(20), "width": [1, 2] * 10}
    )
    rows.write_csv(tmp_path / "results.csv")
    named = ["--unit", "run", "--response", "loss", "--metrics", "nc1", "--axes", "width"]
    draws = ["--permutations", "20", "--bootstrap", "20", "--only", "association"]
    source, out = str(tmp_path / "results.csv"), tmp_path / "out"
    assert main([source, *named, *draws, "--style", "paper", "--out", str(out)]) == 0
    files = {path.relative_to(out).as_posix() for path in (out / "figures").rglob("*.*")}
    assert files == {
        f"figures/{width}/association.{kind}"
        for width in ("one-column", "two-columns")
        for kind in ("svg", "pdf", "png")
    }


@pytest.mark.parametrize(
    "text", ["validation loss (nats)", "WIM", r"$\Sigma_W$ and $L$", "illicit"]
)
@pytest.mark.parametrize("size", [6.5, 8.0, 9.0])
def test_widths_are_those_of_the_renderer(text: str, size: float) -> None:
    figure = Figure(figsize=(4, 1), dpi=400)
    drawn = figure.text(0, 0.5, text, fontsize=size)
    FigureCanvasAgg(figure).draw()
    box = drawn.get_window_extent()
    assert box.width / 400 <= width_of(text, size) <= 1.08 * box.width / 400 + 0.01


def test_a_text_is_broken_where_it_has_to_be() -> None:
    broken = wrapped(LONG, 1.0, 8.0)
    assert broken.replace("\n", " ") == LONG
    assert all(width_of(line, 8.0) <= 1.0 for line in broken.split("\n"))
    assert wrapped("unbreakable", 0.2, 8.0) == "unbreakable"
    assert wrapped("$a b c$ d", 0.1, 8.0) == "$a b c$\nd"
    assert wrapped("nearest-centre", 0.5, 8.0) == "nearest-\ncentre"
    assert height_of("a\nb", 8.0) == 2 * height_of("a", 8.0) > height_of("", 8.0) == 0.0


@pytest.mark.parametrize("chosen", [PAGE, *PAPER], ids=lambda each: each.name)
@pytest.mark.parametrize("draw", [four, shared, three_rows])
def test_panels_are_lettered_in_order(draw: Callable[[], Figure], chosen: object) -> None:
    with drawn_for(chosen):  # type: ignore[arg-type]
        figure = draw()
    letters = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert letters == list("abcdefg")[: len(figure.axes)]


def test_letters_go_on_after_z() -> None:
    draw = partial(panels, 53)
    _, axes = draw()
    names = [axis.texts[0].get_text() for axis in axes]
    assert (names[25], names[26], names[51], names[52]) == ("z", "aa", "az", "ba")
