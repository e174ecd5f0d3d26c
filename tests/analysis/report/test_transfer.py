"""The section about transfer: what is said where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from intervention_studies import Truth
from overlaps import unreadable
from transfer_studies import TWO, Probes, probed

from analysis.reading.table import AnalysisError, Choices
from analysis.report.page import Report, build_report

CHOICES = Choices(permutations=999, bootstrap=100)
CLAIMS = ("raised", "lowered", "more collapse goes")
NAME = "train.penalty.nc1"


def report(world: Probes, seed: int = 0, truth: Truth = TWO) -> Report:
    return build_report(probed(world, seed, truth), CHOICES, only=["transfer"])


def said(document: Report) -> dict[str, str]:
    return {paragraph.title: paragraph.text for paragraph in document.summary}


@pytest.mark.parametrize("seed", range(4))
def test_where_nothing_goes_with_transfer_nothing_is_claimed(seed: int) -> None:
    texts = said(report(Probes(), seed))
    assert list(texts) == [
        "Transfer",
        "Collapse and transfer",
        "Transfer and precision",
        f"Transfer and {NAME}",
    ]
    assert not [claim for text in texts.values() for claim in CLAIMS if claim in text]
    assert texts["Transfer"].startswith("Accuracy on classes that were not trained on at fp32: ")
    assert "linear probe, 5 shots 0.6" in texts["Transfer"]
    expected = "No association of 2 primary metrics with linear probe, all samples was found"
    assert texts["Collapse and transfer"].startswith(expected)
    assert "does not show that there is none" in texts["Collapse and transfer"]
    for title in ("Transfer and precision", f"Transfer and {NAME}"):
        assert "are not seen to change any of 3 outcomes of transfer" in texts[title]


@pytest.mark.parametrize(("link", "word"), [(0.1, "worse"), (-0.1, "better")])
def test_the_direction_of_an_association_is_told(link: float, word: str) -> None:
    document = report(Probes(link=link))
    text = said(document)["Collapse and transfer"]
    sign = "+" if link > 0 else "−"
    assert text.startswith("1 of 2 primary metrics goes with linear probe, all samples within")
    assert f"more collapse goes with {word} transfer by nc1_ratio (r {sign}0." in text
    assert "No association was found for nc3_cosine_mean." in text
    assert text.endswith("An association does not show that collapse causes it.")
    counts = (1, 0) if word == "worse" else (0, 1)
    assert document.contents["transfer"] == (
        f"more collapse goes with worse transfer by {counts[0]} and with better transfer by "
        f"{counts[1]} of 2 primary metrics; 0 of 3 effects of precisions are shown; 0 of 3 effects "
        "of interventions are shown"
    )


def test_what_rounding_costs_is_told_by_probe() -> None:
    texts = said(report(Probes(rounded=-0.05)))
    assert texts["Transfer and precision"].count("lowered") == 3
    assert "lowered linear probe, 5 shots by 0.0" in texts["Transfer and precision"]
    assert "(int4; 95% interval −0.0" in texts["Transfer and precision"]
    assert not [claim for claim in CLAIMS if claim in texts[f"Transfer and {NAME}"]]


def test_what_an_intervention_does_is_told() -> None:
    texts = said(report(Probes(penalty=0.05)))
    assert texts[f"Transfer and {NAME}"].count("(1 instead of 0; 95% interval +0.0") == 3
    assert not [claim for claim in CLAIMS if claim in texts["Transfer and precision"]]


def test_forgetting_has_its_own_sentence() -> None:
    texts = said(report(Probes(forgetting=-0.1)))
    assert (
        "more collapse goes with more forgetting by nc1_ratio" in texts["Collapse and forgetting"]
    )
    assert "No association" in texts["Collapse and transfer"]
    absent = said(report(Probes(forgetting=0.0)))["Collapse and forgetting"]
    assert absent.startswith("No association of 2 primary metrics with forgetting was found")


def test_a_study_of_forgetting_alone_says_nothing_of_probes() -> None:
    study = probed(Probes(forgetting=-0.1))
    names = [name for name in study.frame.columns if name.startswith("probe_")]
    alone = replace(study, frame=study.frame.drop(names))
    document = build_report(alone, CHOICES, only=["transfer"])
    assert document.summary[0].title == "Collapse and forgetting"
    assert document.contents["transfer"].startswith(
        "more collapse goes with more forgetting by 1 and with less forgetting by 0 of 2"
    )
    (section,) = (each for each in document.sections if each.name == "transfer")
    assert not [text for text in section.text if "robe" in text]


def test_too_few_trainings_are_said() -> None:
    texts = said(report(Probes(link=0.5), truth=Truth(levels=(0.0, 1.0), widths=(8,), seeds=2)))
    assert "nothing can be claimed" in texts["Collapse and transfer"]


def test_the_section_is_on_the_page(tmp_path: Path) -> None:
    document = report(Probes(link=0.1))
    page = document.write(tmp_path).read_text(encoding="utf-8")
    assert "Transfer to other classes" in page
    for name in ("transfer", "transfer_links", "transfer_changes", "transfer_effects"):
        assert (tmp_path / "tables" / f"{name}.csv").exists()
    assert unreadable(document) == {}
    linear, centre = document.figures["transfer"].axes
    for axis in (linear, centre):
        assert [text.get_text() for text in axis.get_xticklabels()] == ["5", "all"]
    assert len(linear.containers) == 2
    assert "transfer_by_penalty_nc1" in document.figures


def test_without_probes_there_is_no_section() -> None:
    study = probed(Probes())
    names = [name for name in study.frame.columns if name.startswith("probe_")]
    with pytest.raises(AnalysisError, match="has no rows for the section transfer"):
        build_report(replace(study, frame=study.frame.drop(names)), CHOICES, only=["transfer"])
