"""The first screen says what the verdicts say: each sentence follows each verdict and digit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pytest
from null_study import null_study
from report_study import write_study

import analysis
from analysis.findings.changes import CHANGED, NO_MORE_THAN, Change
from analysis.findings.damage import Damage
from analysis.findings.detection import DetectionAssociation
from analysis.findings.frames import frame_of
from analysis.findings.interventions import Contrast
from analysis.findings.progress import (
    APPEARS,
    GAP,
    REMAINS,
    TRAIN_LOSS,
    TURNS,
    UNSEEN,
    VANISHES,
    GivenProgress,
)
from analysis.findings.properties import properties
from analysis.findings.verdicts import INADEQUATE, VERDICTS
from analysis.findings.within import Within
from analysis.reading.load import load
from analysis.reading.selection import final_rows
from analysis.reading.table import Metric, Roles
from analysis.report.page import Report
from analysis.report.sentences.answers import answers
from analysis.report.sentences.contents import LINES
from analysis.report.wording import named
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED
from study.columns import in_words

OPTIONS: dict[str, Any] = {"permutations": 200, "bootstrap": 100, "seed": 5}
ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower"},
    metrics={
        "nc1_ratio": Metric("nc1_ratio", "NC1", "lower"),
        "nc3_cosine_mean": Metric("nc3_cosine_mean", "NC3", "higher"),
        "nc4_agreement": Metric("nc4_agreement", "NC4", "higher"),
    },
    axes=("width",),
    architecture=("width",),
    unit="training",
    primary=("nc1_ratio", "nc3_cosine_mean", "nc4_agreement"),
)
JUDGED: dict[str, Any] = {"family": "primary", "p": 0.01, "p_maxt": 0.02}
WITHIN = [
    Within(name, 24, r, r - 0.2, r + 0.15, verdict=verdict, detectable=0.61, cells=4, r_w=20,
           **JUDGED)
    for name, r, verdict in (
        ("nc1_ratio", 0.5, ASSOCIATED),
        ("nc3_cosine_mean", 0.4, ASSOCIATED),
        ("nc4_agreement", -0.1, NOT_FOUND),
    )
]  # fmt: skip
GIVEN = [
    GivenProgress(
        name,
        24,
        r,
        r - 0.2,
        r + 0.15,
        verdict=verdict,
        response="val_loss",
        given=TRAIN_LOSS,
        control="within design cells",
        before=0.5,
        verdict_before=before,
        reading=reading,
        **JUDGED,
    )
    for name, r, verdict, before, reading in (
        ("nc1_ratio", 0.31, ASSOCIATED, ASSOCIATED, REMAINS),
        ("nc3_cosine_mean", 0.02, NOT_FOUND, ASSOCIATED, VANISHES),
        ("nc4_agreement", 0.01, NOT_FOUND, NOT_FOUND, ""),
    )
] + [
    GivenProgress(
        name, 24, 0.2, verdict=verdict, response=GAP, control="within design cells", **JUDGED
    )
    for name, verdict in (("nc1_ratio", ASSOCIATED), ("nc4_agreement", NOT_FOUND))
]
CHANGES = [
    Change(precision, "fp32", column, "", 24, d, d - 0.01, d + 0.02, verdict=verdict)
    for precision, column, d, verdict in (
        ("int8", "val_loss", 0.001, NO_MORE_THAN),
        ("int2", "val_loss", 0.31, CHANGED),
        ("int2", "nc1_ratio", 0.7, CHANGED),
        ("int2", "nc3_cosine_mean", 0.1, CHANGED),
        ("int2", "nc4_agreement", 0.0, NO_MORE_THAN),
    )
]
DAMAGE = [
    Damage(name, 24, r, r - 0.2, r + 0.15, verdict=verdict, kind="baseline", precision=precision,
           baseline="fp32", given="val_loss", **JUDGED)
    for name, precision, r, verdict in (
        ("nc1_ratio", "int8", -0.5, ASSOCIATED),
        ("nc4_agreement", "int8", 0.1, NOT_FOUND),
        ("nc1_ratio", "int2", 0.1, NOT_FOUND),
        ("nc4_agreement", "int2", 0.1, NOT_FOUND),
    )
]  # fmt: skip

Line = TypeVar("Line")


def said(
    within: Sequence[Within] = WITHIN,
    given: Sequence[GivenProgress] = GIVEN,
    changes: Sequence[Change] = CHANGES,
    damage: Sequence[Damage] = DAMAGE,
) -> list[str]:
    """The three sentences on such tables, each with its title."""
    frames = {
        "within": frame_of(Within, within),
        "given_train_loss": frame_of(GivenProgress, given),
        "changes": frame_of(Change, changes),
        "damage": frame_of(Damage, damage),
    }
    return [f"{part.title}. {part.text}" for part in answers(frames, ROLES)]


def test_the_three_sentences_are_these() -> None:
    first, second, third = said()
    assert first == (
        "Collapse and val_loss: associated. 2 of 3 primary metrics go with val_loss within 4 "
        "design cells: more collapse with a lower val_loss for nc1_ratio (r +0.500, 95% interval "
        "+0.300 to +0.650, n 24); more collapse with a higher val_loss, which is worse, for "
        "nc3_cosine_mean (r +0.400, 95% interval +0.200 to +0.550, n 24); for 1 no association was "
        "found."
    )
    assert second == (
        "Given training progress: remains. Given train_loss as well, of 2 primary metrics "
        "associated with val_loss within design cells 1 remains (nc1_ratio), 1 vanishes and says "
        "how far training got (nc3_cosine_mean); 1 of 2 goes with generalization_gap."
    )
    assert third == (
        "Quantization: changed. 1 of 2 precisions changes val_loss, int2 most (+0.3100, n 24, 95% "
        "interval +0.3000 to +0.3300), 1 within the margin; at int2 2 of 3 primary metrics change, "
        "1 away from collapse and 1 towards collapse; collapse before rounding goes with that "
        "change in 1 of 4 pairs of metric and precision, more collapse with a higher change, which "
        "is worse, for nc1_ratio at int8 (r −0.500, 95% interval −0.700 to −0.350, n 24)."
    )


def others(lines: Sequence[Line], column: str, values: Sequence[str]) -> Iterator[list[Line]]:
    """The lines with another word in one column of one of them, each in turn."""
    for at, line in enumerate(lines):
        for value in values:
            if getattr(line, column) != value:
                changed: Any = replace(line, **{column: value, "note": "why"})  # type: ignore[type-var]
                yield [*lines[:at], changed, *lines[at + 1 :]]


WORDS: dict[str, tuple[int, Callable[[], Iterator[list[str]]]]] = {
    "within": (0, lambda: (said(within=each) for each in others(WITHIN, "verdict", VERDICTS))),
    "reading": (
        1,
        lambda: (
            said(given=[*each, *GIVEN[2:]])
            for each in others(GIVEN[:2], "reading", (REMAINS, TURNS, VANISHES, UNSEEN, ""))
        ),
    ),
    "gap": (
        1,
        lambda: (
            said(given=[*GIVEN[:3], *each])
            for each in others(GIVEN[3:], "verdict", (ASSOCIATED, NOT_FOUND, INADEQUATE))
        ),
    ),
    "changes": (
        2,
        lambda: (
            said(changes=each)
            for each in others(CHANGES, "verdict", (CHANGED, NO_MORE_THAN, UNDECIDED))
            if [line.verdict == CHANGED for line in each]
            != [line.verdict == CHANGED for line in CHANGES]
            or each[:2] != CHANGES[:2]
        ),
    ),
    "damage": (2, lambda: (said(damage=each) for each in others(DAMAGE, "verdict", VERDICTS))),
}


@pytest.mark.parametrize("table", WORDS)
def test_a_sentence_follows_every_verdict(table: str) -> None:
    place, mutants = WORDS[table]
    before = said()
    sentences = list(mutants())
    assert len(sentences) >= 4
    for after in sentences:
        assert after[place] != before[place], table
        assert [text for at, text in enumerate(after) if at != place] == [
            text for at, text in enumerate(before) if at != place
        ]


def test_what_appears_is_told_apart_from_what_is_left() -> None:
    new = replace(GIVEN[2], verdict=ASSOCIATED, reading=APPEARS)
    text = said(given=[*GIVEN[:2], new])[1]
    assert text.endswith(
        "how far training got (nc3_cosine_mean); of the others 1 appears (nc4_agreement)."
    )
    before = [replace(line, verdict_before=NOT_FOUND, reading="") for line in GIVEN[:2]]
    assert said(given=[*before, new])[1] == (
        "Given training progress: appears. No metric of 3 is associated with val_loss within "
        "design cells; given train_loss 1 appears (nc4_agreement)."
    )
    assert said(given=[*before, GIVEN[2]])[1] == (
        "Given training progress: not found. No metric of 3 is associated with val_loss within "
        "design cells; given train_loss none appears."
    )


def test_a_sentence_follows_every_number_that_it_has() -> None:
    """Each estimate, end and n of the lines that are told in numbers."""
    before = said()
    for argument, lines, at, place, columns in (
        ("within", WITHIN, 0, 0, ("n", "estimate", "low", "high")),
        ("changes", CHANGES, 1, 2, ("n", "estimate", "low", "high")),
        ("damage", DAMAGE, 0, 2, ("n", "estimate", "low", "high")),
    ):
        for column in columns:
            value = getattr(lines[at], column)
            changed = replace(lines[at], **{column: value + (1 if column == "n" else 0.01)})
            after = said(**{argument: [*lines[:at], changed, *lines[at + 1 :]]})
            assert after[place] != before[place], (argument, column)


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        (NOT_FOUND, "None of 3 primary metrics is found to go"),
        (UNDECIDED, "is open: of 3 primary metrics none is shown to"),
        (CANNOT_REJECT, "cannot be tested within 4 design cells: why"),
        (INADEQUATE, "cannot be said: why"),
    ],
)
def test_each_verdict_has_a_sentence_of_its_own(verdict: str, word: str) -> None:
    lines = [replace(line, verdict=verdict, note="why") for line in WITHIN]
    first = said(within=lines)[0]
    assert first.startswith(f"Collapse and val_loss: {verdict}. ")
    assert word in first
    assert "go with val_loss within" not in first or verdict == NOT_FOUND


def test_what_cannot_be_tested_of_precisions_is_not_called_unchanged() -> None:
    silent = [replace(line, verdict=CANNOT_REJECT, note="n = 2") for line in CHANGES]
    assert said(changes=silent)[2] == (
        "Quantization: cannot reject. What precisions change cannot be tested: n = 2."
    )
    alike = [replace(line, verdict=UNDECIDED) for line in CHANGES]
    text = said(changes=alike)[2]
    assert text.startswith("Quantization: undecided. None of 2 precisions is found to change")
    assert "at int2 none of 3 primary metrics is seen to change" in text


def test_a_sign_decides_what_more_collapse_goes_with() -> None:
    turned = [replace(line, estimate=-line.estimate) for line in WITHIN if line.estimate]
    assert "more collapse with a higher val_loss, which is worse, for nc1_ratio" in said(turned)[0]
    assert "more collapse with a lower val_loss for nc3_cosine_mean" in said(turned)[0]


DETECTED = [
    DetectionAssociation(metric, 24, r, r - 0.2, r + 0.15, verdict=verdict, score=score,
                         control="within design cells", **JUDGED)
    for metric, score, r, verdict in (
        ("nc1_ratio", "neco", -0.6, ASSOCIATED),
        ("nc4_agreement", "neco", -0.5, ASSOCIATED),
        ("nc3_cosine_mean", "msp", 0.1, NOT_FOUND),
    )
]  # fmt: skip


def test_a_run_with_other_data_says_what_goes_with_their_detection() -> None:
    def sentences(lines: Sequence[DetectionAssociation]) -> list[str]:
        frames = {
            "within": frame_of(Within, WITHIN),
            "given_train_loss": frame_of(GivenProgress, GIVEN),
            "changes": frame_of(Change, CHANGES),
            "ood_association": frame_of(DetectionAssociation, lines),
        }
        return [f"{part.title}. {part.text}" for part in answers(frames, ROLES)]

    before = sentences(DETECTED)
    assert [text.split(":")[0] for text in before] == [
        "Collapse and val_loss",
        "Collapse and other data",
        "Quantization",
    ]
    assert before[1] == (
        "Collapse and other data: associated. 2 of 3 pairs of a metric and a score go with "
        "detection within design cells: in 1 more collapse with better detection, in 1 more "
        "collapse with worse detection; farthest from zero are nc1_ratio and NECO (r −0.600, 95% "
        "interval −0.800 to −0.450, n 24)."
    )
    for changed in others(DETECTED, "verdict", VERDICTS):
        after = sentences(changed)
        assert after[1] != before[1]
        assert (after[0], after[2]) == (before[0], before[2])
    for verdict, words in (
        (NOT_FOUND, "None of 3 pairs of a metric and a score go with detection"),
        (INADEQUATE, "Of 3 pairs of a metric and a score nothing can be claimed: why"),
        (CANNOT_REJECT, "Of 3 pairs of a metric and a score nothing can be tested: why"),
    ):
        text = sentences([replace(line, verdict=verdict, note="why") for line in DETECTED])[1]
        assert text.startswith(f"Collapse and other data: {verdict}. {words}")
    beside = [*DETECTED, replace(DETECTED[2], given=TRAIN_LOSS, verdict=ASSOCIATED)]
    assert sentences(beside) == before


def contrast(metric: str, family: str, verdict: str, d: float) -> Contrast:
    return Contrast(
        metric, 12, d, d - 0.1, d + 0.1, p_maxt=0.01, verdict=verdict, family=family,
        intervention="train.lr", baseline="0.1", level="0.3", note="why",
    )  # fmt: skip


def test_interventions_come_first_and_say_what_they_change() -> None:
    lines = [
        contrast("val_loss", "outcome", CHANGED, -0.5),
        contrast("nc1_ratio", "primary", CHANGED, 0.4),
        contrast("nc4_agreement", "primary", UNDECIDED, 0.1),
        replace(contrast("damage", "outcome", CHANGED, 0.3), precision="int2"),
        replace(contrast("damage", "outcome", UNDECIDED, 0.1), precision="int4"),
    ]
    frames = {
        "interventions": frame_of(Contrast, lines),
        "within": frame_of(Within, WITHIN),
        "given_train_loss": frame_of(GivenProgress, GIVEN),
        "changes": frame_of(Change, CHANGES),
    }
    first, second, third = answers(frames, ROLES)
    assert [second.title.split(":")[0], third.title.split(":")[0]] == [
        "Collapse and val_loss",
        "Quantization",
    ]
    assert (first.title, first.text) == (
        "Interventions: changed",
        "train.lr changes val_loss at 1 of 1 levels, lowered most at 0.3 from 0.1: val_loss by "
        "0.5000 (95% interval −0.6000 to −0.4000, n 12, p maxT 0.0100), and 1 of 2 primary metrics "
        "at some level (nc1_ratio), and the damage at 1 of 2 precisions, raised most at 0.3 from "
        "0.1: damage at int2 by 0.3000 (95% interval +0.2000 to +0.4000, n 12, p maxT 0.0100).",
    )
    for verdict, word in ((CANNOT_REJECT, "nothing can be said: why"), (UNDECIDED, "at 0 of 1")):
        none = frame_of(Contrast, [replace(line, verdict=verdict) for line in lines])
        (part, *_) = answers({"interventions": none}, ROLES)
        assert part.title == f"Interventions: {verdict}"
        assert word in part.text


def report(rows: pl.DataFrame, folder: Path, only: tuple[str, ...]) -> Report:
    rows.write_parquet(folder / "rows.parquet")
    made = analysis.report(folder / "rows.parquet", only=only, **OPTIONS)
    assert isinstance(made, Report)
    return made


def test_who_reads_first_screens_can_tell_three_studies_apart(tmp_path: Path) -> None:
    """One with an association that was put in, one without, one whose control is refuted."""
    held = analysis.report(
        write_study(tmp_path / "held.parquet", 1.5),
        only=("within",),
        primary=("nc3_distance", "nc2_equinorm"),
        **OPTIONS,
    )
    absent = report(null_study("log epochs", 3), tmp_path, ("within",))
    rows = null_study("log epochs", 3)
    odd = (rows["width"].rank("dense") + rows["depth"] + rows["epochs"].rank("dense")) % 2
    rows = rows.with_columns(val_loss=pl.col("val_loss") + 3.0 * odd)
    bad = report(rows, tmp_path, ("design",))
    firsts = [made.sentences[0] for made in (held, absent, bad)]
    assert [part.title.partition(": ")[2] for part in firsts] == [
        ASSOCIATED,
        NOT_FOUND,
        INADEQUATE,
    ]
    assert "more collapse with a lower val_loss for nc3_distance" in firsts[0].text
    assert firsts[1].text.startswith("None of 7 primary metrics is found to go with val_loss")
    assert firsts[2].text.startswith("Whether collapse goes with val_loss cannot be said")
    words = [set(re.findall(r"[a-z]+", part.text)) for part in firsts]
    assert all(len(a ^ b) >= 15 for a, b in zip(words, [*words[1:], words[0]], strict=True))
    page = bad.html()
    assert page.index("control inadequate") < page.index('<nav aria-label="Contents">')


def test_the_table_of_properties_is_that_of_the_rows(tmp_path: Path) -> None:
    source = write_study(tmp_path / "rows.parquet", 1.5)
    primary = ("nc3_distance", "nc2_equinorm", "nc4_agreement")
    made = analysis.report(
        source, only=("within", "training", "precision"), primary=primary, **OPTIONS
    )
    frame = made.frames["properties"]
    assert frame["property"].to_list() == ["NC1", "NC2", "NC3", "NC4"]
    assert frame["metric"].to_list() == [
        "nc1_cdnv_galanti",
        "nc2_equinorm",
        "nc3_distance",
        "nc4_agreement",
    ]
    rows = pl.read_parquet(source).filter(pl.col("precision") == "fp32").sort("training")
    first, last = (rows.filter(pl.col("epoch") == epoch) for epoch in (0, 2))
    for line in frame.to_dicts():
        name = line["metric"]
        assert line["value"] == pytest.approx(np.median(last[name].to_numpy()), abs=1e-12)
        change = last[name].to_numpy() - first[name].to_numpy()
        towards = change < 0 if line["direction"] == "lower" else change > 0
        assert (line["towards"], line["trainings"]) == (np.count_nonzero(towards), 24)
        judged = made.frames["within"].row(by_predicate=pl.col("metric") == name, named=True)
        for column in ("estimate", "low", "high", "verdict", "family"):
            assert line[column] == judged[column]
        changes = made.frames["changes"].filter(column=name, level="")
        for which, precision in (("coarse", "int8"), ("coarsest", "int2")):
            expected = changes.row(by_predicate=pl.col("precision") == precision, named=True)
            assert line[which] == precision
            assert line[f"{which}_change"] == expected["estimate"]
            assert line[f"{which}_verdict"] == expected["verdict"]


def test_a_verdict_of_no_primary_metric_is_called_exploratory(tmp_path: Path) -> None:
    source = write_study(tmp_path / "rows.parquet", 1.5)
    made = analysis.report(source, only=("within",), primary=("nc2_equinorm",), **OPTIONS)
    (table,) = (part for part in made.glance if part.name == "properties")
    text = table.markdown()  # type: ignore[union-attr]
    (nc2,) = (line for line in text.splitlines() if line.startswith("| NC2"))
    (nc3,) = (line for line in text.splitlines() if line.startswith("| NC3"))
    assert "exploratory" not in nc2
    assert "| associated, exploratory |" in nc3


def test_a_property_without_its_tables_has_its_value_alone(tmp_path: Path) -> None:
    table = load(write_study(tmp_path / "rows.parquet", 1.5))
    frame = properties(table, (), None, None)
    assert frame["value"].null_count() == 0
    for column in ("trainings", "estimate", "verdict", "coarse", "coarsest_change"):
        assert frame[column].null_count() == len(frame)
    empty = table.frame.with_columns(nc4_agreement=pl.lit(None, pl.Float64))
    frame = properties(replace(table, frame=empty), (), None, None)
    assert frame["property"].to_list() == ["NC1", "NC2", "NC3"]
    assert len(final_rows(table)) == 24


def test_regressions_and_ordered_classes_have_properties_of_their_own(tmp_path: Path) -> None:
    table = load(write_study(tmp_path / "rows.parquet", 1.5))
    names = {"nc1_cdnv": "NRC1", "nc3_distance": "NRC3"}

    def families(given: dict[str, str]) -> list[str]:
        metrics = {
            name: replace(metric, family=given.get(name, metric.family))
            for name, metric in table.roles.metrics.items()
        }
        changed = replace(table, roles=replace(table.roles, metrics=metrics))
        return properties(changed, (), None, None)["property"].to_list()

    assert families(names) == ["NRC1", "NRC3"]
    assert families({"nc3_distance": "ONC2"}) == ["NC1", "NC2", "NC4", "ONC2"]


def test_one_training_of_one_epoch_has_a_first_screen(tmp_path: Path) -> None:
    rows = pl.read_parquet(write_study(tmp_path / "whole.parquet", 1.5)).filter(
        (pl.col("training") == "t00") & (pl.col("epoch") == 2) & (pl.col("precision") == "fp32")
    )
    made = report(rows.drop("precision", "bits_per_weight", "model_bytes"), tmp_path, ())
    (first, *others_) = made.sentences
    assert first.title == "Collapse and val_loss: described alone"
    assert "over 1 training." in first.text
    assert len(others_) <= 2
    assert {part.name for part in made.glance} == {"properties"}
    assert made.frames["properties"]["value"].null_count() == 0
    assert "change at" not in made.html().partition("<nav")[0]


def test_a_foreign_table_without_precisions_says_nothing_of_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lines = [
        f"{width},{seed},{x:.4f},{2 - x:.4f},{x + rng.normal():.4f}"
        for width in (1, 2, 3)
        for seed, x in enumerate(rng.normal(size=6))
    ]
    path = tmp_path / "results.csv"
    path.write_text("\n".join(["width,seed,nc1,nc4,loss", *lines]), encoding="utf-8")
    made = analysis.report(
        path,
        response="loss",
        metrics=("nc1", "nc4"),
        axes=("width",),
        seed_column="seed",
        unit=("width", "seed"),
        **OPTIONS,
    )
    titles = [part.title for part in made.sentences]
    assert titles[0].startswith("Collapse and loss: ")
    assert not any("Quantization" in title or "progress" in title for title in titles)
    assert {part.name for part in made.glance} == {"summary_metrics", "properties"}
    assert made.frames["properties"]["property"].to_list() == ["NC1", "NC4"]


def test_a_search_says_what_its_best_trial_is_and_whether_it_holds() -> None:
    trials = pl.DataFrame(
        {"trial": [1, 0], "state": ["complete"] * 2, "nc1_ratio": [0.1, 0.2], "holds": [True, True],
         "settings": ["train.lr 0.1", "train.lr 0.2"], "note": ["", ""]}
    )  # fmt: skip
    mattered = pl.DataFrame(
        {"parameter": ["train.lr", "train.x"], "importance": [0.25, 0.75], "n": [9, 8],
         "objective": ["nc1_ratio"] * 2}
    )  # fmt: skip
    first, second, third = answers({"trials": trials, "importances": mattered}, ROLES)
    assert "Best nc1_ratio: trial 1 (train.lr 0.1)" in first.text
    assert second.title == "Not confirmed"
    assert third.text.startswith("train.x tells the best trials in nc1_ratio")
    assert "(importance 0.750, 8 trials)" in third.text


def test_the_page_has_a_line_for_each_section_and_folds_it(tmp_path: Path) -> None:
    made = report(
        null_study("inverse", 3).head(32), tmp_path, ("association", "within", "progress")
    )
    page = made.html()
    contents = page.partition("<nav")[2].partition("</nav>")[0]
    assert re.findall(r'href="#(\w+)"', contents) == [
        "association",
        "within",
        "progress",
        "statistics",
        "provenance",
    ]
    for section in made.sections:
        assert LINES[section.name][0] in made.frames
        assert made.answer(section) == made.contents[section.name]
        assert str(named(made.contents[section.name])) in contents
        block = page.partition(f'<section id="{section.name}">')[2].partition("</section>")[0]
        assert block.lstrip().startswith("<details>\n<summary>")
        for part in made.paragraphs(section.name):
            assert f"<b>{named(part.title)}.</b> {named(part.text)}</p>" in block
    assert {part.section for part in made.summary} == {"association", "within", "progress"}
    assert "none of 7 primary metrics associated" in made.contents["within"]
    words = str(made)  # columns have their display names there, too
    assert words.startswith(in_words(made.sentences[0].title))
    assert "validation loss" in words and "val_loss" not in words and "nc1_" not in words
