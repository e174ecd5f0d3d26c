"""Gaps between groups: means, changes and effects of studies whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from group_studies import SE, Gaps, grouped
from scipy import stats

from analysis.findings.groups import (
    BETTER,
    gap_changes,
    gap_doses,
    gap_effects,
    gaps,
    has_groups,
)
from analysis.reading.table import Choices, Table

CHOICES = Choices(permutations=999, bootstrap=100)


def values(study: Table, column: str, precision: str, level: float) -> np.ndarray:
    """Values of a column in the order of width and seed."""
    rows = study.frame.filter(precision=precision, penalty_nc1=level).sort("width", "seed")
    return np.asarray(rows[column].to_numpy())


def test_gaps_are_means_over_trainings() -> None:
    study = grouped(Gaps(gap=0.04))
    first, second = gaps(study).to_dicts()
    assert (first["precision"], second["precision"]) == ("fp32", "int4")
    for line in (first, second):
        own = study.frame.filter(precision=line["precision"])
        gap = own["group_accuracy_gap"].to_numpy()
        assert line["n"] == len(own) == 36
        assert line["gap"] == pytest.approx(sum(gap) / 36, rel=1e-12)
        assert (line["gap_least"], line["gap_largest"]) == (min(gap), max(gap))
        assert line["gap_se"] == pytest.approx(SE)
        assert line["clear"] == sum(value > 2 * SE for value in gap)
        assert 0 < line["clear"] < 36
        worst, cosine = own["group_accuracy_worst"], own["group_cosine_gap"]
        assert line["worst"] == pytest.approx(sum(worst) / 36, rel=1e-12)
        assert line["cosine"] == pytest.approx(sum(cosine) / 36, rel=1e-12)


def test_changes_are_paired_by_training() -> None:
    study = grouped(Gaps(rounded=0.03), seed=3)
    lines = {line["column"]: line for line in gap_changes(study, CHOICES).to_dicts()}
    assert set(lines) == set(BETTER)
    wide = study.frame.pivot("precision", index="training", values="group_accuracy_gap")
    d = (wide["int4"] - wide["fp32"]).to_numpy()
    line = lines["group_accuracy_gap"]
    averages = [(a + b) / 2 for i, a in enumerate(d) for b in d[i:]]
    assert line["estimate"] == pytest.approx(np.median(averages), rel=1e-12)
    assert line["p"] == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)
    assert line["worse"] == int((d > 0).sum())
    assert line["verdict"] == "changed"


def test_effects_of_a_dose_are_paired_by_block() -> None:
    study = grouped(Gaps(penalty=-0.03, both=0.08), seed=1)
    (blocks,) = gap_doses(study)
    assert {(each.metric, each.precision) for each in blocks.values} == {
        (column, precision) for column in BETTER for precision in (None, "int4")
    }
    lines = gap_effects([blocks], study, CHOICES)
    for precision, sign in ((None, -1), ("int4", 1)):
        at = pl.col("precision").eq_missing(pl.lit(precision))
        (line,) = lines.filter(at, metric="group_accuracy_gap").to_dicts()
        name = precision or "fp32"
        d = values(study, "group_accuracy_gap", name, 1.0) - values(
            study, "group_accuracy_gap", name, 0.0
        )
        assert line["n"] == len(d) == 18
        averages = [(a + b) / 2 for i, a in enumerate(d) for b in d[i:]]
        assert line["estimate"] == pytest.approx(np.median(averages), rel=1e-12)
        assert line["p"] == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)
        assert line["verdict"] == "changed"
        assert sign * line["estimate"] > 0
    others = lines.filter(pl.col("metric") != "group_accuracy_gap")
    assert set(others["verdict"]) <= {"undecided", "no more than"}
    assert set(lines["family"]) == {"outcome"}


def test_a_table_without_groups_has_none() -> None:
    study = grouped(Gaps())
    assert has_groups(study)
    plain = study.frame.drop("group_cosine_gap")
    assert not has_groups(replace(study, frame=plain))
    empty = study.frame.with_columns(group_accuracy_gap=pl.lit(None, dtype=pl.Float64))
    assert not has_groups(replace(study, frame=empty))
