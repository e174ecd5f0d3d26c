"""The reference study: its page is filled from the report's tables, its rows are its YAML's."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from pathlib import Path

import polars as pl
import pytest
import yaml
from places import ROOT
from polars.testing import assert_frame_equal

from analysis.report.fill import fill
from study.config import load_study
from study.grid import expand
from study.launch import main as launch
from study.store import VOLATILE, RunPaths, Store
from study.store.provenance import hardware, versions

RUN = ROOT / "runs" / "reference"
TABLE = pl.DataFrame(
    {
        "metric": ["a", "b", "b"],
        "given": [None, "norm", ""],
        "n": [1280, 7, 7],
        "r": [-0.918, 0.2, None],
    }
)
TEMPLATE = (RUN / "README.md.j2").read_text(encoding="utf-8")


def test_the_page_is_its_template_with_the_numbers_of_the_tables() -> None:
    spec = importlib.util.spec_from_file_location("write_page", RUN / "write_page.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (RUN / "README.md").read_text(encoding="utf-8") == script.page()


def test_no_number_of_the_page_is_written_by_hand() -> None:
    """Numbers in code and in the names of links are names."""
    filled = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
    names = re.compile(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", re.DOTALL)
    prose = names.sub("", filled.sub("", TEMPLATE))
    assert re.findall(r"(?<![A-Za-z\d])\d[\d.,]*\d|(?<![A-Za-z\d.])\d(?![\w])", prose) == []
    assert len(filled.findall(TEMPLATE)) > 30


def test_the_numbers_of_a_page_are_found_by_their_row() -> None:
    """Read here by the csv module, and looked for by hand."""
    path = RUN / "report" / "tables" / "within.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row = rows[3]
    frames = {"within": pl.read_csv(path, infer_schema_length=None)}
    text = fill(f'{{{{ value("within", "estimate", 3, metric="{row["metric"]}") }}}}', frames)
    estimate = float(text.replace("\u2212", "-"))
    assert estimate == pytest.approx(float(row["estimate"]), abs=0.5001e-3)
    primary = [row for row in rows if row["family"] == "primary"]
    listed = fill('{{ names("within", "metric", family="primary", verdict="associated") }}', frames)
    expected = [row["metric"] for row in primary if row["verdict"] == "associated"]
    assert re.findall(r"`(\w+)`", listed) == expected
    word = f'{{{{ word("within", "verdict", metric="{row["metric"]}") }}}}'
    assert fill(word, frames) == row["verdict"]
    assert fill('{{ names("within", "metric", metric="absent") }}', frames) == "none"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ('value("t", "n", metric="a")', "1,280"),
        ('value("t", "r", 2, metric="a", given="")', "\u22120.92"),
        ('value("t", "r", 1, metric="b", given="norm")', "0.2"),
    ],
)
def test_values_are_printed(expression: str, text: str) -> None:
    assert fill(f"{{{{ {expression} }}}}\n", {"t": TABLE}) == f"{text}\n"


@pytest.mark.parametrize(
    ("expression", "error", "message"),
    [
        ('value("t", "r", metric="c")', ValueError, "0 rows of 't' have {'metric': 'c'}"),
        ('value("t", "r", metric="b")', ValueError, "2 rows of 't'"),
        ('value("t", "r", metric="b", given="")', ValueError, "'r' of 't' is null"),
        ('value("u", "r")', KeyError, "u"),
    ],
)
def test_what_is_no_value_is_refused(expression: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        fill(f"{{{{ {expression} }}}}", {"t": TABLE})


def test_the_rows_are_those_of_the_study() -> None:
    cells = expand(load_study(ROOT / "search_spaces" / "reference.yaml"))
    rows = Store(RUN).read()
    assert set(rows["cell"]) == {cell.key for cell in cells}
    assert rows["training"].n_unique() >= 125
    assert rows["cell"].n_unique() >= 1000


@pytest.mark.long
def test_cells_trained_anew_give_the_same_rows(tmp_path: Path) -> None:
    """All precisions of the smallest training, on a computer like the one of the study."""
    plays = ROOT / "search_spaces" / "shakespeare.txt"
    if not plays.exists():
        pytest.skip("needs the plays: make shakespeare")
    (tmp_path / plays.name).symlink_to(plays)
    file = tmp_path / "one.yaml"
    point = {"width": [32], "depth": [1], "epochs": [1], "seed": [2]}
    whole = yaml.safe_load((ROOT / "search_spaces" / "reference.yaml").read_text(encoding="utf-8"))
    content = {
        "extends": str(ROOT / "search_spaces" / "reference.yaml"),
        "grid": whole["grid"][0] | point,
    }
    file.write_text(yaml.safe_dump(content))
    cells = expand(load_study(file))
    record = json.loads(RunPaths(RUN).provenance(cells[0].training_key).read_text())["passes"][0]
    here = {"processor": hardware()["processor"], "torch": versions()["torch"]}
    there = {"processor": record["hardware"]["processor"], "torch": record["versions"]["torch"]}
    if here != there:
        pytest.skip(f"rows are equal bit for bit on {there} alone, this is {here}")
    assert launch([str(file), "--runs", str(tmp_path), "--serial"]) == 0
    anew, stored = (
        Store(run).read([c.key for c in cells]) for run in (tmp_path / "reference", RUN)
    )
    stored = stored.sort("cell", "epoch").drop(VOLATILE, strict=False)
    assert_frame_equal(
        anew.sort("cell", "epoch").select(stored.columns),
        stored,
        check_exact=True,
        check_dtypes=False,
    )
