"""Paired differences between precisions, against numpy and scipy on hand-made tables."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from analysis.findings.degradation import (
    changes,
    comparisons,
    paired,
    seed_spread,
    uncompared,
)
from analysis.findings.links import change_links
from analysis.reading.selection import precisions
from analysis.reading.table import Choices, Metric, Roles, Table
from analysis.report.page import build_report

CHOICES = Choices(permutations=2_000, bootstrap=500, seed=3)


def table(
    precisions: tuple[str, ...] = ("int8", "fp32", "qat-int4", "ft-fp32"), trainings: int = 12
) -> Table:
    """Two checkpoints of each training; the first must never count."""
    rng = np.random.default_rng(8)
    rows = []
    for number in range(trainings):
        loss, metric = 3.0 + rng.standard_normal(), rng.standard_normal()
        for name in precisions:
            for epoch in (1, 2):
                error = 0.01 * (1 + rng.random())
                rows.append(
                    {
                        "training": f"t{number:02}",
                        "width": (32, 64, 128)[number % 3],
                        "seed": number // 3,
                        "epoch": epoch,
                        "precision": name,
                        "val_loss": loss
                        + (5.0 if epoch == 1 else 0.0)
                        + len(name) * 0.1
                        + 0.05 * rng.standard_normal(),
                        "nc1_cdnv": metric + 0.02 * rng.standard_normal(),
                        "nc1_cdnv_galanti": metric + 0.02 * rng.standard_normal(),
                        "nc2_log_norm_mean": metric + 0.02 * rng.standard_normal(),
                        "weight_error": None if name == "fp32" else error,
                        "mean_drift": None if name == "fp32" else error**2,
                    }
                )
    metrics = ("nc1_cdnv", "nc1_cdnv_galanti", "nc2_log_norm_mean")
    roles = Roles(
        response="val_loss",
        responses={"val_loss": "lower"},
        metrics={name: Metric(name, "NC1", "lower") for name in metrics},
        axes=("width",),
        architecture=("width",),
        unit="training",
        order="epoch",
        seed="seed",
        precision="precision",
    )
    return Table(pl.DataFrame(rows), roles, "hand-made")


def last(frame: pl.DataFrame, precision: str, column: str) -> np.ndarray:
    kept = frame.filter((pl.col("precision") == precision) & (pl.col("epoch") == 2)).sort(
        "training"
    )
    return kept[column].to_numpy()


def test_a_fine_tuned_precision_is_never_the_reference_where_there_is_another() -> None:
    """Without fp32 the first plain precision is, then the control, whatever stands first."""
    assert comparisons(table(("qat-int4", "ft-fp32", "int4"))) == [
        ("qat-int4", "ft-fp32"),
        ("ft-fp32", "int4"),
    ]
    assert comparisons(table(("efqat-int4", "ft-fp32"))) == [("efqat-int4", "ft-fp32")]
    assert precisions(table(("qat-int4", "int8"))) == ["int8", "qat-int4"]


def test_a_training_whose_last_checkpoint_has_no_response_at_a_precision_is_left_out_there() -> (
    None
):
    """As where logits overflow in fp16 late in training: its epoch 1 is not compared with epoch 2
    of fp32."""
    whole = table()
    overflown = (
        (pl.col("training") < "t05") & (pl.col("precision") == "int8") & (pl.col("epoch") == 2)
    )
    part = Table(whole.frame.filter(~overflown), whole.roles, "hand-made")
    rows = paired(part, "int8", "fp32")
    assert rows["training"].to_list() == [f"t{number:02}" for number in range(5, 12)]
    assert rows.select("epoch", "epoch_q").unique().rows() == [(2, 2)]
    told = changes(part, CHOICES).row(
        by_predicate=(pl.col("precision") == "int8") & (pl.col("column") == "val_loss"), named=True
    )
    expected = last(whole.frame, "int8", "val_loss")[5:] - last(whole.frame, "fp32", "val_loss")[5:]
    assert told["n"] == 7
    assert told["median"] == pytest.approx(np.median(expected), rel=1e-12)


def test_fine_tuned_precisions_are_compared_with_their_control() -> None:
    assert comparisons(table()) == [("int8", "fp32"), ("qat-int4", "ft-fp32"), ("ft-fp32", "fp32")]
    without = table(("fp32", "qat-int4", "efqat-int4-g32", "bf16"))
    assert comparisons(without) == [("bf16", "fp32")]
    assert uncompared(without) == ["qat-int4", "efqat-int4-g32"]
    assert comparisons(table(("bf16", "int8"))) == [("int8", "bf16")]


def test_changes_equal_numpy() -> None:
    data = table()
    lines = changes(data, CHOICES)
    for precision, baseline in comparisons(data):
        for column in ("val_loss", "nc1_cdnv"):
            line = lines.filter(
                (pl.col("precision") == precision) & (pl.col("column") == column)
            ).row(0, named=True)
            before, after = last(data.frame, baseline, column), last(data.frame, precision, column)
            difference = after - before
            groups = np.arange(12) % 3
            squares = sum(
                np.square(before[groups == g] - before[groups == g].mean()).sum() for g in range(3)
            )
            assert line["n"] == 12
            assert line["baseline"] == baseline
            assert line["median"] == pytest.approx(np.median(difference), abs=1e-12)
            assert line["mean"] == pytest.approx(difference.mean(), abs=1e-12)
            assert line["seed_sd"] == pytest.approx(np.sqrt(squares / 9), abs=1e-12)
            assert line["in_seed_sd"] == pytest.approx(
                np.median(difference) / np.sqrt(squares / 9), abs=1e-10
            )
            assert line["low"] <= line["median"] <= line["high"]
    worse = lines.filter((pl.col("precision") == "qat-int4") & (pl.col("column") == "val_loss"))[
        "worse"
    ].item()
    assert worse == np.count_nonzero(
        last(data.frame, "qat-int4", "val_loss") > last(data.frame, "ft-fp32", "val_loss")
    )


def test_the_tables_of_a_report_equal_numpy() -> None:
    """What a reader sees: a line per precision, by bits, with medians over trainings at their last
    checkpoints."""
    data = table(trainings=10)
    bits = {"fp32": 32.0, "ft-fp32": 32.0, "int8": 8.5, "qat-int4": 4.25}
    size = pl.col("precision").replace_strict(bits, return_dtype=pl.Float64)
    frame = data.frame.with_columns(bits_per_weight=size, model_bytes=size * 2**18 + pl.col("seed"))
    report = build_report(Table(frame, data.roles, "hand-made"), CHOICES, only=("precision",))
    shown = report.frames["precision"]
    pairs = [("fp32", ""), ("ft-fp32", "fp32"), ("int8", "fp32"), ("qat-int4", "ft-fp32")]
    assert shown.select("precision", "baseline").rows() == pairs
    for line in shown.to_dicts():
        name, after = line["precision"], last(frame, line["precision"], "val_loss")
        assert line["n"] == 10
        assert line["bits"] == bits[name]
        assert line["mib"] == pytest.approx(
            np.median(last(frame, name, "model_bytes")) / 2**20, rel=1e-12
        )
        assert line["after"] == pytest.approx(np.median(after), rel=1e-12)
        if name == "fp32":
            assert line["change"] is line["before"] is line["weight_error"] is None
            continue
        before = last(frame, line["baseline"], "val_loss")
        assert line["before"] == pytest.approx(np.median(before), rel=1e-12)
        assert line["change"] == pytest.approx(np.median(after - before), abs=1e-12)
        assert line["worse"] == np.count_nonzero(after > before)
        assert line["weight_error"] == pytest.approx(
            np.median(last(frame, name, "weight_error")), rel=1e-12
        )
        assert line["mean_drift"] == pytest.approx(
            np.median(last(frame, name, "mean_drift")), rel=1e-12
        )
        signs = 1 - 2 * ((np.arange(2**10)[:, None] >> np.arange(10)) & 1)
        flipped = np.abs(signs @ (after - before))
        assert line["p"] == pytest.approx(
            np.mean(flipped >= abs((after - before).sum()) - 1e-12), abs=1e-12
        )
    full = report.frames["changes"].filter(
        (pl.col("column") == "val_loss") & (pl.col("precision") == "int8")
    )
    assert full["median"].item() == shown.filter(pl.col("precision") == "int8")["change"].item()


def test_links_equal_statsmodels() -> None:
    data = table()
    lines = change_links(data, CHOICES)
    wide = np.log(last(data.frame, "fp32", "width"))
    dy = last(data.frame, "int8", "val_loss") - last(data.frame, "fp32", "val_loss")
    dx = last(data.frame, "int8", "nc1_cdnv") - last(data.frame, "fp32", "nc1_cdnv")
    dn = last(data.frame, "int8", "nc2_log_norm_mean") - last(
        data.frame, "fp32", "nc2_log_norm_mean"
    )
    error = last(data.frame, "int8", "weight_error")
    loss, metric = last(data.frame, "fp32", "val_loss"), last(data.frame, "fp32", "nc1_cdnv")
    expected = {
        ("change", "axes"): (dx, [wide]),
        ("change", "axes, weight_error"): (dx, [wide, error]),
        ("change", "axes, change of nc2_log_norm_mean"): (dx, [wide, dn]),
        ("change", "axes, weight_error, change of nc2_log_norm_mean"): (dx, [wide, error, dn]),
        ("baseline", "val_loss"): (metric, [loss]),
        ("baseline", "val_loss, nc2_log_norm_mean"): (
            metric,
            [loss, last(data.frame, "fp32", "nc2_log_norm_mean")],
        ),
    }
    found = lines.filter((pl.col("precision") == "int8") & (pl.col("metric") == "nc1_cdnv"))
    assert set(found.select("kind", "given").rows()) == set(expected)
    for (kind, given), (x, covariates) in expected.items():
        line = found.filter((pl.col("kind") == kind) & (pl.col("given") == given)).row(
            0, named=True
        )
        fit = sm.OLS(dy, np.column_stack([x, np.ones(12), *covariates])).fit()
        t = fit.tvalues[0]
        assert line["n"] == 12
        assert line["r"] == pytest.approx(np.corrcoef(x, dy)[0, 1], abs=1e-12)
        assert line["partial_r"] == pytest.approx(t / np.sqrt(t * t + fit.df_resid), abs=1e-10)
        assert 0 < line["partial_p"] <= 1


def test_what_fine_tuning_moved_is_no_rounding_noise() -> None:
    """The weight error of qat-* is against the checkpoint, so it contains the fine-tuning, as that
    of ft-fp32 does."""
    lines = change_links(table(precisions=("fp32", "int4", "ft-fp32", "qat-int4")), CHOICES)
    noisy = lines.filter(pl.col("given").str.contains("weight_error"))
    assert set(noisy["precision"]) == {"int4"}


def test_only_trainings_measured_at_both_are_paired() -> None:
    data = table()
    fewer = Table(
        data.frame.filter(~((pl.col("training") == "t03") & (pl.col("precision") == "int8"))),
        data.roles,
        "hand-made",
    )
    rows = paired(fewer, "int8", "fp32")
    assert rows.height == 11
    assert "t03" not in rows["training"]
    assert rows["epoch"].unique().to_list() == [2]


def test_spread_between_seeds_needs_two_seeds() -> None:
    rows = pl.DataFrame({"width": [1, 1, 2], "value": [1.0, 3.0, 9.0]})
    assert seed_spread(rows, ("width",), "value") == pytest.approx(np.sqrt(2.0))
    assert seed_spread(rows.tail(2), ("width",), "value") is None


def test_metrics_with_kept_means_start_from_the_metric_itself() -> None:
    data = table(("fp32", "int8"))
    kept = pl.when(pl.col("precision") == "int8").then(pl.col("nc1_cdnv") + 0.25)
    frame = data.frame.with_columns(kept.alias("nc1_cdnv_refmeans"))
    lines = changes(Table(frame, data.roles, "hand-made"), CHOICES)
    plain, with_means = (
        lines.filter(pl.col("column") == name)["median"].item()
        for name in ("nc1_cdnv", "nc1_cdnv_refmeans")
    )
    assert with_means == pytest.approx(plain + 0.25, abs=1e-12)
