"""Probes, their changes and their links to collapse in studies whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from intervention_studies import CAUSE
from scipy import stats
from transfer_studies import Probes, probed

from analysis.findings.outcomes import doses_of, effects_of
from analysis.findings.transfer import (
    asked_of,
    links,
    outcomes,
    probe_lines,
    transfer_changes,
)
from analysis.reading.table import Choices

CHOICES = Choices(permutations=999, bootstrap=100)
COLUMNS = ["probe_linear_5", "probe_linear_all", "probe_ncc_5"]


def middle(d: np.ndarray) -> float:
    """Median of the Walsh averages."""
    return float(np.median([(a + b) / 2 for i, a in enumerate(d) for b in d[i:]]))


def test_outcomes_come_by_kind_and_shots_and_hold_no_spread() -> None:
    study = probed(Probes(forgetting=0.0))
    assert outcomes(study) == {**dict.fromkeys(COLUMNS, "higher"), "forgetting": "lower"}
    assert asked_of(study) == ["probe_linear_all", "forgetting"]
    nearest = study.frame.drop("probe_linear_5", "probe_linear_all", "forgetting")
    assert asked_of(replace(study, frame=nearest)) == ["probe_ncc_5"]


def test_lines_are_pseudo_medians_over_trainings() -> None:
    study = probed(Probes(rounded=-0.05), seed=1)
    lines = probe_lines(study)
    assert lines["column"].unique(maintain_order=True).to_list() == COLUMNS
    for line in lines.to_dicts():
        values = study.frame.filter(precision=line["precision"])[line["column"]].to_numpy()
        assert line["n"] == len(values) == 36
        assert line["accuracy"] == pytest.approx(middle(values), rel=1e-12)
        assert (line["least"], line["largest"]) == (values.min(), values.max())
        assert line["low"] < line["accuracy"] < line["high"]
        spread = {"linear5": 0.02, "ncc5": 0.03}.get(line["kind"] + line["shots"])
        assert line["draws"] == pytest.approx(spread)


def test_changes_are_paired_by_training_and_know_what_is_worse() -> None:
    study = probed(Probes(rounded=-0.02), seed=2)
    lines = {line["column"]: line for line in transfer_changes(study, CHOICES).to_dicts()}
    assert list(lines) == COLUMNS
    wide = study.frame.pivot("precision", index="training", values="probe_ncc_5")
    d = (wide["int4"] - wide["fp32"]).to_numpy()
    line = lines["probe_ncc_5"]
    assert line["estimate"] == pytest.approx(middle(d), rel=1e-12)
    assert line["p"] == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)
    assert line["worse"] == int((d < 0).sum())
    assert line["verdict"] == "changed"


def test_effects_of_a_dose_are_paired_by_block() -> None:
    study = probed(Probes(penalty=0.03), seed=3)
    (blocks,) = doses_of(study, COLUMNS)
    lines = effects_of([blocks], study, CHOICES)
    assert lines["metric"].to_list() == COLUMNS
    assert set(lines["family"]) == {"outcome"}
    rows = study.frame.filter(precision="fp32").sort("width", "seed")
    high, low = (rows.filter(penalty_nc1=at)["probe_linear_5"].to_numpy() for at in (1.0, 0.0))
    (line,) = lines.filter(metric="probe_linear_5").to_dicts()
    assert line["estimate"] == pytest.approx(middle(high - low), rel=1e-12)
    assert line["verdict"] == "changed"


@pytest.mark.parametrize(("link", "reading"), [(0.1, "worse"), (-0.1, "better")])
def test_a_link_is_the_correlation_inside_design_cells(link: float, reading: str) -> None:
    study = probed(Probes(link=link))
    lines = {line["metric"]: line for line in links(study, CHOICES).to_dicts()}
    rows = study.frame.filter(precision="fp32").sort("width", "penalty_nc1", "seed")
    x, y = rows[CAUSE].to_numpy(), rows["probe_linear_all"].to_numpy()
    cells = rows.select("width", "penalty_nc1").to_numpy()

    def inside(values: np.ndarray) -> np.ndarray:
        means = [values[(cells == cell).all(axis=1)].mean() for cell in cells]
        return values - np.array(means)

    line = lines[CAUSE]
    assert line["estimate"] == pytest.approx(np.corrcoef(inside(x), inside(y))[0, 1], rel=1e-9)
    assert (line["verdict"], line["collapse"]) == ("associated", reading)
    assert (line["response"], line["control"]) == ("probe_linear_all", "within design cells")
    assert line["n"] == 36


def test_more_forgetting_is_worse() -> None:
    study = probed(Probes(forgetting=0.3))
    (line,) = links(study, CHOICES).filter(response="forgetting", metric=CAUSE).to_dicts()
    assert (line["verdict"], line["collapse"]) == ("associated", "better")


def test_what_does_not_vary_is_not_rejected() -> None:
    study = probed(Probes())
    frame = study.frame.with_columns(probe_linear_all=0.5)
    lines = links(replace(study, frame=frame), CHOICES)
    assert set(lines["verdict"]) == {"cannot reject"}
    assert "does not vary" in lines["note"][0]
