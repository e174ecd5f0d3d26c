"""What the summary says of groups of samples, from the verdicts of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import CHANGED, NO_MORE_THAN, Change
from analysis.findings.dose_response import Trend
from analysis.findings.frames import lines_of
from analysis.findings.groups import COSINE, GAP, WORST, GapLine
from analysis.findings.interventions import Contrast
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import effects_briefly
from analysis.report.tables import number, p_value, signed, signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, UNDECIDED

NAMES = {GAP: "the accuracy gap", WORST: "the worst accuracy", COSINE: "the self-duality gap"}
VERBS = {
    GAP: ("narrowed", "widened"),
    COSINE: ("narrowed", "widened"),
    WORST: ("lowered", "raised"),
}
"""What a change below zero, and one above it, is called."""
OPEN = {
    UNDECIDED: "undecided",
    NO_MORE_THAN: "changed by no more than the margin",
    CANNOT_REJECT: "cannot reject",
}
NAMED = 6  # effects that a sentence describes with their numbers


def groups(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """The gaps as they are, what precisions do to them, and what interventions do."""
    lines = [line for line in lines_of(GapLine, frames["groups"]) if line.gap is not None]
    sentences = [_described(lines[0])] if lines else []
    if "group_changes" in frames:
        changes = lines_of(Change, frames["group_changes"])
        sentences.append(_effects(changes, "Precisions", [line.precision for line in changes]))
    if sentences:
        yield Paragraph("Groups", " ".join(sentences))
    if "group_effects" not in frames:
        return
    effects = lines_of(Contrast, frames["group_effects"])
    trends = lines_of(Trend, frames["group_doses"]) if "group_doses" in frames else []
    for name in dict.fromkeys(line.intervention for line in effects):
        own = [line for line in effects if line.intervention == name]
        where = [
            f"{line.level} instead of {line.baseline}"
            + (f", at {line.precision}" if line.precision else "")
            for line in own
        ]
        sentences = [_effects(own, f"Levels of {name}", where)]
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


def _effects(lines: Sequence[Change | Contrast], what: str, where: Sequence[str]) -> str:
    """What is seen to change, with numbers; then how many effects are open, and why."""
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"{what}: nothing can be rejected ({lines[0].note})."
    changed = [
        (line, place) for line, place in zip(lines, where, strict=True) if line.verdict == CHANGED
    ]
    if not changed:
        text = f"{what} are not seen to change any of {len(lines)} gaps and accuracies."
    else:
        parts = [_effect(line, place) for line, place in changed[:NAMED]]
        more = len(changed) - NAMED
        text = f"{what} {'; '.join(parts)}" + (f"; and {more} more." if more > 0 else ".")
    left = [
        f"{count} {phrase}"
        for word, phrase in OPEN.items()
        if (count := sum(line.verdict == word for line in lines))
    ]
    return f"{text} Of {len(lines)} effects {', '.join(left)}." if left else text


def _doses(lines: Sequence[Trend]) -> Iterator[str]:
    """What goes with the dose, where there are more than two levels."""
    judged = [line for line in lines if line.verdict is not None]
    if not judged:
        return
    clear = [line for line in judged if line.verdict == ASSOCIATED]
    parts = [
        f"{NAMES[line.metric]}{f' at {line.precision}' if line.precision else ''} "
        f"(r {signed(line.estimate)}, p maxT {p_value(line.p_maxt)})"
        for line in clear[:NAMED]
    ]
    more = f" and {len(clear) - NAMED} more" if len(clear) > NAMED else ""
    text = f"Over its {judged[0].levels} levels {len(clear)} of {len(judged)} go with the dose"
    yield f"{text}: {', '.join(parts)}{more}." if clear else f"{text}."


def _effect(line: Change | Contrast, where: str) -> str:
    column = line.column if isinstance(line, Change) else line.metric
    below, above = VERBS[column]
    verb = below if (line.estimate or 0.0) < 0 else above
    ends = (
        f"95% interval {signed_number(line.low)} to {signed_number(line.high)}, "
        if line.low is not None and line.high is not None
        else ""
    )
    adjusted = f", p maxT {p_value(line.p_maxt)}" if line.p_maxt is not None else ""
    size = number(abs(line.estimate or 0.0))
    return f"{verb} {NAMES[column]} by {size} ({where}; {ends}n {line.n}{adjusted})"
