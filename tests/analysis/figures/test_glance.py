"""The figures of the first screen show their lines, and every letter can be read."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from overlaps import overlaps

from analysis.figures.glance import WIDTH, rows_with_intervals
from study.columns import METRICS, noun

PHONE = 366  # CSS pixels between the margins of a page on a screen of 390


def lines(rows: int, *, sizes: float = 1.0) -> pl.DataFrame:
    """Rows with the longest names that there are; `sizes` is the ratio of neighbours."""
    names = sorted(map(noun, METRICS), key=len)[-rows:]
    values = [0.9 * sizes**-at * (-1) ** at for at in range(rows)]
    return pl.DataFrame(
        {
            "label": names,
            "estimate": values,
            "low": [value - 0.1 * abs(value) for value in values],
            "high": [value + 0.1 * abs(value) for value in values],
            "solid": [at % 3 == 0 for at in range(rows)],
        }
    )


@pytest.mark.parametrize(
    ("rows", "sizes", "whole"), [(1, 1, True), (7, 1, True), (9, 4, False), (25, 1.2, False)]
)
def test_no_text_covers_another(rows: int, sizes: float, whole: bool) -> None:
    figure = rows_with_intervals(
        lines(rows, sizes=sizes),
        xlabel="correlation with validation loss\nwithin 36 cells",
        whole=whole,
    )
    assert overlaps(figure) == []
    assert figure.get_size_inches()[0] == WIDTH
    assert WIDTH * 72 * 1.15 <= PHONE  # the page draws no figure smaller, so it need not scroll


def test_each_row_is_its_line() -> None:
    frame = lines(7).with_columns(
        low=pl.when(pl.int_range(7) != 2).then("low"),
        high=pl.when(pl.int_range(7) != 2).then("high"),
    )
    figure = rows_with_intervals(frame, xlabel="r", whole=True)
    (axes,) = figure.axes
    drawn = [(line.get_marker(), np.asarray(line.get_data()), line) for line in axes.lines]
    dots = [(data[:, 0], line) for marker, data, line in drawn if marker == "o"]
    bars = [data for marker, data, _ in drawn if marker == "None" and data[1, 0] == data[1, 1]]
    assert [place[0] for place, _ in dots] == frame["estimate"].to_list()
    assert [place[1] for place, _ in dots] == list(range(7))
    filled = [line.get_markerfacecolor() != "white" for _, line in dots]
    assert filled == frame["solid"].to_list()
    known = frame.drop_nulls("low")
    assert [tuple(data[0]) for data in bars] == list(known.select("low", "high").iter_rows())
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert labels == frame["label"].to_list()
