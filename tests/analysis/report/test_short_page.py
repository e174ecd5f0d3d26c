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
from simulated_studies import SCENARIOS, simulate

from analysis.__main__ import main
from analysis.findings.verdicts import PRIMARY, VERDICTS
from analysis.reading.load import load
from analysis.reading.table import Choices, Table
from analysis.report.page import Report, build_report
from analysis.report.short_page import CLAIMS, short_page
from analysis.report.tables import TableExhibit
from analysis.statistics.decide import ASSOCIATED
from study import columns as label

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


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """All columns of controls and the axes, of a study whose metrics go with the loss."""
    path = tmp_path_factory.mktemp("scaled") / "study.parquet"
    simulate(SCENARIOS["reference, progress"], 0).write_parquet(path)
    sections = ("within", "fixed", "checkpoints", "forecast", "axes")
    return build_report(load(path), Choices(permutations=199, bootstrap=50), only=sections)


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("within", "within design cells"),
        ("fixed", "one configuration"),
        ("checkpoints", "over training"),
        ("forecast", "added to the forecast"),
    ],
)
def test_columns_of_controls_claim_what_their_tables_do(
    scaled: Report, name: str, heading: str
) -> None:
    headings, _, *lines = _table(short_page(scaled), "Correlations under each control.")
    at = headings[2:-2].split(" | ").index(heading)
    claimed = {
        line["metric"]
        for line in scaled.frames[name].filter(pl.col("family") == PRIMARY).to_dicts()
        if line["verdict"] in CLAIMS
    }
    bold = {
        noun
        for noun, *cells in (line[2:-2].split(" | ") for line in lines)
        if cells[at - 1].startswith("**")
    }
    assert bold == {label.noun(metric) for metric in claimed}
    assert claimed


def test_axes_are_bold_where_their_p_says_so(scaled: Report) -> None:
    headings, _, *lines = _table(short_page(scaled), "**Collapse along the axes.**")
    effects = scaled.frames["effects"]
    assert headings[2:-2].split(" | ")[1:] == ["log width", "log depth", "epochs"]
    for line in lines:
        name, *cells = line[2:-2].split(" | ")
        own = effects.filter(pl.col("metric").map_elements(label.noun, pl.String) == name)
        assert [cell.startswith("**") for cell in cells] == (own["p_maxt"] <= 0.05).to_list()
        estimates = [float(cell.strip("*").split(" ")[0].replace("−", "-")) for cell in cells]
        assert estimates == pytest.approx(own["effect"].to_list(), rel=0.05, abs=1e-4)


def _table(page: str, title: str) -> list[str]:
    """Lines of the table that follows a title."""
    _, _, after = page.partition(title)
    return after.split("\n\n")[1].splitlines()


def test_tables_of_questions_are_folded_and_the_sentences_are_not() -> None:
    shown, _, rest = short_page(associated()).partition("<details>")
    folded, _, end = rest.partition("</details>")
    assert "**Limits.**" in shown
    assert "**Collapse and val_loss: associated.**" in shown
    assert "Correlations under each control." in folded
    assert end == "\n\nEvery verdict with its reason: [report](report/report.html).\n"


def test_placebo_claims_nothing() -> None:
    rows = associated().table.frame
    page = short_page(report_of(placebo(rows, ["width", "depth", "epochs"], 0)))
    assert BOLD_CELL.findall(page) == []
    assert ": associated.**" not in page


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_placebo_of_the_study_of_scale_claims_nothing(seed: int) -> None:
    table = load(ROOT / "runs" / "scale")
    frame = table.frame.filter(pl.col("precision") == "fp32")
    last = frame.filter(pl.col("epoch") == pl.col("epoch").max().over("training"))
    changed = placebo(last, ["width", "depth", "data_train_tokens", "weight_decay"], seed)
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
    return _table(page, "Correlations under each control.")[2:]


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
    run = shutil.copytree(ROOT / "runs" / "optimizers", tmp_path / "optimizers")
    (run / "README.md").unlink()
    arguments = [str(run), "--only", "power,within", "--permutations", "99", "--readme"]
    assert main([*arguments, "--out", str(tmp_path / "report")]) == 0
    page = (run / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# optimizers\n\n**Limits.** 408 trainings")
    table = str(ROOT / "tests" / "analysis" / "reading" / "tables")
    assert main([table, table, "--readme"]) == 2
