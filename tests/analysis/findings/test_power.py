"""What the design of a table can find."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import analysis
from analysis.statistics.design_power import design_power, replicates_needed


def test_power_is_that_of_the_design_cells(tmp_path: Path) -> None:
    sizes = {(32, 1): 5, (64, 1): 3, (64, 2): 1}
    rows = [
        {"width": width, "depth": depth, "seed": seed}
        for (width, depth), count in sizes.items()
        for seed in range(count)
    ]
    table = (
        pl.DataFrame(rows)
        .with_row_index("training")
        .with_columns(
            nc1_ratio=pl.col("training") ** 2,
            nc4_agreement=1 / (1 + pl.col("training")),
            val_loss=pl.col("training") * 1.0,
        )
    )
    table.write_csv(tmp_path / "table.csv")
    report = analysis.report(tmp_path / "table.csv", only=("power",), allow_missing=True)
    (line,) = report.frames["power"].to_dicts()
    expected = design_power([5, 3, 1], family=2)
    assert line == {
        "trainings": 9,
        "cells": 2,
        "r_w": 6,
        "family": 2,
        "alone": expected.alone,
        "within_family": expected.within_family,
        "seeds_r30": replicates_needed(0.3, 3, family=2),
        "seeds_r50": replicates_needed(0.5, 3, family=2),
    }
    alone = analysis.report(
        tmp_path / "table.csv", only=("power",), allow_missing=True, primary=["nc1_ratio"]
    )
    assert alone.frames["power"]["within_family"].to_list() == [expected.alone]


def test_a_design_without_replicates_finds_nothing(tmp_path: Path) -> None:
    rows = {
        "training": [0, 1, 2],
        "width": [1, 2, 3],
        "nc1_ratio": [1, 2, 4],
        "val_loss": [3, 1, 2],
    }
    pl.DataFrame(rows).write_csv(tmp_path / "table.csv")
    report = analysis.report(tmp_path / "table.csv", only=("power",))
    (line,) = report.frames["power"].to_dicts()
    assert (line["r_w"], line["alone"], line["within_family"]) == (0, None, None)
