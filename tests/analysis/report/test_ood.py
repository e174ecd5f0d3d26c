"""The section about other data: what is said where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ood_studies import World, detected
from overlaps import unreadable

from analysis.reading.table import AnalysisError, Choices
from analysis.report.page import Report, build_report

CHOICES = Choices(permutations=999, bootstrap=100)


def report(world: World, seed: int = 0) -> Report:
    return build_report(detected(world, seed), CHOICES, only=["ood"])


def said(document: Report) -> tuple[str, str, str]:
    """What is said of detection, of precisions, and of collapse."""
    titles = [paragraph.title for paragraph in document.summary]
    assert titles == ["Other data", "Other data and precision", "Collapse and other data"]
    first, second, third = (paragraph.text for paragraph in document.summary)
    return first, second, third


@pytest.mark.parametrize("seed", range(3))
def test_where_training_time_alone_moves_both_nothing_is_claimed(seed: int) -> None:
    """Over all trainings less variability goes with a better AUROC, which says nothing."""
    _, precision, collapse = said(report(World(), seed))
    assert "detection is not seen to change by any score" in precision
    assert collapse.startswith("Within design cells none of 12 pairs")
    assert "is missed more often than one time in five, so what was not found" in collapse
    assert "goes with" not in collapse


def test_collapse_that_helps_is_told_with_score_control_and_numbers() -> None:
    document = report(World(link=-1.0))
    _, _, text = said(document)
    (line,) = (
        document.frames["ood_association"]
        .filter(score="neco", metric="nc1_ratio", given="")
        .to_dicts()
    )
    start = "More collapse (nc1_ratio) goes with better detection by NECO within"
    assert text.startswith(f"{start} design cells (r −{-line['estimate']:.3f}")
    assert f"n {line['n']}, p maxT" in text
    assert "given train_loss it remains" in text
    assert text.count("goes with") == 1


def test_collapse_that_harms_is_told_so() -> None:
    _, _, text = said(report(World(link=1.0)))
    assert "goes with worse detection by NECO within design cells" in text
    assert "better" not in text


def test_what_is_only_a_matter_of_fit_is_told_as_such() -> None:
    _, _, text = said(report(World(fit=-1.5)))
    assert "goes with better detection by NECO" in text
    assert "given train_loss it is not shown" in text


def test_what_rounding_takes_is_told_of_the_score_that_loses() -> None:
    document = report(World(rounded=-0.6))
    first, text, _ = said(document)
    assert "Against fp32" in text and "At int4 detection is worse by NECO (−0." in text
    assert "better" not in text and "the energy (−" not in text
    assert "told from validation samples at fp32 best by " in first
    assert "worst by" in first


def test_the_section_is_on_the_page(tmp_path: Path) -> None:
    document = report(World(link=-1.0))
    page = document.write(tmp_path).read_text(encoding="utf-8")
    assert "Other data" in page
    for name in ("ood", "ood_changes", "ood_association", "ood_sets"):
        assert (tmp_path / "tables" / f"{name}.csv").exists()
    assert unreadable(document) == {}
    assert len(document.figures["ood"].axes) == 2
    assert document.contents["ood"].endswith(
        "1 of 12 pairs of a primary metric and a score are associated"
    )


def test_without_other_data_there_is_no_section() -> None:
    study = detected(World())
    plain = study.frame.select(name for name in study.frame.columns if "ood" not in name)
    with pytest.raises(AnalysisError, match="has no rows for the section ood"):
        build_report(replace(study, frame=plain), CHOICES, only=["ood"])


def test_one_precision_and_no_replicates_claim_nothing() -> None:
    study = detected(World(link=-1.0, seeds=1))
    single = study.frame.filter(precision="fp32")
    document = build_report(replace(study, frame=single), CHOICES, only=["ood"])
    first, last = document.summary
    assert "interval" not in first.text
    assert "goes with" not in last.text
