"""What the summary says of groups of samples, from the verdicts of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import Change
from analysis.findings.dose_response import Trend
from analysis.findings.frames import lines_of
from analysis.findings.groups import COSINE, GAP, WORST, GapLine
from analysis.findings.interventions import Contrast
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.outcomes import effects
from analysis.report.sentences.words import effects_briefly
from analysis.report.tables import number, p_value, signed
from analysis.statistics.decide import ASSOCIATED

NAMES = {
    GAP: ("the accuracy gap", "narrowed", "widened"),
    WORST: ("the worst accuracy", "lowered", "raised"),
    COSINE: ("the self-duality gap", "narrowed", "widened"),
}
"""What each column is called, and the verbs of a change below zero and above it."""
OUTCOMES = "gaps and accuracies"
NAMED = 6  # trends that a sentence describes with their numbers


def groups(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """The gaps as they are, what precisions do to them, and what interventions do."""
    lines = [line for line in lines_of(GapLine, frames["groups"]) if line.gap is not None]
    sentences = [_described(lines[0])] if lines else []
    if "group_changes" in frames:
        changes = lines_of(Change, frames["group_changes"])
        where = [line.precision for line in changes]
        sentences.append(effects(changes, "Precisions", where, OUTCOMES, NAMES))
    if sentences:
        yield Paragraph("Groups", " ".join(sentences))
    if "group_effects" not in frames:
        return
    contrasts = lines_of(Contrast, frames["group_effects"])
    trends = lines_of(Trend, frames["group_doses"]) if "group_doses" in frames else []
    for name in dict.fromkeys(line.intervention for line in contrasts):
        own = [line for line in contrasts if line.intervention == name]
        where = [
            f"{line.level} instead of {line.baseline}"
            + (f", at {line.precision}" if line.precision else "")
            for line in own
        ]
        sentences = [effects(own, f"Levels of {name}", where, OUTCOMES, NAMES)]
        sentences += _doses([line for line in trends if line.intervention == name])
        yield Paragraph(f"Groups and {name}", " ".join(sentences))


def answer(frames: Mapping[str, pl.DataFrame]) -> str:
    """The section in a line of the table of contents."""
    lines = lines_of(GapLine, frames["groups"])
    known = [line for line in lines if line.gap is not None]
    if not known:
        return "no training has groups at its last checkpoint"
    parts = [f"accuracies differ by {number(known[0].gap)}"]
    for table, what in (("group_changes", "a precision"), ("group_effects", "an intervention")):
        if table in frames:
            parts.append(effects_briefly(frames[table]["verdict"].to_list(), what))
    return "; ".join(parts)


def _described(line: GapLine) -> str:
    at = f" at {line.precision}" if line.precision else ""
    return (
        f"Accuracies of groups{at} differ by {number(line.gap)} on average "
        f"({number(line.gap_least)} to {number(line.gap_largest)}, n {line.n}; standard error of "
        f"one {number(line.gap_se)}), clearly in {line.clear} of {line.n} trainings; the worst "
        f"group has {number(line.worst)}."
    )


def _doses(lines: Sequence[Trend]) -> Iterator[str]:
    """What goes with the dose, where there are more than two levels."""
    judged = [line for line in lines if line.verdict is not None]
    if not judged:
        return
    clear = [line for line in judged if line.verdict == ASSOCIATED]
    parts = [
        f"{NAMES[line.metric][0]}{f' at {line.precision}' if line.precision else ''} "
        f"(r {signed(line.estimate)}, p maxT {p_value(line.p_maxt)})"
        for line in clear[:NAMED]
    ]
    more = f" and {len(clear) - NAMED} more" if len(clear) > NAMED else ""
    text = f"Over its {judged[0].levels} levels {len(clear)} of {len(judged)} go with the dose"
    yield f"{text}: {', '.join(parts)}{more}." if clear else f"{text}."
