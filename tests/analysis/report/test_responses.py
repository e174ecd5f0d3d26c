"""Any column as the response: which direction is better, and how that is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from intervention_studies import Truth, table
from report_study import write_study

import analysis
from analysis.findings.blocks import DAMAGE, Response, blocks_of
from analysis.reading.load import load
from analysis.reading.naming import RESPONSES, better_of
from analysis.reading.table import AnalysisError
from study.columns import METRICS

FEW = {"permutations": 999, "bootstrap": 50, "only": ["association", "design", "precision"]}
NEUTRAL = {
    "prediction_entropy",
    "prediction_entropy_train",
    "entropy_floor",
    "zero_error_epoch",
}
"""Columns about losses and accuracies that are better in neither direction."""


def test_every_outcome_has_a_better_direction() -> None:
    outcomes = {n for n, metric in METRICS.items() if metric.family in ("loss", "accuracy")}
    assert {name for name in outcomes if METRICS[name].better is None} == NEUTRAL
    known = {name: METRICS[name].better for name in RESPONSES if name in METRICS}
    assert known == {name: RESPONSES[name] for name in known}
    assert better_of("robust_accuracy") == better_of("ood_auroc_neco_photos") == "higher"
    assert better_of("ood_fpr95_msp") == "lower"
    for name in outcomes - NEUTRAL:
        share_of_right = METRICS[name].family == "accuracy" or name.endswith("r2")
        share_of_right &= name != "forgetting"  # the accuracy that was lost
        assert METRICS[name].better == ("higher" if share_of_right else "lower"), name
    assert better_of("nc1_ratio") is None
    assert better_of("their_column") is None


def with_column(path: Path, strength: float, name: str, sign: float) -> Path:
    """A study whose column `name` is `sign` times its validation loss."""
    write_study(path, strength)
    metadata = pl.read_parquet_metadata(path)
    frame = pl.read_parquet(path).with_columns((sign * pl.col("val_loss")).alias(name))
    frame.write_parquet(path, metadata={"metrics": metadata["metrics"]})
    return path


@pytest.mark.parametrize(
    ("name", "sign", "better", "told"),
    [
        ("val_accuracy", -1.0, "higher", "more collapse with a higher val_accuracy for"),
        (
            "val_accuracy",
            1.0,
            "higher",
            "more collapse with a lower val_accuracy, which is worse, for",
        ),
        ("group_accuracy_gap", 1.0, "lower", "more collapse with a lower group_accuracy_gap for"),
        ("prediction_entropy", 1.0, None, "more collapse with a lower prediction_entropy for"),
        ("prediction_entropy", -1.0, None, "more collapse with a higher prediction_entropy for"),
    ],
)
def test_the_direction_of_a_response_is_told(
    tmp_path: Path, name: str, sign: float, better: str | None, told: str
) -> None:
    """More collapse (a smaller nc3_distance) goes with a lower validation loss."""
    path = with_column(tmp_path / "rows.parquet", 2.0, name, sign)
    assert load(path, response=name).roles.responses.get(name) == better
    document = analysis.report(path, response=name, primary=["nc3_distance"], **FEW)
    (sentence,) = (part for part in document.sentences if f"and {name}" in part.title)
    assert told in sentence.text
    assert "nc3_distance" in sentence.text
    lines = document.frames["association"].filter(metric="nc3_distance").to_dicts()
    expected = {None: None, "lower": 1, "higher": -1}[better]
    agrees = None if better is None else "which is worse" not in told
    assert (lines[0]["expected"], lines[0]["agrees"]) == (expected, agrees)
    facts = dict(document.facts)["Response"]
    assert facts == (name if better is None else f"{name}, {better} is better")
    changes = document.frames["changes"].filter(column=name, precision="int2", level="")
    worse = {None: None, "lower": 24 * (sign > 0), "higher": 24 * (sign < 0)}[better]
    assert changes["worse"].item() == worse
    causes = " ".join(part.text for part in document.summary)
    assert f"collapse causes {'a better' if better else 'a change of'} {name}" in causes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pl.lit(2.0), "'group_accuracy_gap' is 2.0 in all 24 trainings at fp32"),
        (
            pl.when(pl.col("precision") != "fp32").then(pl.col("val_loss")),
            "'group_accuracy_gap' has no value at fp32, where trainings are compared",
        ),
    ],
)
def test_a_response_that_says_nothing_is_refused(
    tmp_path: Path, values: pl.Expr, said: str
) -> None:
    path = write_study(tmp_path / "rows.parquet", 1.0)
    metadata = pl.read_parquet_metadata(path)
    frame = pl.read_parquet(path).with_columns(group_accuracy_gap=values)
    frame.write_parquet(path, metadata={"metrics": metadata["metrics"]})
    with pytest.raises(AnalysisError, match="name another with --response") as error:
        load(path, response="group_accuracy_gap")
    assert said in str(error.value)


def test_a_response_of_the_design_alone_leaves_configurations_out(tmp_path: Path) -> None:
    path = write_study(tmp_path / "rows.parquet", 1.0)
    metadata = pl.read_parquet_metadata(path)
    frame = pl.read_parquet(path).with_columns(n_params=pl.col("width") * pl.col("depth"))
    frame.write_parquet(path, metadata={"metrics": metadata["metrics"]})
    few = {"permutations": 99, "bootstrap": 50}
    document = analysis.report(path, response="n_params", **few)
    assert "fixed" not in document.frames
    assert "association" in document.frames
    assert document.summary


def test_damage_is_a_change_for_the_worse() -> None:
    study = table(Truth(damage=0.5), 0)
    accuracy = study.frame.with_columns(val_accuracy=9 - pl.col("val_loss"))
    responses = {"val_accuracy": "higher"}
    roles = replace(study.roles, response="val_accuracy", responses=responses)  # type: ignore[arg-type]
    other = replace(study, frame=accuracy, roles=roles)
    key = Response(DAMAGE, "int4")
    (cause,) = study.roles.interventions
    plain = blocks_of(study, cause, ["val_loss"]).values[key]
    turned = blocks_of(other, cause, ["val_accuracy"]).values[key]
    assert turned == pytest.approx(plain)
    assert plain.mean() > 0.5
