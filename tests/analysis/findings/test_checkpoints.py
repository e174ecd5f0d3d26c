"""Metric and response over training: silence where only the course is shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from null_studies import null_study

import analysis.findings.verdicts
from analysis.findings.checkpoints import checkpoints, lead
from analysis.findings.verdicts import LATER_SEED
from analysis.reading.table import Choices, Table
from analysis.statistics.checkpoints import prepare_courses, shared_courses
from analysis.statistics.decide import settle

CHOICES = Choices(permutations=499, bootstrap=200, seed=1)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permutations do not go on, so that hundreds of studies take seconds."""
    monkeypatch.setattr(analysis.findings.verdicts, "MOST", CHOICES.permutations)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("finding", [checkpoints, lead])
def test_a_shared_course_is_no_association(
    finding: Callable[[Table, Choices], pl.DataFrame],
) -> None:
    """x and y both follow time; 100 studies, rejections to the .999 quantile of 5%."""
    rejected = 0
    for seed in range(100):
        data = null_study(seed)
        raw = data.frame.filter(precision="fp32")
        assert abs(np.corrcoef(raw["nc1_ratio"], raw["val_loss"])[0, 1]) > 0.8
        line = finding(data, CHOICES).filter(metric="nc1_ratio").row(0, named=True)
        rejected += line["p"] <= 0.05
    assert rejected <= scipy.stats.binom.ppf(0.999, 100, 0.05)


@pytest.mark.usefixtures("few")
def test_what_trainings_have_beside_their_course_is_found() -> None:
    lines = checkpoints(null_study(1, link=3.0, seeds=5), CHOICES)
    line = lines.filter(metric="nc1_ratio").row(0, named=True)
    assert line["verdict"] == "associated"
    assert line["low"] > 0.5 and line["trainings"] == 60


@pytest.mark.usefixtures("few")
def test_lines_equal_the_statistic() -> None:
    data = null_study(7)
    rows = data.frame.filter(precision="fp32").sort("training", "epoch")
    labels: dict[str, Any] = {
        "cells": rows.select(pl.struct("width", "epochs").rank("dense")).to_series().to_numpy(),
        "units": rows["training"].to_numpy(),
        "epochs": rows["epoch"].to_numpy(),
    }
    x, y = rows["nc1_ratio"].to_numpy(), rows["val_loss"].to_numpy()
    shared = shared_courses(**labels)
    reference = settle(prepare_courses(x, y, shared), permutations=499, most=499, seed=1)
    line = checkpoints(data, CHOICES).filter(metric="nc1_ratio").row(0, named=True)
    assert line["estimate"] == pytest.approx(float(reference.r), abs=1e-12)
    assert line["p"] == pytest.approx(float(reference.p), abs=1e-12)
    test = prepare_courses(x[:, None], y, shared)
    assert (line["low"], line["high"]) == pytest.approx(
        np.ravel(test.interval(499, LATER_SEED)), abs=1e-12
    )
    assert line["n"] == len(shared.rows)


def test_lead_by_a_plain_loop() -> None:
    """r of a change and the one that follows, both centred by design cell and epochs."""
    data = null_study(7)
    rows = data.frame.filter(precision="fp32").sort("training", "epoch")
    moves: dict[tuple[object, ...], list[tuple[float, ...]]] = {}
    for part in rows.partition_by("training"):
        x, y, epoch = (part[name].to_list() for name in ("nc1_ratio", "val_loss", "epoch"))
        cell = part.select("width", "epochs").row(0)
        for at in range(len(x) - 2):
            change = (
                x[at + 1] - x[at],
                y[at + 2] - y[at + 1],
                y[at + 1] - y[at],
                x[at + 2] - x[at + 1],
            )
            moves.setdefault((*cell, *epoch[at : at + 3]), []).append(change)
    groups = [np.array(group) for group in moves.values()]
    centred = np.concatenate([group - group.mean(axis=0) for group in groups])
    lines = lead(data, CHOICES).filter(metric="nc1_ratio")
    for order, (first, then) in (("metric first", (0, 1)), ("response first", (2, 3))):
        line = lines.filter(order=order).row(0, named=True)
        a, b = centred[:, first], centred[:, then]
        assert line["estimate"] == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)), abs=1e-10)
        assert line["n"] == len(centred)


@pytest.mark.usefixtures("few")
def test_the_metric_that_moves_first_is_told_from_the_one_that_follows() -> None:
    """The loss repeats what the metric did a checkpoint before."""
    data = null_study(8, seeds=6, epochs=(2, 3, 10))
    rng = np.random.default_rng(0)
    parts = []
    for part in data.frame.sort("training", "epoch").partition_by("training", "precision"):
        steps = rng.standard_normal(len(part) + 1)
        own = {"nc1_ratio": np.cumsum(steps[1:]), "val_loss": np.cumsum(steps[:-1])}
        parts.append(part.with_columns(pl.Series(name, values) for name, values in own.items()))
    lines = lead(Table(pl.concat(parts), data.roles, "made up"), CHOICES)
    verdicts = {
        line["order"]: line["verdict"] for line in lines.filter(metric="nc1_ratio").to_dicts()
    }
    assert verdicts == {"metric first": "associated", "response first": "not found"}


@pytest.mark.usefixtures("few")
def test_trainings_without_another_of_their_cell_cannot_reject() -> None:
    for finding in (checkpoints, lead):
        lines = finding(null_study(1, seeds=1), CHOICES)
        assert set(lines["verdict"]) == {"cannot reject"}
        assert lines["note"].str.contains("no design cell has two trainings").all()


def test_single_checkpoints_have_no_table() -> None:
    data = null_study(1)
    last = data.frame.filter(pl.col("epoch") == pl.col("epochs"))
    assert checkpoints(Table(last, data.roles, "made up"), CHOICES).is_empty()
    assert lead(Table(last, data.roles, "made up"), CHOICES).is_empty()


@pytest.mark.usefixtures("few")
def test_trainings_of_one_checkpoint_say_nothing_of_time() -> None:
    """Cells of a single epoch have their last checkpoint alone; elsewhere two of three stand."""
    data = null_study(1, seeds=5)
    longest = pl.col("epochs") == pl.col("epochs").max()
    last = pl.col("epoch") == pl.col("epochs")
    rows = data.frame.filter(longest | last)
    lines = checkpoints(Table(rows, data.roles, "made up"), CHOICES)
    alone = checkpoints(Table(data.frame.filter(longest), data.roles, "made up"), CHOICES)
    shared = ["metric", "n", "estimate", "low", "high", "p", "p_maxt", "verdict", "trainings"]
    assert lines.select(shared).equals(alone.select(shared))
    assert (lines["pooled_r"] != alone["pooled_r"]).all()
    seed = pl.col("seed") == pl.col("seed").min()
    lines = checkpoints(Table(data.frame.filter(seed | last), data.roles, "made up"), CHOICES)
    assert set(lines["verdict"]) == {"cannot reject"}
    assert lines["note"].str.contains("two trainings of several checkpoints").all()
