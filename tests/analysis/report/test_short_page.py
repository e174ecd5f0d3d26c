"""The page of a study: it claims what verdicts claim, and of a placebo nothing."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from intervention_studies import Truth
from intervention_studies import table as intervention_table
from null_study import ROLES, null_study
from places import ROOT

from analysis.__main__ import main
from analysis.findings.verdicts import PRIMARY, VERDICTS
from analysis.reading.load import load
from analysis.reading.table import Choices, Table
from analysis.report.page import Report, build_report
from analysis.report.short_page import CLAIMS, short_page
from analysis.report.tables import TableExhibit
from analysis.statistics.decide import ASSOCIATED

CHOICES = Choices(permutations=999, bootstrap=200)
SECTIONS = ("association", "within", "progress", "power")
BOLD_CELL = re.compile(r"\| \*\*[^|]*\*\* (?=\|)")


def report_of(rows: pl.DataFrame) -> Report:
    return build_report(Table(rows, ROLES, "made"), CHOICES, only=SECTIONS)


def placebo(rows: pl.DataFrame, cell: list[str], seed: int) -> pl.DataFrame:
    """The rows with the losses of each design cell exchanged among its trainings."""
    rng = np.random.default_rng(seed)
    cells = rows.select(pl.struct(cell).rank("dense")).to_series().to_numpy()
    source = np.arange(len(rows))
    for number in np.unique(cells):
        own = np.flatnonzero(cells == number)
        source[own] = rng.permutation(own)
    return rows.with_columns(rows.select("val_loss", "generalization_gap")[source.tolist()])


@cache
def associated() -> Report:
    """nc1_ratio goes with the loss inside design cells, all else by the axes alone."""
    rows = null_study("inverse", 0)
    rng = np.random.default_rng(1)
    noise = pl.Series(0.05 * rng.standard_normal(len(rows)))
    return report_of(rows.with_columns(nc1_ratio=pl.col("val_loss") + noise))


def test_association_is_bold_under_the_control_that_finds_it() -> None:
    (row,) = [
        line
        for line in short_page(associated()).splitlines()
        if line.startswith("| within / between variance")
    ]
    described, within, *_ = row.split(" | ")[1:]
    assert not described.startswith("**")
    assert within.startswith("**+0.9")


def test_placebo_claims_nothing() -> None:
    rows = associated().table.frame
    page = short_page(report_of(placebo(rows, ["width", "depth", "epochs"], 0)))
    assert BOLD_CELL.findall(page) == []
    assert ": associated.**" not in page


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_placebo_of_the_reference_study_claims_nothing(seed: int) -> None:
    table = load(ROOT / "runs" / "reference")
    frame = table.frame.filter(pl.col("precision") == "fp32")
    last = frame.filter(pl.col("epoch") == pl.col("epoch").max().over("training"))
    changed = placebo(last, ["width", "depth", "epochs"], seed)
    page = short_page(build_report(replace(table, frame=changed), CHOICES, only=SECTIONS))
    assert BOLD_CELL.findall(page) == []


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_its_mark(verdict: str) -> None:
    """Each verdict of the within table in turn: bold where it claims, else with its mark."""
    report = associated()
    parts = []
    for section in report.sections:
        exhibits = [
            replace(part, frame=part.frame.with_columns(verdict=pl.lit(verdict)))
            if isinstance(part, TableExhibit) and part.name == "within"
            else part
            for part in section.exhibits
        ]
        parts.append(replace(section, exhibits=tuple(exhibits)))
    page = short_page(replace(report, sections=tuple(parts)))
    cells = [line.split(" | ")[2] for line in _matrix(page)]
    assert len(cells) == len([name for name in ROLES.primary if name in ROLES.metrics])
    for cell in cells:
        assert cell.startswith("**") == (verdict in CLAIMS), cell
    assert (verdict == ASSOCIATED) == (verdict in CLAIMS)


def _matrix(page: str) -> list[str]:
    """Lines of the table of controls."""
    _, _, after = page.partition("Correlations under each control.")
    return [line for line in after.split("\n\n")[1].splitlines()[2:] if line]


def test_interventions_have_a_row_a_level_and_claim_what_changed() -> None:
    moved = build_report(
        intervention_table(Truth(first=-0.8, damage=0.3), 0), CHOICES, only=("interventions",)
    )
    lines = moved.frames["interventions"]
    page = short_page(moved)
    rows = [
        line
        for line in page.splitlines()
        if line.startswith("| train.penalty.nc1") or " → " in line
    ]
    assert len(rows) == lines["level"].n_unique()
    claims = lines.filter(pl.col("verdict").is_in(CLAIMS) & (pl.col("family") != "exploratory"))
    assert sum(row.count("**") // 2 for row in rows) == len(claims)
    assert len(claims) > 0
    nothing = build_report(intervention_table(Truth(), 0), CHOICES, only=("interventions",))
    wrong = nothing.frames["interventions"].filter(pl.col("verdict").is_in(CLAIMS))
    assert len(BOLD_CELL.findall(short_page(nothing))) == len(wrong.filter(family=PRIMARY))


def test_page_stands_in_the_folder_of_the_run(tmp_path: Path) -> None:
    run = shutil.copytree(ROOT / "runs" / "reference", tmp_path / "reference")
    (run / "README.md").unlink()
    arguments = [str(run), "--only", "power,within", "--permutations", "99", "--readme"]
    assert main([*arguments, "--out", str(tmp_path / "report")]) == 0
    page = (run / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# reference\n\n**Limits.** 128 trainings")
    table = str(ROOT / "tests" / "analysis" / "reading" / "tables")
    assert main([table, table, "--readme"]) == 2
