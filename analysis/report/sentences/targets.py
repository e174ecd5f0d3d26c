"""What is said of regressions and ordered classes, from the verdicts of tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import CHANGED, Change
from analysis.findings.frames import lines_of
from analysis.findings.targets import OUTCOMES, TargetCourse, TargetLine
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import effects_briefly, listing
from analysis.report.tables import number, p_value, signed_number
from analysis.statistics.decide import CANNOT_REJECT

TITLE = "Collapse of targets"


def targets(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """Whether collapse moved while training, and what each precision does to it."""
    if "regression_course" in frames:
        lines = lines_of(TargetCourse, frames["regression_course"])
        yield Paragraph(f"{TITLE} over training", _course(lines))
    if "regression_changes" in frames:
        changes = lines_of(Change, frames["regression_changes"])
        yield Paragraph(f"{TITLE} and precision", _precisions(changes))


def answer(frames: Mapping[str, pl.DataFrame]) -> str:
    """The section in a line of the table of contents."""
    lines = lines_of(TargetLine, frames["regression"])
    first = lines[0].precision
    own = [line for line in lines if line.precision == first and line.column not in OUTCOMES]
    known = [f"{line.column} {number(line.median)}" for line in own if line.median is not None]
    text = ", ".join(known) if known else "no training has a value"
    if "regression_changes" in frames:
        verdicts = frames["regression_changes"]["verdict"].to_list()
        text += f"; {effects_briefly(verdicts, 'a precision')}"
    return text


def _course(lines: Sequence[TargetCourse]) -> str:
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"Nothing can be rejected of training ({lines[0].note})."
    moved = [line for line in lines if line.verdict == CHANGED]
    parts = [
        f"{line.column} {'falls' if (line.estimate or 0) < 0 else 'rises'} from "
        f"{number(line.first)} to {number(line.last)} ({_numbers(line)})"
        for line in moved
    ]
    still = [line.column for line in lines if line.verdict != CHANGED]
    text = f"With training {'; '.join(parts)}." if parts else ""
    if still:
        text += f"{' ' if text else ''}Training is not seen to move {listing(still)}."
    return text


def _precisions(lines: Sequence[Change]) -> str:
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"Nothing can be rejected of precisions ({lines[0].note})."
    sentences = []
    unseen = []
    for precision in dict.fromkeys(line.precision for line in lines):
        own = [line for line in lines if line.precision == precision]
        changed = [line for line in own if line.verdict == CHANGED]
        if not changed:
            unseen.append(precision)
            continue
        parts = [
            f"{'lowers' if (line.estimate or 0) < 0 else 'raises'} {line.column} by "
            f"{number(abs(line.estimate or 0.0))} ({_numbers(line)})"
            for line in changed
        ]
        sentences.append(f"{precision} {'; '.join(parts)}.")
    if unseen:
        columns = len({line.column for line in lines})
        verb = "is" if len(unseen) == 1 else "are"
        sentences.append(
            f"{listing(unseen)} {verb} not seen to change any of {columns} columns of collapse and "
            "outcome."
        )
    return " ".join(sentences)


def _numbers(line: TargetCourse | Change) -> str:
    ends = (
        f"95% interval {signed_number(line.low)} to {signed_number(line.high)}, "
        if line.low is not None and line.high is not None
        else ""
    )
    adjusted = "" if line.p_maxt is None else f", p maxT {p_value(line.p_maxt)}"
    return f"{ends}n {line.n}{adjusted}"
