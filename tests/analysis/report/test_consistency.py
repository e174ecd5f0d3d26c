"""Every line of every table of association says one thing: verdict, p, interval and note agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from null_studies import null_study
from places import ROOT, SHARED
from report_study import write_study

import analysis
from analysis.findings.verdicts import INTERVAL_HOLDS_ZERO, VERDICTS

COLUMNS = ["metric", "n", "estimate", "low", "high", "p", "p_maxt", "q", "verdict", "note"]
TABLES = (
    "association",
    "within",
    "given_design",
    "given_train_loss",
    "fixed",
    "damage",
    "forecast",
    "checkpoints",
    "lead",
)
OPTIONS: dict[str, Any] = {"permutations": 400, "bootstrap": 300}
PUBLISHED = SHARED / "lc-2024_10_24.csv"
MAP = ROOT / "search_spaces" / "columns" / "linguistic_collapse_2024_10.yaml"


def frames_of(name: str, folder: Path) -> dict[str, pl.DataFrame]:
    if name == "published":
        if not PUBLISHED.exists():
            pytest.skip(f"the published measurements are not at {PUBLISHED}")
        return dict(analysis.report(PUBLISHED, columns=MAP, **OPTIONS).frames)
    path = folder / "rows.parquet"
    if name == "linked":
        write_study(path, 1.5)
        primary = ("nc3_distance", "nc2_equinorm", "nc4_agreement")
        return dict(analysis.report(path, primary=primary, **OPTIONS).frames)
    rows = null_study(3, seeds=8 if name == "seeds" else 3, link=1.0).frame
    rows.write_parquet(path)
    return dict(analysis.report(path, **OPTIONS).frames)


def problem(table: str, line: dict[str, Any]) -> str:
    """What contradicts itself in a line; '' if nothing does."""
    verdict, family, p = line["verdict"], line["family"], line["p"]
    adjusted = {"primary": line["p_maxt"], "exploratory": line["q"]}.get(family, p)
    if table == "damage" and family == "primary":
        adjusted = line["q_precisions"]
    low, estimate, high = line["low"], line["estimate"], line["high"]
    holds_zero = low is not None and low <= 0 <= high
    tested = verdict in ("associated", "not found", "undecided")
    better = "the forecast is no better" not in line["note"]
    faults = {
        "an unknown verdict": verdict is not None and verdict not in VERDICTS,
        "a primary metric with q": family == "primary" and line["q"] is not None,
        "another metric with p max-T": family != "primary" and line["p_maxt"] is not None,
        "no verdict in a family": verdict is None and family != "none",
        "no reason": verdict in (None, "cannot reject", "control inadequate") and not line["note"],
        "a verdict without p": tested and (p is None or adjusted is None),
        "p adjusted downwards": adjusted is not None and p is not None and adjusted < p - 1e-12,
        "associated by chance": verdict == "associated" and not (adjusted or 0.0) <= 0.05,
        "not found for no reason": verdict == "not found" and better and not adjusted > 0.05,
        "an estimate outside": low is not None and not low <= estimate <= high,
        "an interval that is not remarked upon": verdict == "associated"
        and holds_zero != (INTERVAL_HOLDS_ZERO in line["note"]),
    }
    return ", ".join(name for name, wrong in faults.items() if wrong)


@pytest.mark.parametrize("name", ["linked", "null", "seeds", "published"])
def test_no_line_contradicts_itself(name: str, tmp_path: Path) -> None:
    frames = frames_of(name, tmp_path)
    present = [table for table in TABLES if table in frames]
    assert len(present) >= 6
    for table in present:
        assert frames[table].columns[: len(COLUMNS)] == COLUMNS
        for line in frames[table].to_dicts():
            assert not problem(table, line), (table, line)
    for line in frames["changes"].to_dicts() if "changes" in frames else []:
        if line["low"] is not None:
            assert line["low"] <= line["estimate"] <= line["high"]
            if line["verdict"] == "changed":
                assert not line["low"] <= 0 <= line["high"] and line["p_maxt"] <= 0.05
