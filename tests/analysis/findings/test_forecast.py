"""What a metric adds to a forecast: nothing where it follows the axes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import scipy.stats
from null_studies import null_study
from places import SEARCH_SPACES, SHARED

from analysis.findings.controls import axis_covariates
from analysis.findings.forecast import TOGETHER, forecast
from analysis.reading.load import load
from analysis.reading.selection import final_rows
from analysis.reading.table import Choices, Table
from analysis.statistics.design import leave_groups_out_q2

CHOICES = Choices(permutations=499, bootstrap=200, seed=1)
PUBLISHED = SHARED / "lc-2024_10_24.csv"
MAP = SEARCH_SPACES / "columns" / "linguistic_collapse_2024_10.yaml"


def of(data: Table) -> pl.DataFrame:
    return forecast(final_rows(data), data.roles, CHOICES)


def test_a_metric_that_follows_the_axes_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 studies whose metric and loss follow the axes: claims to the .999 quantile of 5%."""
    for module in ("forecast", "verdicts"):
        monkeypatch.setattr(f"analysis.findings.{module}.MOST", CHOICES.permutations)
    claims = 0
    for seed in range(40):
        line = of(null_study(seed)).filter(metric="nc1_ratio").row(0, named=True)
        claims += line["verdict"] == "associated"
    assert claims <= scipy.stats.binom.ppf(0.999, 40, 0.05)


def test_a_metric_that_knows_more_than_the_axes_adds_it() -> None:
    lines = of(null_study(3, seeds=4, link=3.0))
    line = lines.filter(metric="nc1_ratio").row(0, named=True)
    assert line["verdict"] == "associated" and line["estimate"] > 0
    assert line["q2_with"] - line["q2_without"] == pytest.approx(line["estimate"])
    assert lines.filter(metric=TOGETHER)["verdict"].item() == "associated"


def test_a_setting_of_one_architecture_is_left_out() -> None:
    """Orders of one cell, at a decay of their own, change nothing of the forecast of the grid."""
    data = null_study(5)
    decay = pl.when(pl.col("seed") % 2 == 0).then(0.01).otherwise(1.0)
    rows = final_rows(data).with_columns(weight_decay=decay)
    roles = replace(data.roles, axes=(*data.roles.axes, "weight_decay"))
    grid = forecast(rows, roles, CHOICES)
    own = rows.filter(pl.col("width") == rows["width"][0]).with_columns(weight_decay=pl.lit(0.1))
    both = forecast(pl.concat([rows, own]), roles, CHOICES)
    assert both.drop("note").equals(grid.drop("note"))
    assert grid["q2_with"].count()
    counted = f"{len(own)} trainings with a setting of one architecture left out"
    assert all(note.startswith(counted) for note in both.filter(family="primary")["note"])


def test_q2_is_that_of_a_plain_loop() -> None:
    """Reference: one model fitted by numpy for each architecture that is left out."""
    data = null_study(5)
    rows = final_rows(data)
    lines = forecast(rows, data.roles, CHOICES)
    assert lines["model"][0] == "quadratic in logs"
    width, epochs = (np.log(rows[name].to_numpy()) for name in ("width", "epochs"))
    design = np.column_stack(
        [np.ones(len(rows)), width, epochs, width**2, width * epochs, epochs**2]
    )
    y, groups = rows["val_loss"].to_numpy(), rows["width"].to_numpy()

    def q2(columns: np.ndarray) -> float:
        error = np.empty(len(y))
        for group in np.unique(groups):
            out = groups == group
            slopes = np.linalg.lstsq(columns[~out], y[~out], rcond=None)[0]
            error[out] = y[out] - columns[out] @ slopes
        return float(1 - np.square(error).sum() / np.square(y - y.mean()).sum())

    line = lines.filter(metric="nc1_ratio").row(0, named=True)
    assert line["q2_without"] == pytest.approx(q2(design), abs=1e-8)
    with_metric = np.column_stack([design, rows["nc1_ratio"].to_numpy()])
    assert line["q2_with"] == pytest.approx(q2(with_metric), abs=1e-8)
    assert line["groups"] == 4


def test_without_replicates_the_gain_is_shown_and_cannot_reject() -> None:
    lines = of(null_study(5, seeds=1, widths=(32, 64, 128, 256, 512), epochs=(1, 2, 4, 8)))
    line = lines.filter(metric="nc1_ratio").row(0, named=True)
    assert line["verdict"] == "cannot reject" and line["estimate"] is not None
    assert "no p below 1 is possible" in line["note"]


def test_two_architectures_have_no_table() -> None:
    assert of(null_study(5, widths=(32, 64))).is_empty()


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"{PUBLISHED} is not there")
def test_the_published_models() -> None:
    """Known from an independent script: grid alone .900 linear, .968 quadratic, more with."""
    data = load(PUBLISHED, columns=MAP)
    rows = final_rows(data)
    lines = forecast(rows, data.roles, Choices(permutations=99, bootstrap=99))
    assert lines["groups"][0] == 30 and lines["model"][0] == "quadratic in logs"
    assert lines["q2_without"][0] == pytest.approx(0.968, abs=0.0005)
    groups = rows.select(pl.struct("width", "depth").rank("dense")).to_series().to_numpy()
    y = rows["val_loss"].to_numpy()
    straight = axis_covariates(rows, data.roles)[1]
    assert leave_groups_out_q2(y, straight, groups) == pytest.approx(0.900, abs=0.0005)
    known = {"nc2_log_norm_std", "nc2_log_norm_mean", "nc4_agreement", "nc3_dot_mean"}
    gained = lines.filter(pl.col("metric").is_in(list(known)))["q2_with"]
    assert gained.is_between(0.976, 0.988).all()
