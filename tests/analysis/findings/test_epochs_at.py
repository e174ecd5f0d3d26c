"""Epochs of events, on courses whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from analysis.findings.epochs_at import (
    FITTED,
    HALF_WAY,
    NEAR_BEST,
    NOT_REACHED,
    epochs_at,
    training_epochs,
)
from analysis.reading.table import ZERO_ERROR, Choices, Metric, Roles, Table
from analysis.report.page import build_report
from analysis.statistics.crossing import first_crossing, mean_interval
from study.columns import label

Rows = list[dict[str, Any]]
EPOCHS = [0, 10, 20, 40, 80, 160]
METRICS = {
    "nc1_ratio": Metric("nc1_ratio", "NC1", "lower"),
    "nc4_agreement": Metric("nc4_agreement", "NC4", "higher"),
    "nc2_log_norm_mean": Metric("nc2_log_norm_mean", "NC2"),
}
ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower", "val_accuracy": "higher"},
    metrics=METRICS,
    axes=("width",),
    architecture=("width",),
    unit="training",
    order="epoch",
    seed="seed",
    precision="precision",
    primary=("nc1_ratio", "nc4_agreement"),
    level={"nc1_ratio": 0.25, "nc2_log_norm_mean": 3.0},
)


def course(training: str, width: int, seed: int, slower: float, *, groks: bool = True) -> Rows:
    """A training that fits at epoch 10 and generalizes at 40, both times `slower`.

    nc1_ratio falls on a line from 1 at the start to 0 at epoch 160 `slower`, nc4_agreement rises
    from 0 to 1 between epochs 20 and 40; at int8 everything is elsewhere.
    """
    rows = []
    for epoch in EPOCHS:
        accuracy = float(np.interp(epoch, [20, 40], [0.0, 0.9])) if groks else 0.1
        row = {
            "training": training,
            "width": width,
            "seed": seed,
            "epoch": epoch * slower,
            "precision": "fp32",
            ZERO_ERROR: None if epoch < 10 else 10 * slower,
            "val_loss": 4.0 - epoch / 20 if epoch <= 40 else 2.0,
            "val_accuracy": accuracy,
            "nc1_ratio": 1 - epoch / 160,
            "nc4_agreement": accuracy,
            "nc2_log_norm_mean": 2 + epoch / 40,
        }
        rows += [row, {**row, "precision": "int8", "nc1_ratio": -1.0}]
    return rows


def table(*courses: Rows, **roles: object) -> Table:
    frame = pl.DataFrame([row for rows in courses for row in rows], infer_schema_length=None)
    return Table(frame, replace(ROLES, **roles), "runs/made")  # type: ignore[arg-type]


def test_the_epochs_of_one_training_are_those_of_its_lines() -> None:
    lines = training_epochs(table(course("a", 8, 0, 1.0)))
    assert {(line["metric"], line["event"]): line["epoch"] for line in lines.to_dicts()} == {
        (ZERO_ERROR, FITTED): 10,
        ("val_loss", NEAR_BEST): pytest.approx(38),  # 4 - t / 20 = 2.1
        ("val_accuracy", NEAR_BEST): pytest.approx(39),  # 0.9 (t - 20) / 20 = 0.95 x 0.9
        ("nc1_ratio", HALF_WAY): pytest.approx(80),
        ("nc4_agreement", HALF_WAY): pytest.approx(30),
        ("nc1_ratio", "at most 0.25"): pytest.approx(120),
        ("nc2_log_norm_mean", "at least 3"): pytest.approx(40),
    }
    assert set(lines["note"]) == {""}


def test_means_are_over_design_cells_with_their_interval() -> None:
    """Seeds of a cell count as one, and gaps are to the epoch without an error."""
    slow = {8: (1.0, 2.0), 16: (3.0,), 32: (1.0, 1.0, 4.0)}
    courses = [
        course(f"{width}-{seed}", width, seed, slower)
        for width, times in slow.items()
        for seed, slower in enumerate(times)
    ]
    lines = epochs_at(table(*courses)).rows_by_key(["metric", "event"], named=True, unique=True)
    cells = np.array([1.5, 3.0, 2.0])
    for (metric, event), epoch in {
        (ZERO_ERROR, FITTED): 10.0,
        ("nc1_ratio", HALF_WAY): 80.0,
        ("nc1_ratio", "at most 0.25"): 120.0,
    }.items():
        line = lines[metric, event]
        low, high = DescrStatsW(epoch * cells).tconfint_mean()
        assert (line["trainings"], line["reached"], line["cells"]) == (6, 6, 3)
        assert line["epoch"] == pytest.approx(epoch * cells.mean(), rel=1e-9)
        assert (line["low"], line["high"]) == pytest.approx((low, high), rel=1e-9)
        if event != FITTED:
            low, high = DescrStatsW((epoch - 10) * cells).tconfint_mean()
            assert line["gaps"] == 6
            assert line["gap"] == pytest.approx((epoch - 10) * cells.mean(), rel=1e-9)
            assert (line["gap_low"], line["gap_high"]) == pytest.approx((low, high), rel=1e-9)
    assert lines[ZERO_ERROR, FITTED]["gap"] is None


def test_what_is_not_reached_has_no_epoch_and_is_counted() -> None:
    frame = table(course("a", 8, 0, 1.0), course("b", 8, 1, 1.0, groks=False)).frame
    frame = frame.with_columns(
        pl.when(pl.col("training") == "b")
        .then(None)
        .otherwise(pl.col(ZERO_ERROR))
        .alias(ZERO_ERROR),
        nc2_log_norm_mean=pl.lit(2.0),
    )
    source = replace(table(course("a", 8, 0, 1.0)), frame=frame)
    lines = epochs_at(source).rows_by_key(["metric", "event"], named=True, unique=True)
    fitted = lines[ZERO_ERROR, FITTED]
    assert (fitted["trainings"], fitted["reached"], fitted["epoch"]) == (2, 1, 10)
    assert (fitted["low"], fitted["note"]) == (None, f"{NOT_REACHED}: 1")
    assert lines["nc4_agreement", HALF_WAY]["note"] == "it ends where it began: 1"
    assert lines["nc1_ratio", HALF_WAY]["gaps"] == 1
    level = lines["nc2_log_norm_mean", "at least 3"]
    assert (level["epoch"], level["cells"], level["gap"]) == (None, 0, None)
    assert level["note"] == f"{NOT_REACHED}: 2"


def test_without_the_epoch_of_zero_error_accuracy_tells_it() -> None:
    frame = table(course("a", 8, 0, 1.0)).frame.drop(ZERO_ERROR)
    frame = frame.with_columns(
        train_accuracy=(pl.col("epoch") / 40).clip(0, 1),
        val_loss=pl.lit(0.0),
        nc1_ratio=pl.lit(None, pl.Float64),
    )
    lines = training_epochs(replace(table(course("a", 8, 0, 1.0)), frame=frame))
    rows = lines.rows_by_key(["metric", "event"], named=True, unique=True)
    assert rows["train_accuracy", FITTED]["epoch"] == 40
    assert rows["val_loss", NEAR_BEST]["note"] == "its best is 0"
    assert rows["nc1_ratio", HALF_WAY]["note"] == "no checkpoint has a value"
    assert rows["nc1_ratio", "at most 0.25"]["note"] == "no checkpoint has a value"


def test_a_regression_has_no_epoch_of_zero_error() -> None:
    """It has no error rate; a classification beside it that did not fit is counted."""
    frame = table(course("a", 8, 0, 1.0), course("b", 8, 1, 1.0)).frame.with_columns(
        pl.lit(None, pl.Int64).alias(ZERO_ERROR),
        pl.when(pl.col("training") == "b").then(0.5).alias("train_accuracy"),
    )
    lines = epochs_at(Table(frame, ROLES, "runs/made"))
    fitted = lines.filter(pl.col("event") == FITTED)
    assert fitted.select("metric", "trainings", "reached").rows() == [(ZERO_ERROR, 1, 0)]
    alone = Table(frame.filter(pl.col("training") == "a"), ROLES, "runs/made")
    assert FITTED not in epochs_at(alone)["event"].to_list()


def test_single_checkpoints_have_no_course() -> None:
    frame = table(course("a", 8, 0, 1.0)).frame.filter(pl.col("epoch") == 160)
    assert epochs_at(replace(table(course("a", 8, 0, 1.0)), frame=frame)).is_empty()


def test_the_report_shows_both_time_scales() -> None:
    courses = [course(f"{w}-{s}", w, s, 1.0 + s) for w in (8, 16) for s in (0, 1)]
    report = build_report(table(*courses), Choices(99, 50, 0), only=("epochs_at",))
    frame = report.frames["epochs_at"]
    assert frame.filter(event=FITTED)["epoch"].item() == 15
    assert len(report.frames["epochs_at_trainings"]) == 4 * len(frame)
    names = [each.get_text() for each in report.figures["epochs_at"].axes[0].get_yticklabels()]
    events = frame.select("metric", "event").rows()[1:]
    assert names == [FITTED, *(f"{label(metric)}, {event}" for metric, event in events)]


def test_a_crossing_is_the_first_one() -> None:
    times = [1, 2, 4, 8]
    assert first_crossing(times, [5, 1, 5, 1], 3, "lower") == 1.5
    assert first_crossing(times, [1, 5, 1, 5], 3, "lower") == 1
    assert first_crossing(times, [5, 4, 4, 4], 3, "lower") is None
    assert first_crossing(times, [0, 0, 0, 3], 3, "higher") == 8
    with pytest.raises(ValueError, match="ascending"):
        first_crossing([1, 1], [0, 1], 1, "higher")
    with pytest.raises(ValueError, match="ascending"):
        first_crossing([], [], 1, "higher")


def test_one_value_has_no_interval() -> None:
    assert mean_interval([7.0]) == (7.0, None, None)
