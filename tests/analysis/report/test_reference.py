"""The reference study: every number of its page is in the report's tables, and its rows are those
of its YAML.

A number of runs/reference/README.md is followed by a comment that says where it comes from, such as
`0.93<!-- association: metric=nc1_cdnv given=; r2 -->`: table, conditions on its columns, column.
Tables are those of the report, and `paper.csv`, Table 1 of Wu & Papyan 2024. A percentage stands
for a hundredth. Numbers in code and in the names of links are names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import yaml
from places import ROOT
from polars.testing import assert_frame_equal

from study.config import load_study
from study.grid import expand
from study.launch import main as launch
from study.store import VOLATILE, RunPaths, Store
from study.store.provenance import hardware, versions

RUN = ROOT / "runs" / "reference"
PAGE = (RUN / "README.md").read_text(encoding="utf-8")
NUMBER = r"[-\u2212]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
CLAIM = re.compile(
    rf"(?P<number>{NUMBER})(?P<unit>%?)<!-- (?P<table>\w+): (?P<where>[^;]*); (?P<column>\w+) -->"
)
CLAIMS = [match.groupdict() for match in CLAIM.finditer(PAGE)]


def test_no_number_is_without_its_source() -> None:
    prose = re.sub(
        r"`[^`]*`|```.*?```|\[[^\]]*\]\([^)]*\)", "", CLAIM.sub("", PAGE), flags=re.DOTALL
    )
    assert re.findall(r"(?<![A-Za-z\d])\d[\d.,]*\d|(?<![A-Za-z\d.])\d(?![\w])", prose) == []
    assert len(CLAIMS) > 30


@pytest.mark.parametrize(
    "claim", CLAIMS, ids=lambda claim: f"{claim['number']}-{claim['table']}-{claim['column']}"
)
def test_numbers_of_the_page_are_those_of_the_tables(claim: dict[str, str]) -> None:
    """Equal to the table's as far as the page prints digits."""
    folder = RUN if claim["table"] == "paper" else RUN / "report" / "tables"
    frame = pl.read_csv(folder / f"{claim['table']}.csv", infer_schema_length=None)
    for condition in claim["where"].split():
        column, _, wanted = condition.partition("=")
        text = pl.col(column).cast(pl.String).fill_null("")
        frame = frame.filter(text == wanted)
    assert len(frame) == 1, claim
    value = float(frame[claim["column"]][0]) * (100 if claim["unit"] else 1)
    printed = claim["number"].replace("\u2212", "-").replace(",", "")
    mantissa, _, exponent = printed.partition("e")
    digits = len(mantissa.partition(".")[2])
    step = 10.0 ** (int(exponent or 0) - digits)
    assert abs(value - float(printed)) <= 0.5001 * step, (value, claim)


def test_the_rows_are_those_of_the_study() -> None:
    cells = expand(load_study(ROOT / "search_spaces" / "reference.yaml"))
    rows = Store(RUN).read()
    assert set(rows["cell"]) == {cell.key for cell in cells}
    assert rows["training"].n_unique() >= 125
    assert rows["cell"].n_unique() >= 1000


@pytest.mark.long
def test_cells_trained_anew_give_the_same_rows(tmp_path: Path) -> None:
    """All precisions of the smallest training, bit for bit, on a computer like the one of the
    study."""
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
    found, kept = (Store(run).read([c.key for c in cells]) for run in (tmp_path / "reference", RUN))
    kept = kept.select(found.columns).sort("cell", "epoch").drop(VOLATILE)
    assert_frame_equal(
        found.sort("cell", "epoch").drop(VOLATILE), kept, check_exact=True, check_dtypes=False
    )
