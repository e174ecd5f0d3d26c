"""The section about groups of samples: what is said where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from group_studies import TWO, Gaps, grouped
from intervention_studies import Truth
from overlaps import unreadable

from analysis.reading.table import AnalysisError, Choices
from analysis.report.page import Report, build_report

CHOICES = Choices(permutations=999, bootstrap=100)
CLAIMS = ("narrowed", "widened", "raised", "lowered")
NAME = "train.penalty.nc1"


def report(world: Gaps, seed: int = 0, truth: Truth = TWO) -> Report:
    return build_report(grouped(world, seed, truth), CHOICES, only=["groups"])


def said(document: Report) -> tuple[str, str]:
    """What is said of gaps and precisions, and of the intervention."""
    first, second = document.summary
    assert (first.title, second.title) == ("Groups", f"Groups and {NAME}")
    return first.text, second.text


@pytest.mark.parametrize("seed", range(4))
def test_where_nothing_changes_a_gap_nothing_is_claimed(seed: int) -> None:
    for text in said(report(Gaps(), seed)):
        assert not [claim for claim in CLAIMS if claim in text]
    first, second = said(report(Gaps(), seed))
    assert "clearly in 36 of 36 trainings" in first
    assert "Precisions are not seen to change any of 3 gaps and accuracies." in first
    assert f"Levels of {NAME} are not seen to change any of 6 gaps and accuracies." in second


def test_a_gap_of_chance_is_not_called_clear() -> None:
    text, _ = said(report(Gaps(gap=0.0)))
    assert "clearly in 0 of 36 trainings" in text


def test_a_penalty_that_narrows_the_gap_is_told_with_numbers() -> None:
    document = report(Gaps(penalty=-0.04))
    first, second = said(document)
    assert not [claim for claim in CLAIMS if claim in first]
    lines = document.frames["group_effects"].filter(metric="group_accuracy_gap")
    for line, at in zip(lines.to_dicts(), ("", ", at int4"), strict=True):
        size, low = -line["estimate"], -line["low"]
        assert f"narrowed the accuracy gap by {size:.4f}"[:-1] in second
        assert f"(1 instead of 0{at}; 95% interval −{low:.4f}"[:-1] in second
    assert "widened" not in second
    assert "the worst accuracy" not in second


def test_a_gap_that_only_rounding_widens_is_told_so() -> None:
    first, second = said(report(Gaps(rounded=0.05)))
    assert "Precisions widened the accuracy gap by 0.0" in first
    assert "(int4; 95% interval +0.0" in first
    assert not [claim for claim in CLAIMS if claim in second]


def test_a_dose_that_acts_at_one_precision_is_told_there() -> None:
    _, second = said(report(Gaps(both=0.05)))
    assert second.count("widened the accuracy gap") == 1
    assert "(1 instead of 0, at int4; " in second


def test_a_gap_that_narrows_by_a_worse_accuracy_is_told_with_it() -> None:
    _, second = said(report(Gaps(penalty=-0.04, worst=-0.05)))
    assert "narrowed the accuracy gap" in second
    assert "lowered the worst accuracy by 0.0" in second


THREE = Truth(levels=(0.0, 0.3, 1.0))


def test_what_goes_with_the_dose_is_told() -> None:
    document = report(Gaps(penalty=-0.05), truth=THREE)
    _, second = said(document)
    lines = document.frames["group_doses"]
    clear = lines.filter(verdict="associated").to_dicts()
    assert [(line["metric"], line["precision"]) for line in clear] == [
        ("group_accuracy_gap", None),
        ("group_accuracy_gap", "int4"),
    ]
    assert all(line["estimate"] < -0.5 and line["levels"] == 3 for line in clear)
    assert "Over its 3 levels 2 of 6 go with the dose: the accuracy gap (r −0." in second
    assert "the accuracy gap at int4 (r −0." in second


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_goes_with_the_dose_it_is_said(seed: int) -> None:
    _, second = said(report(Gaps(), seed, THREE))
    assert "Over its 3 levels 0 of 6 go with the dose." in second


def test_too_few_pairs_are_said() -> None:
    truth = Truth(levels=(0.0, 1.0), widths=(8, 16), seeds=2)
    first, second = said(report(Gaps(penalty=-0.09, rounded=0.05), truth=truth))
    assert f"Levels of {NAME}: nothing can be rejected (cannot reject with n = 4)." in second
    assert "Precisions widened the accuracy gap" in first  # of 8 trainings


def test_the_section_is_on_the_page(tmp_path: Path) -> None:
    document = report(Gaps(penalty=-0.04))
    page = document.write(tmp_path).read_text(encoding="utf-8")
    assert "Groups of samples" in page
    for name in ("groups", "group_changes", "group_effects"):
        assert (tmp_path / "tables" / f"{name}.csv").exists()
    assert unreadable(document) == {}
    assert len(document.figures["groups"].axes) == 3
    assert len(document.figures["groups_by_penalty_nc1"].axes) == 6
    assert document.contents["groups"].startswith("accuracies differ by 0.0")
    assert document.contents["groups"].endswith(
        "0 of 3 effects of a precision are shown; 2 of 6 effects of an intervention are shown"
    )


def test_without_groups_there_is_no_section() -> None:
    study = grouped(Gaps())
    plain = replace(study, frame=study.frame.drop("group_accuracy_gap"))
    with pytest.raises(AnalysisError, match="has no rows for the section groups"):
        build_report(plain, CHOICES, only=["groups"])


def test_without_an_intervention_gaps_and_precisions_are_left() -> None:
    study = grouped(Gaps(rounded=0.05))
    plain = replace(study, roles=replace(study.roles, interventions=()))
    document = build_report(plain, CHOICES, only=["groups"])
    (only,) = document.summary
    assert "Precisions widened the accuracy gap" in only.text
    assert "group_effects" not in document.frames
