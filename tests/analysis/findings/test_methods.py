"""Methods beside formats, damage by layer and its sources, on a table made by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import scipy.stats
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from null_studies import null_study
from overlaps import overlaps

from analysis.figures.methods import damage_by_layer, methods_by_format
from analysis.figures.precision import change_scatter
from analysis.figures.ticks import signed_axis
from analysis.findings.bits import at_all_precisions
from analysis.findings.frames import lines_of
from analysis.findings.methods import MethodLine, methods, metrics_after, scopes, sources
from analysis.reading.table import Table
from analysis.report import descriptions
from study.store.methods import method_and_format

LOST = {"fp32": 0.0, "int3": 0.5, "gptq-int3": 0.2, "rot-gptq-int3": 0.1, "int3/block1": 0.1}
LOST |= {"int3/block2": 0.3, "int4": 0.05, "int8": 0.01}


def study() -> Table:
    """Eight trainings whose losses rise by known amounts at each precision."""
    table = null_study(3, seeds=8)
    first = table.frame.filter(precision="fp32")
    rng = np.random.default_rng(0)
    frames = []
    for place, (name, lost) in enumerate(LOST.items()):
        frames.append(
            first.with_columns(
                pl.lit(name).alias("precision"),
                pl.col("val_loss") + lost,
                weight_error=pl.lit(0.1 * place) + pl.Series(rng.uniform(0, 0.3, len(first))),
                signal_to_noise=pl.lit(40 - 60 * lost) + pl.Series(rng.uniform(0, 1, len(first))),
                bits_per_weight=pl.lit(3.0 if "int3" in name else 4.0),
            )
        )
    return replace(table, frame=pl.concat(frames))


def test_methods_are_paired_with_rounding_to_nearest() -> None:
    lines = methods(study())
    assert lines["method"].to_list() == ["nearest", "gptq", "rot-gptq"]
    assert set(lines["format"]) == {"int3"}
    n = lines["n"][0]
    assert lines["change"].to_list() == pytest.approx([0.5, 0.2, 0.1])
    assert lines["recovered"].to_list() == pytest.approx([0.0, 0.6, 0.8])
    assert lines["difference"].to_list()[1:] == pytest.approx([-0.3, -0.4])
    assert lines["p"][1] == pytest.approx(2.0 ** (1 - n))
    assert lines["difference"][0] is None


def test_what_an_accuracy_loses_is_what_a_loss_gains() -> None:
    table = study()
    accuracy = table.frame.with_columns(val_accuracy=9 - pl.col("val_loss"))
    roles = replace(table.roles, response="val_accuracy", responses={"val_accuracy": "higher"})
    other = replace(table, frame=accuracy, roles=roles)
    lines, turned = methods(table), methods(other)
    assert turned["recovered"].to_list() == pytest.approx(lines["recovered"].to_list())
    assert turned["change"].to_list() == pytest.approx((-lines["change"]).to_list())
    assert sources(other)["rho"].to_list() == pytest.approx(sources(table)["rho"].to_list())
    (plain,), (said,) = (
        descriptions.methods(lines_of(MethodLine, each), name)
        for each, name in ((lines, "val_loss"), (turned, "val_accuracy"))
    )
    assert "at int3 changes val_loss by +0.5000" in plain.text
    assert "at int3 changes val_accuracy by −0.5000" in said.text
    assert "rot-gptq 0.800, gptq 0.600" in said.text


def test_methods_stand_apart_for_each_kind_of_model() -> None:
    table = study()
    half = pl.col("training").rank("dense") % 2 == 0
    kinds = pl.when(half).then(pl.lit("a")).otherwise(pl.lit("b")).alias("model_kind")
    lines = methods(replace(table, frame=table.frame.with_columns(kinds)))
    assert set(lines["model"]) == {"a", "b"}
    assert lines["n"].sum() == methods(table)["n"].sum()


def test_damage_of_a_part_stands_beside_that_of_the_whole() -> None:
    lines = scopes(study())
    assert lines["scope"].to_list() == ["all", "block1", "block2"]
    assert lines["change"].to_list() == pytest.approx([0.5, 0.1, 0.3])
    assert lines["share"].to_list()[1:] == pytest.approx([0.2, 0.6])
    assert lines["share"][0] is None


def test_lines_reach_from_the_least_change_to_the_largest() -> None:
    """Each training loses another hundredth more than the one before."""
    table = study()
    spread = pl.when(pl.col("precision").is_in(["gptq-int3", "int3/block1"])).then(
        pl.col("training").rank("dense") / 100
    )
    frame = table.frame.with_columns(pl.col("val_loss") + spread.fill_null(0))
    changed = replace(table, frame=frame)
    gptq = methods(changed).row(by_predicate=pl.col("method") == "gptq", named=True)
    assert gptq["least"] == pytest.approx(0.2 + 0.01)
    assert gptq["largest"] == pytest.approx(0.2 + gptq["n"] / 100)
    part = scopes(changed).row(by_predicate=pl.col("scope") == "block1", named=True)
    assert (part["least"], part["largest"]) == pytest.approx((0.11, 0.1 + part["n"] / 100))


def test_the_summary_names_what_methods_recover_at_the_worst_format() -> None:
    lines = lines_of(MethodLine, methods(study()))
    (paragraph,) = descriptions.methods(lines, "val_loss")
    assert paragraph.text == (
        f"Rounding to nearest at int3 changes val_loss by +0.5000 (median, n {lines[0].n}); shares "
        "of the sum that methods recover are rot-gptq 0.800, gptq 0.600."
    )
    assert not list(descriptions.methods([replace(line, recovered=None) for line in lines], "x"))
    tuned = [replace(line, method="qat") for line in lines]
    assert not list(descriptions.methods(tuned, "val_loss"))


def test_parts_stand_in_the_order_of_the_model() -> None:
    table = study()
    names = {"int8": "int3/head", "int4": "int3/first", "int3/block1": "int3/block10"}
    named = table.frame.with_columns(pl.col("precision").replace(names))
    lines = scopes(replace(table, frame=named))
    assert lines["scope"].to_list() == ["all", "first", "block2", "block10", "head"]


def test_sources_of_damage_equal_rank_correlations_of_each_training() -> None:
    table = study()
    lines = sources(table)
    rows = table.frame.filter(pl.col("precision") != "fp32")
    last = rows.filter(pl.col("epoch") == pl.col("epoch").max().over("training"))
    by_hand: dict[str, list[float]] = {"weight_error": [], "signal_to_noise": []}
    for _, part in last.group_by("training"):
        for name, values in by_hand.items():
            rho = scipy.stats.spearmanr(part["val_loss"], part[name]).statistic
            values.append(rho if name == "weight_error" else -rho)
    for name, values in by_hand.items():
        line = lines.filter(error=name, given="").row(0, named=True)
        assert line["rho"] == pytest.approx(np.median(values))
        assert line["n"] == len(values)
    noise = lines.filter(error="signal_to_noise", given="weight_error")["rho"].item()
    assert noise > 0.8 > lines.filter(error="weight_error", given="signal_to_noise")["rho"].item()


def test_metrics_after_methods_are_medians() -> None:
    table = study()
    after = metrics_after(table, ["nc1_ratio"])
    expected = table.frame.filter(
        pl.col("epoch") == pl.col("epoch").max().over("training"), precision="gptq-int3"
    )["nc1_ratio"].median()
    assert after.filter(method="gptq")["nc1_ratio"].item() == expected


def test_figures_have_a_point_for_each_line() -> None:
    table = study()
    figure = methods_by_format(methods(table), "val_loss")
    (axis,) = figure.axes
    points = [each for each in axis.collections if isinstance(each, PathCollection)]
    assert sum(map(len, [np.asarray(drawn.get_offsets()) for drawn in points])) == len(
        methods(table)
    )
    assert overlaps(figure) == []
    figure = damage_by_layer(scopes(table), "val_loss")
    assert overlaps(figure) == []
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["int3/all", "int3/block1", "int3/block2"]


def test_curves_join_what_only_bits_tell_apart() -> None:
    rows = at_all_precisions(study())
    assert set(rows.filter("curve")["precision"]) == {"fp32", "int3", "int4", "int8"}
    assert not rows["tuned"].any()
    names = pl.col("precision").replace({"int3": "qat-int3", "fp32": "bf16"})
    table = study()
    rows = at_all_precisions(replace(table, frame=table.frame.with_columns(names)))
    expected = {"bf16", "int3/block1", "int3/block2", "int4", "int8"}
    assert set(rows.filter("curve")["precision"]) == expected
    assert set(rows.filter("tuned")["precision"]) == {"qat-int3"}


@pytest.mark.parametrize("values", [[-0.02, 0.3], [1e-7, 3.0], [-1.0, 1.0], [-0.004, 0.2]])
def test_labels_of_an_axis_of_both_signs_lie_apart(values: list[float]) -> None:
    figure = Figure(figsize=(3.4, 2))
    axis = figure.add_axes((0.1, 0.2, 0.8, 0.7))
    axis.set_xlabel("change")
    signed_axis(axis, "x", values, max(map(abs, values)) / 100)
    figure.draw_without_rendering()
    boxes = [tick.get_window_extent() for tick in axis.get_xticklabels()]
    assert len(boxes) > 1
    assert all(one.x1 < other.x0 for one, other in pairwise(sorted(boxes, key=lambda b: b.x0)))


@pytest.mark.parametrize("count", [1, 4])
def test_a_key_of_many_precisions_stays_in_its_figure(count: int) -> None:
    values = {"m": 0.0, "m_q": 1.0, "val_loss": 0.0, "val_loss_q": 1.0}
    frame = pl.DataFrame([{"training": "t", **values}])
    changes = [(f"smooth-int{number}-dynamic", frame) for number in range(40)]
    figure = change_scatter(
        changes,
        ["m"] * count,
        "val_loss",
        unit="training",
        precisions=[name for name, _ in changes],
    )
    assert overlaps(figure) == []
    key = [text.get_window_extent() for text in figure.texts]
    assert len(key) == 25  # 24 precisions, and how many more there are
    assert min(box.y0 for box in key) > figure.axes[0].get_window_extent().y1


def test_a_table_without_methods_has_no_lines() -> None:
    table = null_study(3, seeds=2)
    assert not len(methods(table))
    assert not len(scopes(table))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("efqat-int4/body", ("efqat", "int4/body")),
        ("rot-hqq-int3-g32-asym", ("rot-hqq", "int3-g32-asym")),
        ("ft-fp32", ("nearest", "ft-fp32")),
    ],
)
def test_methods_of_names(name: str, parts: tuple[str, str]) -> None:
    assert method_and_format(name) == parts
