"""Tables as files that other programs open: nothing in them is run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from analysis.reading.table import Metric
from analysis.report import columns as columns_of_tables
from analysis.report.digits import LOWERED, POWER, writer
from analysis.report.latex import escape_latex
from analysis.report.page import metrics_of
from analysis.report.tables import (
    AT_ONCE,
    Column,
    TableExhibit,
    called,
    named,
    number,
    p_value,
    signed_number,
    text,
    whole,
)
from study.columns import METRICS

FORMULAS = ["=1+1", "+cmd", "-x", "@sum", "\tx"]


def exhibit(cells: list[str]) -> TableExhibit:
    """A table of names and numbers."""
    frame = pl.DataFrame({"name": cells, "value": [-1.5] * len(cells)})
    columns = (Column("name", "name", text), Column("value", "value", number))
    return TableExhibit("names", "Names", "As they are.", frame, columns)


def test_no_text_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    exhibit(FORMULAS).write(tmp_path)
    written = pl.read_csv(tmp_path / "names.csv")
    assert written["name"].to_list() == [f"'{cell}" for cell in FORMULAS]
    assert written["value"].to_list() == [-1.5] * len(FORMULAS)


def test_numbers_written_as_text_and_other_texts_stay(tmp_path: Path) -> None:
    cells = ["-1e-3", "+2", "plain", "a=b"]
    table = exhibit(cells)
    table.write(tmp_path)
    assert_frame_equal(pl.read_csv(tmp_path / "names.csv", schema=table.frame.schema), table.frame)


def test_a_pipe_table_holds_no_html() -> None:
    text = exhibit(["<script>x</script>", "<!-- x", "p <.001", "a < b"]).markdown()
    assert "<script" not in text and "<!--" not in text
    assert "&lt;script>x&lt;/script>" in text
    assert "p <.001" in text and "a < b" in text


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([12.34567, 0.5, None, 0.0], ["12.35", "0.50", "–", "0.00"]),
        ([0.25, -0.125], ["0.2500", "−0.1250"]),
        ([1.0, 1e-5, 12345.0], ["1.000", "1.000×10⁻⁵", "1.234×10⁴"]),  # too far apart
        ([250.0, 4.0], ["250.0", "4.0"]),
        ([9.99996, 1.0], ["10.00", "1.00"]),
        ([0.0, None], ["0.000", "–"]),
    ],
)
def test_cells_of_a_column_share_decimals_or_significant_digits(
    values: list[float | None], cells: list[str]
) -> None:
    assert list(map(writer(values), values)) == cells


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=8))
def test_a_column_has_one_rule_and_loses_no_more_than_its_digits(values: list[float]) -> None:
    cells = [
        POWER.sub(lambda match: f"e{match[1].translate(LOWERED)}", cell.replace("−", "-"))
        for cell in map(writer(values), values)
    ]
    decimals = {len(cell.partition(".")[2]) for cell in cells}
    if any("e" in cell for cell in cells) or len(decimals) > 1:  # four significant digits each
        for value, cell in zip(values, cells, strict=True):
            assert float(cell) == pytest.approx(value, rel=5.01e-4, abs=0)
    else:
        (shared,) = decimals
        for value, cell in zip(values, cells, strict=True):
            assert abs(float(cell) - value) <= 0.501 * 10.0**-shared
        assert abs(float(max(cells, key=lambda cell: abs(float(cell))))) >= 10.0 ** (
            3 - shared
        ) or (not any(values) or shared == 0)


def test_an_interval_and_a_change_have_one_form_of_digits() -> None:
    frame = pl.DataFrame({"low": [-0.5, -12.25, None], "high": [0.125, 30.0, 1.0]})
    columns = (Column("95% interval", "low", signed_number, "high"),)
    table = TableExhibit("t", "T", "", frame, columns)
    assert [cells[0] for cells in table.texts] == ["−0.50 to +0.12", "−12.25 to +30.00", "–"]


def test_small_p_are_bounds() -> None:
    assert [p_value(p) for p in (1.0, 0.04321, 1e-4, 0.99e-4, 1e-300, None)] == [
        "1.0000", "0.0432", "0.0001", "< 0.0001", "< 0.0001", "–"
    ]  # fmt: skip


def test_metrics_have_display_names_and_the_identifier_stays(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"metric": ["nc3_cosine_mean", "theirs_x"], "given": ["train_loss", ""], "r": [0.5, 0.25]}
    )
    columns = (
        Column("metric", "metric", called),
        Column("line", "metric", of_row=named),
        Column("r", "r", number),
    )
    table = TableExhibit("t", "Of val_loss", "Beside train_loss.", frame, columns)
    first, second = (str(row["cells"]) for row in table.html_rows())
    assert '<td class="name" title="nc3_cosine_mean">self-duality, mean cosine</td>' in first
    assert "self-duality, mean cosine | training loss</td>" in first
    assert '<td class="name">theirs_<wbr>x</td>' in second and "title" not in second
    assert (table.title, table.caption) == ("Of validation loss", "Beside training loss.")
    table.write(tmp_path)
    assert pl.read_csv(tmp_path / "t.csv")["metric"].to_list() == ["nc3_cosine_mean", "theirs_x"]
    for end in ("md", "tex"):
        assert "self-duality, mean cosine" in (tmp_path / f"t.{end}").read_text()


def test_a_page_shows_the_first_rows_of_a_long_table() -> None:
    frame = pl.DataFrame({"n": range(AT_ONCE + 3)})
    rows = TableExhibit("t", "T", "", frame, (Column("n", "n", whole),)).html_rows()
    assert [row["more"] for row in rows] == [False] * AT_ONCE + [True] * 3


def test_the_table_of_metrics_says_what_is_known_of_them() -> None:
    metrics = {name: Metric(name, "NC1", "lower") for name in ("nc1_ratio", "theirs")}
    table = metrics_of(metrics)
    first, second = table.frame.rows(named=True)
    for name in ("name", "symbol", "unit", "range", "invariances", "formula"):
        assert first[name] == getattr(METRICS["nc1_ratio"], name)
        assert second[name] == {"name": "theirs"}.get(name, "")
    assert [cells[:3] for cells in table.texts] == [
        ("within / between variance", "nc1_ratio", "[0, inf)"), ("theirs", "theirs", "")
    ]  # fmt: skip


def test_what_tables_print_is_ascii_in_latex() -> None:
    """So that pdflatex takes it without packages for letters."""
    headings = {
        column.heading
        for name, each in vars(columns_of_tables).items()
        if name.isupper() and isinstance(each, tuple)
        for column in each
    }
    assert len(headings) > 80
    for plain in (*headings, "a | b “c” – − ≤ → ·", "σ < 0.0001"):
        assert escape_latex(plain).isascii(), plain
    assert "|" not in escape_latex("a | b")
