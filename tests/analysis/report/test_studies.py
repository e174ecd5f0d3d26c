"""The studies in the repository: each page is the one that its rows give."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from places import ROOT

from analysis import report
from analysis.findings.changes import TOTAL
from analysis.report.short_page import short_page
from study.store import RunPaths, Store

COLLAPSE = ("interventions", "within", "power", "progress", "precision", "layers", "methods")
BUILT = {
    "collapse_images": COLLAPSE,
    "collapse_language": COLLAPSE,
    "optimizers": (
        *("matched", "association", "within", "design", "progress", "power", "checkpoints"),
        *("epochs_at", "data"),
    ),
    "scale": (
        *("association", "within", "design", "progress", "fixed", "power", "axes", "forecast"),
        *("checkpoints", "precision", "data"),
    ),
}
"""Studies whose page is generated, and the sections of which its report is made."""
SIZE = re.compile(r"\*\*Limits\.\*\* ([\d,]+) trainings")
MOST_BYTES = 15_000_000
"""What the folder of a study may take in the repository."""


@pytest.fixture(params=sorted(BUILT))
def run(request: pytest.FixtureRequest) -> Path:
    return ROOT / "runs" / str(request.param)


def test_every_cell_that_was_planned_has_rows(run: Path) -> None:
    planned = pl.read_parquet(RunPaths(run).planned)
    rows = Store(run).read()
    assert set(planned["cell"]) == set(rows["cell"])
    told = SIZE.search((run / "README.md").read_text(encoding="utf-8"))
    assert told is not None
    assert int(told[1].replace(",", "")) == rows["training"].n_unique()


def test_a_study_is_small_enough_for_the_repository(run: Path) -> None:
    assert sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("name", ["collapse_images", "collapse_language", "scale"])
def test_every_precision_stands_on_the_page_as_its_verdict_says(name: str) -> None:
    """Fine-tuned ones too, of which the page says what else is in their difference."""
    run = ROOT / "runs" / name
    response = "train_loss" if name == "collapse_language" else "val_loss"
    lines = pl.read_csv(run / "report" / "tables" / "changes.csv", infer_schema_length=None)
    own = lines.filter((pl.col("column") == response) & (pl.col("level").fill_null("") == TOTAL))
    precisions = pl.read_parquet(RunPaths(run).planned)["precision"].unique()
    assert set(own["precision"]) == set(precisions) - {"fp32"}
    page = (run / "README.md").read_text(encoding="utf-8")
    _, _, after = page.partition("**What precisions change**")
    told, table, *_ = after.split("\n\n")
    bold = {
        row.split(" | ")[0][2:]
        for row in table.splitlines()[2:]
        if row.split(" | ")[1].startswith("**")
    }
    assert bold == set(own.filter(verdict="changed")["precision"])
    tuned = [name for name in own["precision"] if name.startswith("qat-")]
    assert all(name in told for name in tuned)
    assert ("further training" in told) == bool(tuned)


def test_bold_cells_are_verdicts_of_the_tables() -> None:
    """As many levels at equal loss are bold as the table says of primary metrics."""
    run = ROOT / "runs" / "optimizers"
    page = (run / "README.md").read_text(encoding="utf-8")
    lines = pl.read_csv(run / "report" / "tables" / "matched.csv", infer_schema_length=None)
    changed = lines.filter((pl.col("family") == "primary") & (pl.col("verdict") == "changed"))
    _, _, after = page.partition(", at equal training loss.**")
    assert after.split("\n\n")[1].count("**") == 2 * len(changed)


@pytest.mark.long
def test_the_page_is_that_of_the_rows(run: Path) -> None:
    response = "train_loss" if run.name == "collapse_language" else None
    built = report(run, only=BUILT[run.name], response=response)
    assert (run / "README.md").read_text(encoding="utf-8") == short_page(built)
