"""What the summary says of levels at equal training loss, from their verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from analysis.findings.changes import CHANGED, NO_MORE_THAN
from analysis.findings.frames import lines_of
from analysis.findings.matched import MatchedContrast
from analysis.findings.verdicts import INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.tables import number, signed_number
from analysis.statistics.decide import CANNOT_REJECT


def matched(frame: pl.DataFrame) -> Iterator[Paragraph]:
    """A paragraph a group, a sentence a level: primary metrics by their verdicts."""
    lines = [line for line in lines_of(MatchedContrast, frame) if line.family == PRIMARY]
    for group in dict.fromkeys(line.group for line in lines):
        own = [line for line in lines if line.group == group]
        levels = dict.fromkeys(line.level for line in own)
        sentences = [_level([line for line in own if line.level == level]) for level in levels]
        yield Paragraph(f"At equal train_loss, {group}", " ".join(sentences))


def _level(lines: Sequence[MatchedContrast]) -> str:
    """What one level is beside the baseline."""
    first = lines[0]
    start = f"{first.level} against {first.baseline}"
    if all(line.verdict == INADEQUATE for line in lines):
        return f"{start}: not comparable, as {first.note.rpartition('; ')[2]}."
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"{start}: nothing can be rejected with {first.n} seeds."
    parts = []
    if changed := [line for line in lines if line.verdict == CHANGED]:
        parts.append("differs in " + ", ".join(map(_with_size, changed)))
    if alike := [line for line in lines if line.verdict == NO_MORE_THAN]:
        parts.append("is alike, within the margin, in " + _names(alike))
    apart = (CHANGED, NO_MORE_THAN)
    if rest := [line for line in lines if line.verdict not in apart]:
        parts.append("leaves undecided " + _names(rest))
    return f"{start} {'; '.join(parts)}."


def _with_size(line: MatchedContrast) -> str:
    """A metric with its difference, or the ratio of a logarithm, and the interval."""
    if line.ratio is not None:
        interval = f"{number(line.ratio_low)} to {number(line.ratio_high)}"
        return f"`{line.metric}` (times {number(line.ratio)}, {interval})"
    interval = f"{signed_number(line.low)} to {signed_number(line.high)}"
    return f"`{line.metric}` ({signed_number(line.estimate)}, {interval})"


def _names(lines: Sequence[MatchedContrast]) -> str:
    return ", ".join(f"`{line.metric}`" for line in lines)
