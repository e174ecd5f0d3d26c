"""Tables as files that other programs open: nothing in them is run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from analysis.report.tables import Column, TableExhibit, number, text

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
