"""The reference study: every number of its page is in the report's tables, and its rows are those of its YAML.

A number of runs/reference/README.md is followed by a comment that says where it comes from, such as
`0.93<!-- association: metric=nc1_cdnv given=; r2 -->`: table, conditions on its columns, column. A percentage stands for a
hundredth. Numbers in code and in the names of links are names.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from study.config import load_study
from study.grid import expand
from study.store import Store

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "runs" / "reference"
PAGE = (RUN / "README.md").read_text(encoding="utf-8")
NUMBER = r"[-\u2212]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
CLAIM = re.compile(rf"(?P<number>{NUMBER})(?P<unit>%?)<!-- (?P<table>\w+): (?P<where>[^;]*); (?P<column>\w+) -->")
CLAIMS = [match.groupdict() for match in CLAIM.finditer(PAGE)]


def test_no_number_is_without_its_source() -> None:
    prose = re.sub(r"`[^`]*`|```.*?```|\[[^\]]*\]\([^)]*\)", "", CLAIM.sub("", PAGE), flags=re.DOTALL)
    assert re.findall(r"(?<![A-Za-z\d])\d[\d.,]*\d|(?<![A-Za-z\d.])\d(?![\w])", prose) == []
    assert len(CLAIMS) > 30


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim['number']}-{claim['table']}-{claim['column']}")
def test_numbers_of_the_page_are_those_of_the_tables(claim: dict[str, str]) -> None:
    """Equal to the table's as far as the page prints digits."""
    frame = pl.read_csv(RUN / "report" / "tables" / f"{claim['table']}.csv", infer_schema_length=None)
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
