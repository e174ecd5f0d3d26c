"""The studies in the repository: each page is the one that its rows give."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from places import ROOT

from analysis import report
from analysis.report.short_page import short_page
from study.store import RunPaths, Store

BUILT = {
    "collapse_images": (*("interventions", "within", "power", "progress", "precision", "layers"),),
    "collapse_language": ("interventions", "within", "power", "progress", "precision", "layers"),
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
