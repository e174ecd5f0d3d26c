"""The section about interventions: what is said of studies whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from intervention_studies import CAUSE, OTHER, Truth, table
from overlaps import unreadable

from analysis.reading.interventions import interventions
from analysis.reading.table import AnalysisError, Choices
from analysis.report.page import Report, build_report
from analysis.report.sections_interventions import EXCLUSION
from study.columns import label

CHOICES = Choices(permutations=999, bootstrap=100)
CAUSAL = Truth(first=-0.8, effect=0.5, damage=0.1)
CLAIMS = ("lowered", "raised", "unchanged", "go with the dose: ", "If it acts", "no effect")


def report(truth: Truth, seed: int = 0, **roles: Any) -> Report:
    return build_report(table(truth, seed, **roles), CHOICES, only=["interventions"])


def said(document: Report) -> str:
    effects, *ways = document.summary
    assert effects.title == "Intervention train.penalty.nc1"
    assert {way.title for way in ways} <= {"Through one metric, train.penalty.nc1"}
    return " ".join(part.text for part in (effects, *ways))


def one(lines: pl.DataFrame, **values: str) -> dict[str, Any]:
    """The one line with these values."""
    (line,) = lines.filter(**values).to_dicts()
    return line


def test_of_an_intervention_without_an_effect_nothing_is_claimed() -> None:
    text = said(report(Truth(), 1))
    assert not [claim for claim in CLAIMS if claim in text]
    assert text.startswith(
        "Raising train.penalty.nc1 from 0 to 1 is not seen to change any of 2 primary metrics. It "
        "is not seen to change any of 4 losses and damages. Undecided: val_loss ("
    )
    assert "levels 0.1 is not seen to change any; 0.3 is not seen to change any." in text
    assert "0 of 6 primary metrics and outcomes go with the dose." in text
    assert f"As an instrument it is weak for {CAUSE}, {OTHER}: nothing is claimed of it." in text


def test_effects_are_told_with_their_numbers() -> None:
    document = report(CAUSAL)
    text, lines = said(document), document.frames["interventions"].filter(level="1")
    ratio, loss, damage = (one(lines, metric=name) for name in (CAUSE, "val_loss", "damage"))
    assert (ratio["verdict"], loss["verdict"], damage["verdict"]) == ("changed",) * 3
    assert f"lowered {CAUSE} by {100 * (1 - ratio['ratio']):.0f}% (95% interval " in text
    assert f"{ratio['ratio_high']:.4f} times, n 18, p maxT " in text
    assert f"It lowered val_loss by {-loss['estimate']:.4f} (95% interval −" in text
    assert f"and raised damage at int4 by {damage['estimate']:.4f} (" in text
    assert "Undecided: train_loss (" in text
    way = (
        document.frames["instruments"].filter(metric=CAUSE, response="val_loss").row(0, named=True)
    )
    assert (
        f"If it acts on val_loss through {CAUSE} alone, a tenfold of that changes it by "
        f"+{way['estimate']:.4f} (95% interval +{way['low']:.4f} to +{way['high']:.4f}, F "
    ) in text
    assert f"; a level moves {CAUSE} by −{-way['first_stage']:.4f} in log10)" in text
    assert "Under the same assumption no effect was found on generalization_gap (any" in text


def test_an_assumption_is_said_before_it_is_the_same() -> None:
    text = said(report(Truth(first=-2.0), 2))
    assert "If it acts on" not in text
    assert "If it acts through one metric alone, no effect was found on val_loss" in text


def test_what_stays_within_the_margin_is_called_unchanged() -> None:
    text = said(report(Truth(first=-2.0), 2, margin={"val_loss": 5.0, "train_loss": 5.0}))
    assert "lowered nc1_ratio by " in text
    assert "It left val_loss (within 5.000; " in text
    assert "train_loss (within 5.000; " in text
    assert "damage at int4 (within 5.000; " in text


def test_metrics_that_move_together_are_not_told_apart() -> None:
    study = table(CAUSAL, 0)
    twin = study.frame.with_columns(nc3_cosine_mean=study.frame[CAUSE].log10() * -1)
    text = said(build_report(replace(study, frame=twin), CHOICES, only=["interventions"]))
    assert f"; the same rows would say as much of {OTHER}." in text
    assert "not of one effect" not in text


def test_levels_of_both_signs_are_told_at_both_ends() -> None:
    text = said(report(Truth(levels=(-1.0, 0.0, 0.5, 1.0), first=1.0)))
    assert "Raising train.penalty.nc1 from 0 to 1 raised nc1_ratio to " in text
    assert "Lowering train.penalty.nc1 from 0 to -1 lowered nc1_ratio by " in text
    assert "Of its other levels 0.5 changed " in text


def test_levels_that_are_no_numbers_are_told_one_by_one() -> None:
    text = said(report(Truth(levels=("sgd", "adam", "lion"), first=-2.0)))
    assert "Setting train.penalty.nc1 to adam instead of sgd lowered nc1_ratio by " in text
    assert "Setting train.penalty.nc1 to lion instead of sgd lowered nc1_ratio by " in text
    assert "dose" not in text


def test_two_interventions_hold_each_other() -> None:
    study = table(CAUSAL, 0)
    twice = [
        study.frame.with_columns(
            lr=pl.lit(rate),
            training=pl.col("training") + f"lr{rate:g}",
            val_loss=pl.col("val_loss") + rate,
        )
        for rate in (0.1, 1.0)
    ]
    roles = replace(study.roles, axes=("width", "penalty_nc1", "lr"))
    rows = pl.concat(twice)
    both = interventions(rows, roles, ["train.lr", "train.penalty.nc1"])
    whole = replace(study, frame=rows, roles=replace(roles, interventions=both))
    document = build_report(whole, CHOICES, only=["interventions"])
    lines = document.frames["interventions"]
    of_rate = one(lines, intervention="train.lr", metric="val_loss")
    assert (of_rate["n"], of_rate["level"], of_rate["baseline"]) == (72, "1", "0.1")
    assert of_rate["estimate"] == pytest.approx(0.9)
    assert one(lines, intervention="train.lr", metric=CAUSE)["verdict"] == "no more than"
    assert one(lines, intervention="train.penalty.nc1", metric=CAUSE, level="1")["n"] == 36
    (first, *_) = document.sections[0].tables
    assert first.columns[0].heading == "intervention"
    assert r"0.1 $\to$ 1" in first.latex()
    assert {"dose_response_lr", "dose_response_penalty_nc1"} <= {*document.figures}


def test_too_few_pairs_are_said() -> None:
    text = said(report(Truth(levels=(0.0, 1.0), widths=(8, 16), seeds=2, first=-9.0)))
    assert text.startswith(
        "Raising train.penalty.nc1 from 0 to 1: nothing can be rejected (cannot reject with n = 4)."
    )
    assert not [claim for claim in CLAIMS if claim in text]


def test_the_assumption_stands_beside_the_table(tmp_path: Path) -> None:
    document = report(CAUSAL)
    page = document.write(tmp_path).read_text(encoding="utf-8")
    assert "acts on the response through this metric alone (exclusion)" in EXCLUSION
    assert EXCLUSION in page
    assert "train.penalty.nc1 (baseline 0)" in page
    for name in ("interventions", "dose_response", "dose_levels", "instruments"):
        assert (tmp_path / "tables" / f"{name}.csv").exists()


def test_an_intervention_without_pairs_is_said() -> None:
    study = table(CAUSAL, 0)
    level = {8: 0.0, 16: 0.3, 32: 1.0}
    apart = study.frame.filter(pl.col("penalty_nc1") == pl.col("width").replace_strict(level))
    document = build_report(replace(study, frame=apart), CHOICES, only=["interventions"])
    assert said(document) == (
        "Raising train.penalty.nc1 from 0 to 1: nothing can be rejected (no two trainings differ "
        "in this setting alone). Of its other levels nothing can be rejected at 0.1; nothing can "
        "be rejected at 0.3."
    )
    assert len(document.figures["dose_response_penalty_nc1"].axes) == 6


def test_without_an_intervention_there_is_no_section() -> None:
    study = table(CAUSAL, 0, interventions=())
    plain = replace(study, roles=replace(study.roles, interventions=()))
    with pytest.raises(AnalysisError, match="has no rows for the section interventions"):
        build_report(plain, CHOICES, only=["interventions"])


@pytest.mark.parametrize(
    "levels", [(0.0, 0.1, 1.0), ("stochastic gradient descent", "adam", "lion")]
)
def test_the_figure_has_a_panel_a_response(levels: tuple[float | str, ...]) -> None:
    document = report(replace(CAUSAL, levels=levels))
    assert unreadable(document) == {}
    figure = document.figures["dose_response_penalty_nc1"]
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[3:] == ["damage at int4", label(CAUSE), label(OTHER)]
    panel = figure.axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == [
        f"{level:g}" if isinstance(level, float) else level for level in levels
    ]
    means = document.frames["dose_levels"].filter(metric="val_loss")["mean"]
    assert np.allclose(panel.lines[0].get_ydata(), means)
    assert len(panel.collections[0].get_paths()) == 18
