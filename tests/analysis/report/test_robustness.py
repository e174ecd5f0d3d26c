"""The section about attacks: what is said where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from attack_studies import TWO, Attacks, attacked
from intervention_studies import Truth
from overlaps import unreadable

from analysis.findings.robustness import robust_lines, robust_links, with_adversary
from analysis.reading.table import AnalysisError, Choices
from analysis.report.page import Report, build_report
from analysis.statistics.changes import signed_rank

CHOICES = Choices(permutations=999, bootstrap=100)
CLAIMS = ("raised", "lowered", "more collapse goes", "precisions change accuracy")
NAME = "train.penalty.nc1"
TITLES = [
    "Robustness",
    "Leaps",
    "Collapse and robustness",
    "Collapse and leaps",
    "Robustness and precision",
    f"Robustness and {NAME}",
]


def report(world: Attacks, seed: int = 0, truth: Truth = TWO) -> Report:
    return build_report(attacked(world, seed, truth), CHOICES, only=["robustness"])


def said(document: Report) -> dict[str, str]:
    return {paragraph.title: paragraph.text for paragraph in document.summary}


@pytest.mark.parametrize("seed", [0, 2])
def test_where_nothing_goes_with_robustness_nothing_is_claimed(seed: int) -> None:
    texts = said(report(Attacks(), seed))
    assert list(texts) == TITLES
    assert not [claim for text in texts.values() for claim in CLAIMS if claim in text]
    start = "Under pgd-linf-0.1 accuracy at fp32 falls from 0.9"
    assert texts["Robustness"].startswith((start, start.replace("0.9", "0.89")))
    assert " to 0.5" in texts["Robustness"] or " to 0.49" in texts["Robustness"]
    expected = "No association of 2 primary metrics with accuracy under attack was found"
    assert texts["Collapse and robustness"].startswith(expected)
    assert "leaps that arrive was found" in texts["Collapse and leaps"]
    assert "does not show that there is none" in texts["Collapse and leaps"]
    assert "are not seen to change any of 2 outcomes of attacks" in texts[TITLES[-1]]


@pytest.mark.long
def test_where_nothing_goes_with_robustness_claims_are_as_rare_as_the_level_says() -> None:
    """One family of tests in twenty: of 120 more than 14 are claimed in 1 of 1,000 suites."""
    claims = 0
    for seed in range(60):
        lines = robust_links(attacked(Attacks(), seed), CHOICES).filter(family="primary")
        claimed = lines.group_by("response").agg((pl.col("verdict") == "associated").any())
        claims += int(claimed["verdict"].sum())
    assert claims <= 14


@pytest.mark.parametrize(("link", "word"), [(0.1, "lower"), (-0.1, "higher")])
def test_the_direction_of_an_association_is_told(link: float, word: str) -> None:
    document = report(Attacks(link=link))
    texts = said(document)
    sign = "+" if link > 0 else "−"
    assert (
        f"more collapse goes with a {word} accuracy under attack by nc1_ratio (r {sign}0."
        in texts["Collapse and robustness"]
    )
    assert "No association" in texts["Collapse and leaps"]
    counts = (1, 0) if word == "lower" else (0, 1)
    assert document.contents["robustness"].endswith(
        f"more collapse goes with less robustness by {counts[0]} and with more by {counts[1]} of 2 "
        "primary metrics"
    )


def test_leaps_have_a_sentence_of_their_own() -> None:
    texts = said(report(Attacks(leap=-0.1)))
    expected = "more collapse goes with more leaps that arrive by nc1_ratio (r −0."
    assert expected in texts["Collapse and leaps"]
    assert "No association" in texts["Collapse and robustness"]


def test_what_rounding_costs_is_told_apart_from_what_it_costs_under_attack_alone() -> None:
    alike = said(report(Attacks(rounded=-0.05)))["Robustness and precision"]
    assert "1 of 1 precisions change accuracy under attack: int4 −0.0" in alike
    assert "change accuracy lost to the attack" not in alike
    fragile = said(report(Attacks(fragile=-0.05)))["Robustness and precision"]
    assert "1 of 1 precisions change accuracy under attack: int4 −0.0" in fragile
    assert "1 of 1 precisions change accuracy lost to the attack: int4 +0.0" in fragile


def test_what_an_intervention_does_is_told() -> None:
    text = said(report(Attacks(penalty=0.05)))[TITLES[-1]]
    assert "raised accuracy under attack by 0.0" in text
    assert "lowered accuracy lost to the attack by 0.0" in text
    assert text.count("(1 instead of 0; 95% interval") == 2


def test_lines_are_medians_with_their_intervals_by_adversary() -> None:
    table = attacked(Attacks())
    adversary = pl.col("training").str.slice(-1).is_in(list("02468"))
    frame = table.frame.with_columns(
        adversary_kind=pl.when(adversary).then(pl.lit("trades")).otherwise(pl.lit("pgd")),
        adversary_eps=pl.when(adversary).then(0.1).otherwise(0.0),
    )
    lines = robust_lines(replace(table, frame=frame))
    assert lines.select("precision", "adversary").rows() == [
        (precision, name) for precision in ("fp32", "int4") for name in ("none", "trades 0.1")
    ]
    own = frame.filter(pl.col("precision") == "int4", pl.col("adversary_eps") > 0)
    rank = signed_rank(own["robust_accuracy"].to_numpy())
    line = lines.filter(precision="int4", adversary="trades 0.1").row(0, named=True)
    assert (line["robust"], line["robust_low"], line["robust_high"], line["n"]) == (
        rank.estimate,
        rank.low,
        rank.high,
        len(own),
    )
    assert line["arrival"] == own["leap_arrival"].median()
    assert 5 < len(own) < len(frame) / 2


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({}, ["", ""]),
        ({"adversary_eps": [0.1, 0.1], "adversary_kind": ["pgd", "pgd"]}, ["", ""]),
        ({"adversary_eps": [0.0, 0.1]}, ["none", "0.1"]),
        ({"adversary_eps": [None, 0.1], "adversary_kind": [None, "pgd"]}, ["none", "pgd 0.1"]),
        (
            {"adversary_eps": ["none", "0.1"], "adversary_kind": ["none", "pgd"]},
            ["none", "pgd 0.1"],
        ),
        (
            {"adversary_eps": [0.1, 0.1], "adversary_kind": ["pgd", "pgd"],
             "adversary_norm": ["l2", "linf"]},
            ["pgd 0.1 l2", "pgd 0.1 linf"],
        ),
    ],
)  # fmt: skip
def test_adversaries_are_named_by_what_differs(
    columns: dict[str, list[object]], names: list[str]
) -> None:
    frame = pl.DataFrame({"training": ["a", "b"], **columns})
    assert with_adversary(frame)["adversary"].to_list() == names


def test_too_few_trainings_are_said() -> None:
    texts = said(report(Attacks(link=0.5), truth=Truth(levels=(0.0, 1.0), widths=(8,), seeds=2)))
    assert "nothing can be claimed" in texts["Collapse and robustness"]
    assert "95% interval" not in texts["Robustness"]
    assert texts["Robustness and precision"].startswith("Of accuracy under attack, ")


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ("leap_progress", "their new class: 0.7"),
        ("leap_arrival", "No training has a share of leaps that arrive"),
    ],
)
def test_what_of_the_leaps_is_not_known_is_left_out(absent: str, told: str) -> None:
    study = attacked(Attacks())
    frame = study.frame.with_columns(pl.lit(None).cast(pl.Float64).alias(absent))
    text = said(build_report(replace(study, frame=frame), CHOICES, only=["robustness"]))["Leaps"]
    assert told in text and "of the way there" not in text


def test_the_section_is_on_the_page(tmp_path: Path) -> None:
    document = report(Attacks(link=0.1))
    page = document.write(tmp_path).read_text(encoding="utf-8")
    assert "Robustness to attacks" in page
    for name in ("robustness", "robust_links", "robust_changes", "robust_effects"):
        assert (tmp_path / "tables" / f"{name}.csv").exists()
    assert unreadable(document) == {}
    clean, robust = document.figures["robustness"].axes
    for axis in (clean, robust):
        assert [text.get_text() for text in axis.get_xticklabels()] == ["fp32", "int4"]
        assert len(axis.containers) == 1
    assert clean.get_ylim() == robust.get_ylim()
    assert "robustness_by_penalty_nc1" in document.figures


@pytest.mark.parametrize("absent", ["robust_accuracy", "val_accuracy"])
@pytest.mark.parametrize("known", [False, True])
def test_without_both_accuracies_there_is_no_section(absent: str, known: bool) -> None:
    study = attacked(Attacks())
    nothing = pl.lit(None).cast(pl.Float64).alias(absent)
    frame = study.frame.with_columns(nothing) if known else study.frame.drop(absent)
    with pytest.raises(AnalysisError, match="has no rows for the section robustness"):
        build_report(replace(study, frame=frame), CHOICES, only=["robustness"])
