"""Paired differences between precisions, against numpy and scipy on hand-made tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats

from analysis.figures.precision import by_precision
from analysis.findings.changes import changes, moving_axis, seed_spread
from analysis.findings.pairs import comparisons, paired, with_training
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
    rows = frame.filter((pl.col("precision") == precision) & (pl.col("epoch") == 2)).sort(
        "training"
    )
    return rows[column].to_numpy()


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
    line = line_of(changes(part, CHOICES), precision="int8", column="val_loss")
    expected = last(whole.frame, "int8", "val_loss")[5:] - last(whole.frame, "fp32", "val_loss")[5:]
    assert line["n"] == 7
    assert line["estimate"] == pytest.approx(pseudo_median(expected), rel=1e-12)


def test_fine_tuned_precisions_are_compared_with_their_control() -> None:
    assert comparisons(table()) == [("int8", "fp32"), ("qat-int4", "ft-fp32"), ("ft-fp32", "fp32")]
    without = table(("fp32", "qat-int4", "efqat-int4-g32", "bf16"))
    pairs = [(name, "fp32") for name in ("qat-int4", "efqat-int4-g32", "bf16")]
    assert comparisons(without) == pairs
    assert with_training(pairs) == ["qat-int4", "efqat-int4-g32"]
    assert with_training(comparisons(table())) == []
    assert comparisons(table(("bf16", "int8"))) == [("int8", "bf16")]


def pseudo_median(d: np.ndarray) -> float:
    """Reference: the definition, the median of the averages of all pairs."""
    pairs = [(d[i] + d[j]) / 2 for i in range(len(d)) for j in range(i, len(d))]
    return float(np.median(pairs))


def line_of(lines: pl.DataFrame, **where: str) -> dict[str, Any]:
    """The one line of a column over all trainings, or at a level."""
    return lines.filter(**({"level": ""} | where)).row(0, named=True)


def test_changes_equal_scipy() -> None:
    data = table()
    lines = changes(data, CHOICES)
    for precision, baseline in comparisons(data):
        for column in ("val_loss", "nc1_cdnv"):
            line = line_of(lines, precision=precision, column=column)
            before, after = last(data.frame, baseline, column), last(data.frame, precision, column)
            difference = after - before
            groups = np.arange(12) % 3
            squares = sum(
                np.square(before[groups == g] - before[groups == g].mean()).sum() for g in range(3)
            )
            deviation = np.sqrt(squares / 9)
            assert line["n"] == 12
            assert line["p"] == pytest.approx(scipy.stats.wilcoxon(difference).pvalue, abs=1e-12)
            assert line["estimate"] == pytest.approx(pseudo_median(difference), abs=1e-12)
            assert line["seed_sd"] == pytest.approx(deviation, abs=1e-12)
            assert line["margin"] == pytest.approx(deviation / 10, abs=1e-12)
            assert line["in_seed_sd"] == pytest.approx(line["estimate"] / deviation, abs=1e-10)
            assert line["low"] <= line["estimate"] <= line["high"]
            assert line["p"] <= line["p_maxt"]
            assert (line["low"] <= 0 <= line["high"]) == (line["p"] > 0.05)
    worse = line_of(lines, precision="qat-int4", column="val_loss")["worse"]
    assert worse == np.count_nonzero(
        last(data.frame, "qat-int4", "val_loss") > last(data.frame, "ft-fp32", "val_loss")
    )


def made(
    change: Callable[[int, str, np.random.Generator], float],
    *,
    trainings: int = 24,
    seed: int = 0,
    margin: float | None = None,
) -> Table:
    """Trainings of 2 widths x 3 epochs whose loss a precision changes; seeds differ by 1."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(trainings):
        width, epochs, loss = (32, 64)[number % 2], (1, 3, 10)[number // 2 % 3], rng.normal(5, 1)
        for name in ("fp32", "int8", "int4", "int2"):
            d = 0.0 if name == "fp32" else change(epochs, name, rng)
            rows.append(
                {
                    "training": f"t{number:02}",
                    "width": width,
                    "epochs": epochs,
                    "seed": number // 6,
                    "precision": name,
                    "val_loss": loss + d,
                    "nc1_ratio": rng.standard_normal(),
                }
            )
    roles = Roles(
        response="val_loss",
        responses={"val_loss": "lower"},
        metrics={"nc1_ratio": Metric("nc1_ratio", "NC1", "lower")},
        axes=("width", "epochs"),
        architecture=("width",),
        unit="training",
        seed="seed",
        precision="precision",
        margin={} if margin is None else {"val_loss": margin},
    )
    return Table(pl.DataFrame(rows), roles, "made up")


def noise(mean: float, deviation: float) -> Callable[[int, str, np.random.Generator], float]:
    """The same normal change everywhere."""
    return lambda epochs, name, rng: float(rng.normal(mean, deviation))


def test_precisions_that_change_nothing_are_seldom_said_to() -> None:
    """100 studies of three precisions: family-wise error at most 5%, to the .999 quantile."""
    choices, wrong = Choices(permutations=999), 0
    for seed in range(100):
        data = made(lambda epochs, name, rng: rng.standard_t(2), seed=seed)
        lines = changes(data, choices).filter(column="val_loss", level="")
        wrong += (lines["verdict"] == "changed").any()
    assert wrong <= scipy.stats.binom.ppf(0.999, 100, 0.05)


def test_noise_within_the_margin_is_no_more_than_it_and_beyond_it_undecided() -> None:
    small = changes(made(noise(0, 0.01), margin=0.02), CHOICES)
    large = changes(made(noise(0, 0.2), margin=0.02), CHOICES)
    for lines, verdict in ((small, "no more than"), (large, "undecided")):
        shown = lines.filter(column="val_loss", level="")
        assert shown["verdict"].to_list() == [verdict] * 3
        assert shown["margin"].to_list() == [0.02] * 3
    assert line_of(small, precision="int8", column="val_loss")["p_margin"] < 1e-4


def test_a_shift_is_found_with_its_size() -> None:
    lines = changes(made(noise(0.5, 0.1)), CHOICES)
    for line in lines.filter(column="val_loss", level="").to_dicts():
        assert line["verdict"] == "changed" and line["p_maxt"] < 1e-3
        assert line["low"] < 0.5 < line["high"]


def test_a_column_without_any_change_is_said_to_have_none() -> None:
    line = line_of(changes(made(noise(0, 0)), CHOICES), precision="int8", column="val_loss")
    assert (line["verdict"], line["note"]) == ("no more than", "changes in no training")
    assert (line["estimate"], line["low"], line["high"]) == (0.0, 0.0, 0.0)


def test_five_trainings_cannot_reject_and_six_can() -> None:
    """Losses from 3 to 6 in 5 of 5 trainings: no pattern of five signs has p below 2/32."""
    for trainings, verdict in ((5, "cannot reject"), (6, "changed")):
        lines = changes(made(noise(3, 0.1), trainings=trainings), CHOICES)
        shown = lines.filter(column="val_loss", level="")
        assert shown["verdict"].to_list() == [verdict] * 3
        assert shown["note"].str.contains("cannot reject with n = 5").all() == (trainings == 5)
        assert shown["p"].to_list() == [pytest.approx(2 / 2**trainings)] * 3


def test_what_only_long_trainings_lose_is_seen_beside_the_total() -> None:
    def change(epochs: int, name: str, rng: np.random.Generator) -> float:
        return float(rng.normal(1.0 if epochs == 10 and name == "int2" else 0.0, 0.01))

    data = made(change, trainings=48, margin=0.1)
    lines = changes(data, CHOICES)
    pairings = {("int2", "fp32"): paired(data, "int2", "fp32")}
    assert moving_axis(pairings, data.roles) == ("epochs", [1, 3, 10])
    levels = [
        line_of(lines, precision="int2", column="val_loss", level=f"epochs {epochs}")
        for epochs in (1, 3, 10)
    ]
    assert [line["verdict"] for line in levels] == ["no more than", "no more than", "changed"]
    assert levels[-1]["estimate"] == pytest.approx(1.0, abs=0.02)
    assert [line["n"] for line in levels] == [16] * 3
    assert set(lines.filter(precision="int8", column="val_loss")["verdict"]) == {"no more than"}


def test_no_axis_moves_what_is_the_same_everywhere() -> None:
    data = made(noise(0, 0))
    assert moving_axis({("int8", "fp32"): paired(data, "int8", "fp32")}, data.roles) is None


def test_precisions_that_lack_trainings_are_adjusted_by_holm() -> None:
    data = made(noise(0.1, 0.2))
    gone = (pl.col("precision") == "int2") & (pl.col("training") < "t04")
    lines = changes(Table(data.frame.filter(~gone), data.roles, "made up"), CHOICES)
    line = line_of(lines, precision="int2", column="val_loss")
    shown = lines.filter(column="val_loss", level="")
    rank = sorted(shown["p"]).index(line["p"])
    assert line["n"] == 20 and "by Holm" in line["note"]
    assert line["p_maxt"] >= min((3 - rank) * line["p"], 1.0) - 1e-12
    assert line["permutations"] is None


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
        assert line["change"] == pytest.approx(pseudo_median(after - before), abs=1e-12)
        assert line["worse"] == np.count_nonzero(after > before)
        assert line["weight_error"] == pytest.approx(
            np.median(last(frame, name, "weight_error")), rel=1e-12
        )
        assert line["mean_drift"] == pytest.approx(
            np.median(last(frame, name, "mean_drift")), rel=1e-12
        )
        assert line["p"] == pytest.approx(scipy.stats.wilcoxon(after - before).pvalue, abs=1e-12)
    full = line_of(report.frames["changes"], column="val_loss", precision="int8")
    assert full["estimate"] == shown.filter(pl.col("precision") == "int8")["change"].item()


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
    with_kept_means = pl.when(pl.col("precision") == "int8").then(pl.col("nc1_cdnv") + 0.25)
    frame = data.frame.with_columns(with_kept_means.alias("nc1_cdnv_refmeans"))
    lines = changes(Table(frame, data.roles, "hand-made"), CHOICES)
    plain, with_means = (
        line_of(lines, column=name)["estimate"] for name in ("nc1_cdnv", "nc1_cdnv_refmeans")
    )
    assert with_means == pytest.approx(plain + 0.25, abs=1e-12)


def test_the_forest_shows_every_line_of_the_response() -> None:
    """A point and an interval for each level of each precision, filled where it changed."""

    def change(epochs: int, name: str, rng: np.random.Generator) -> float:
        return float(rng.normal(1.0 if epochs == 10 and name == "int2" else 0.0, 0.01))

    lines = changes(made(change, trainings=48, margin=0.1), CHOICES).filter(column="val_loss")
    (axis,) = by_precision(lines, "val_loss").axes
    points = [line for line in axis.lines if line.get_marker() == "o"]
    others = [line.get_xydata() for line in axis.lines if line.get_marker() != "o"]
    bars = [xy[:, 0] for xy in map(np.asarray, others) if len(set(xy[:, 1])) == 1]
    assert [float(np.asarray(line.get_xdata())[0]) for line in points] == lines[
        "estimate"
    ].to_list()
    assert [tuple(x) for x in bars] == lines.select("low", "high").rows()
    filled = [line.get_markerfacecolor() != "white" for line in points]
    assert filled == (lines["verdict"] == "changed").to_list()
    assert sum(filled) == 2  # int2 over all trainings and after 10 epochs
    texts = [text.get_text() for text in axis.get_yticklabels()]
    assert texts == ["int8 − fp32", "int4 − fp32", "int2 − fp32"]


def test_without_their_control_fine_tuned_precisions_say_what_is_in_their_change() -> None:
    whole = table()
    part = Table(
        whole.frame.filter(pl.col("precision") != "ft-fp32"), whole.roles, "without control"
    )
    lines = changes(part, CHOICES)
    line = line_of(lines, precision="qat-int4", column="val_loss")
    expected = last(whole.frame, "qat-int4", "val_loss") - last(whole.frame, "fp32", "val_loss")
    assert line["baseline"] == "fp32"
    assert line["estimate"] == pytest.approx(pseudo_median(expected), rel=1e-12)
    noted = lines.filter(pl.col("note").str.contains("further training is in it"))
    assert noted["precision"].unique().to_list() == ["qat-int4"]
    assert not changes(whole, CHOICES)["note"].str.contains("further training").any()
