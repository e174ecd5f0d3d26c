"""The table of contents: each line says what the verdicts of its tables say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from analysis.findings.association import Association
from analysis.findings.changes import CHANGED, NO_MORE_THAN, Change
from analysis.findings.checkpoints import Checkpoints
from analysis.findings.configuration import Fixed
from analysis.findings.curves import Course
from analysis.findings.design import Candidate, GivenDesign
from analysis.findings.detection import DetectionAssociation, DetectionLine
from analysis.findings.effects import Effect
from analysis.findings.epochs_at import FITTED, EpochAt
from analysis.findings.forecast import TOGETHER, Forecast
from analysis.findings.frames import frame_of
from analysis.findings.interventions import Contrast
from analysis.findings.matched import MatchedContrast
from analysis.findings.methods import MethodLine
from analysis.findings.outcomes import Link
from analysis.findings.power import Power
from analysis.findings.progress import REMAINS, TRAIN_LOSS, VANISHES, GivenProgress
from analysis.findings.robustness import RobustLine
from analysis.findings.tuning import Comparison
from analysis.findings.verdicts import INADEQUATE
from analysis.findings.within import Within
from analysis.report.sentences.contents import contents
from analysis.report.sentences.words import SILENT, effects_briefly
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED

JUDGED: dict[str, Any] = {"family": "primary", "n": 24}
CHANCE: dict[str, Any] = {"family": "exploratory", "n": 24, "verdict": ASSOCIATED}


def judged(kind: Any, *words: str, **more: Any) -> list[Any]:
    """A primary line a verdict, and an exploratory one that no count may take in."""
    lines = [
        kind(metric=f"m{at}", estimate=0.5 - 0.1 * at, verdict=word, **JUDGED, **more)
        for at, word in enumerate(words)
    ]
    return [*lines, kind(metric="chance", estimate=0.9, **CHANCE, **more)]


TWO = (ASSOCIATED, NOT_FOUND, ASSOCIATED)
TABLES: dict[str, tuple[dict[str, tuple[Any, list[Any]]], str]] = {
    "association": (
        {"association": (Association, judged(Association, *TWO))},
        "2 of 3 primary metrics go with y: m0, m2; no finding, as nothing is taken out",
    ),
    "within": (
        {"within": (Within, judged(Within, *TWO))},
        "2 of 3 primary metrics associated: m0, m2",
    ),
    "design": (
        {
            "given_design": (GivenDesign, judged(GivenDesign, NOT_FOUND, NOT_FOUND)),
            "design": (
                Candidate,
                [
                    Candidate("a", "", 3, 9, 0.1, 0.0, chosen=False),
                    Candidate("b", "", 5, 7, 0.75, 0.5, chosen=True),
                ],
            ),
        },
        "R² 0.750 by the axes; none of 2 primary metrics associated",
    ),
    "progress": (
        {
            "given_train_loss": (
                GivenProgress,
                [
                    GivenProgress(
                        "m0",
                        9,
                        verdict=ASSOCIATED,
                        family="primary",
                        given=TRAIN_LOSS,
                        reading=REMAINS,
                    ),
                    GivenProgress(
                        "m1",
                        9,
                        verdict=NOT_FOUND,
                        family="primary",
                        given=TRAIN_LOSS,
                        reading=VANISHES,
                    ),
                    GivenProgress(
                        "m2",
                        9,
                        verdict=NOT_FOUND,
                        family="primary",
                        given=TRAIN_LOSS,
                        reading=VANISHES,
                    ),
                    GivenProgress("m3", 9, verdict=ASSOCIATED, family="primary", response="gap"),
                ],
            )
        },
        "remains for m0; vanishes for m1, m2",
    ),
    "fixed": (
        {
            "fixed": (
                Fixed,
                [
                    *judged(Fixed, *TWO, configuration="a"),
                    *judged(Fixed, ASSOCIATED, configuration="b"),
                ],
            )
        },
        "2 of 3 primary metrics associated: m0, m2 among 24 trainings",
    ),
    "power": (
        {"power": (Power, [Power(24, 4, 20, 7, 0.5, 0.617, 29, 11)])},
        "an r of 0.617 is found four times in five; an r of .3 takes 29 seeds a design cell",
    ),
    "axes": (
        {
            "effects": (
                Effect,
                [
                    Effect("log width", name, "raw", 24, p_maxt=p)
                    for name, p in (("y", 0.01), ("m0", 0.05), ("m1", 0.06), ("m2", None))
                ],
            )
        },
        "columns that an axis moves: log width 2 of 3",
    ),
    "forecast": (
        {
            "forecast": (
                Forecast,
                [
                    *judged(Forecast, NOT_FOUND, ASSOCIATED, q2_without=0.25),
                    Forecast(TOGETHER, 24, q2_without=0.25, family="joint", verdict=ASSOCIATED),
                ],
            )
        },
        "the axes alone reach Q² 0.250; 1 of 2 primary metrics adds to it: m1",
    ),
    "checkpoints": (
        {"checkpoints": (Checkpoints, judged(Checkpoints, CANNOT_REJECT, CANNOT_REJECT))},
        "too few trainings for a test",
    ),
    "training": (
        {
            "training": (
                Course,
                [
                    Course("a", 9, towards=5),
                    Course("b", 9, towards=4),
                    Course("c", 9, towards=None),
                ],
            )
        },
        "1 of 2 metrics move towards collapse in most trainings",
    ),
    "epochs_at": (
        {"epochs_at": (EpochAt, [EpochAt("train", FITTED, 9, 5, 2, epoch=3.5)])},
        f"5 of 9 trainings reach {FITTED}, at epoch 3.500 on average",
    ),
    "precision": (
        {
            "changes": (
                Change,
                [
                    Change("int8", "fp32", "y", "", 9, 0.01, verdict=CHANGED),
                    Change("int2", "fp32", "y", "", 9, -0.5, verdict=CHANGED),
                    Change("int2", "fp32", "y", "width 8", 9, 0.9, verdict=CHANGED),
                    Change("bf16", "fp32", "y", "", 9, 0.0, verdict=NO_MORE_THAN),
                    Change("int2", "fp32", "m0", "", 9, 5.0, verdict=CHANGED),
                ],
            )
        },
        "2 of 3 precisions change y, int2 most: −0.5000",
    ),
    "methods": (
        {
            "methods": (
                MethodLine,
                [
                    MethodLine("", "int3", "gptq", 9, recovered=0.5),
                    MethodLine("", "int2", "hqq", 9, recovered=0.75),
                    MethodLine("", "int2", "nearest", 9),
                ],
            )
        },
        "hqq at int2 recovers most: 0.750 of what rounding to nearest loses",
    ),
    "interventions": (
        {
            "interventions": (
                Contrast,
                [
                    Contrast("y", 9, verdict=CHANGED, family="outcome"),
                    Contrast("m0", 9, verdict=NO_MORE_THAN, family="primary"),
                    Contrast("m1", 9, verdict=CHANGED, family="exploratory"),
                ],
            )
        },
        "1 of 2 effects on primary metrics and outcomes are shown",
    ),
    "matched": (
        {
            "matched": (
                MatchedContrast,
                [
                    MatchedContrast("y", 9, verdict=INADEQUATE, family="outcome"),
                    MatchedContrast("m0", 9, verdict=CHANGED, family="primary"),
                    MatchedContrast("m1", 9, verdict=CHANGED, family="exploratory"),
                ],
            )
        },
        "1 of 2 differences at equal training loss are shown",
    ),
}


def frames_of(tables: dict[str, tuple[Any, list[Any]]]) -> dict[str, pl.DataFrame]:
    return {name: frame_of(kind, lines) for name, (kind, lines) in tables.items()}


@pytest.mark.parametrize("section", TABLES)
def test_a_line_of_contents_is_this(section: str) -> None:
    tables, text = TABLES[section]
    assert contents(frames_of(tables), "y") == {section: text}


@pytest.mark.parametrize("section", ["association", "within", "fixed", "forecast"])
def test_a_line_follows_every_verdict_of_the_family(section: str) -> None:
    tables, text = TABLES[section]
    ((name, (kind, lines)),) = tables.items()
    for at, line in enumerate(lines):
        if line.family == "primary" and line.verdict == ASSOCIATED and line.metric != "chance":
            own = getattr(line, "configuration", "a") == "a"
            changed = [*lines[:at], replace(line, verdict=NOT_FOUND), *lines[at + 1 :]]
            line_after = contents(frames_of({name: (kind, changed)}), "y")[section]
            assert (line_after != text) == own
        changed = [*lines[:at], replace(line, verdict=INADEQUATE), *lines[at + 1 :]]
        if section == "within":
            expected = {section: "control inadequate: nothing is claimed"}
            assert contents(frames_of({name: (kind, changed)}), "y") == expected


def test_sections_of_outcomes_that_cannot_reject_say_so() -> None:
    silent: dict[str, Any] = {"metric": "nc1_ratio", **JUDGED, "verdict": CANNOT_REJECT}
    link, score = Link(**silent), DetectionAssociation(**silent, score="neco")
    frames = {
        "robustness": frame_of(RobustLine, [RobustLine("a", "", "fp32", 1, clean=0.9, robust=0.5)]),
        "robust_links": frame_of(Link, [link]),
        "ood": frame_of(DetectionLine, [DetectionLine("neco", "", "fp32", 1, auroc=0.8)]),
        "ood_association": frame_of(DetectionAssociation, [score]),
        "transfer_links": frame_of(Link, [link]),
    }
    assert contents(frames, "y") == {
        "robustness": "accuracy 0.900 falls to 0.500 under attack; collapse and robustness: too "
        "few trainings for a test",
        "ood": "NECO detects best, AUROC 0.800; collapse and detection: too few trainings for a "
        "test",
        "transfer": "too few trainings for a test",
    }


def test_searches_say_whether_the_default_is_beaten() -> None:
    trials = pl.DataFrame({"trial": [0]})
    assert contents({"trials": trials}, "y") == {"tuning": "not confirmed on fresh seeds"}
    line = Comparison("nc1_ratio", "log", 7, True, 6, 6, 6, 0, 0, 0, 0, beats=True)
    for beats, words in ((True, "beats"), (False, "is not shown to beat")):
        frame = frame_of(Comparison, [replace(line, beats=beats)])
        assert contents({"trials": trials, "confirmation": frame}, "y") == {
            "tuning": f"trial 7 {words} the default on 6 fresh seeds"
        }


def test_lines_of_data_layers_and_checkpoints_are_counted() -> None:
    frames = {
        "data": pl.DataFrame({"data": ["digits", "photos"]}),
        "floor": pl.DataFrame({"val_loss_above_floor": [0.5, 0.25]}),
        "layers": pl.DataFrame({"layer": ["block1", "block2", "block2"]}),
        "overfitting": pl.DataFrame({"flagged": [True, False, True]}),
        "classes": pl.DataFrame({"name": ["a", "b", "a"]}),
    }
    assert contents(frames, "y") == {
        "overfitting": "2 of 3 trainings were better at an earlier checkpoint",
        "layers": "2 layers",
        "data": "2 data sets: digits, photos; the closest training is +0.2500 from the least loss",
        "classes": "2 single classes against the average",
    }
    assert contents({}, "y") == {}


def test_effects_that_no_test_can_show_are_not_said_to_be_none() -> None:
    of = "a precision"
    assert effects_briefly([CANNOT_REJECT] * 2, of) == f"effects of {of}: {SILENT}"
    some = [CHANGED, CANNOT_REJECT, UNDECIDED]
    assert effects_briefly(some, of) == "1 of 3 effects of a precision are shown"
