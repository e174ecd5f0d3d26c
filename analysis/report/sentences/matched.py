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
from analysis.statistics.decide import CANNOT_REJECT, UNDECIDED


def matched(frame: pl.DataFrame) -> Iterator[Paragraph]:
    """A paragraph a group, a sentence a level: primary metrics by their verdicts."""
    lines = [line for line in lines_of(MatchedContrast, frame) if line.family == PRIMARY]
    for group in dict.fromkeys(line.group for line in lines):
        own = [line for line in lines if line.group == group]
        levels = dict.fromkeys(line.level for line in own)
        sentences = [_level([line for line in own if line.level == level]) for level in levels]
        yield Paragraph(f"At equal train_loss, {group}", " ".join(sentences))


def matched_answer(frame: pl.DataFrame) -> Paragraph:
    """One sentence: which levels can be compared, and how often each metric differs."""
    lines = [line for line in lines_of(MatchedContrast, frame) if line.family == PRIMARY]
    if not lines:
        lines = lines_of(MatchedContrast, frame)
    meeting = [line for line in lines if line.verdict not in (INADEQUATE, CANNOT_REJECT)]
    everything = {(line.level, line.group) for line in lines}
    comparable = {(line.level, line.group) for line in meeting}
    name, baseline = lines[0].intervention, lines[0].baseline
    start = (
        f"against {baseline}, losses meet for {len(comparable)} of {len(everything)} levels and "
        "groups"
    )
    changed = [line for line in meeting if line.verdict == CHANGED]
    word = CHANGED if changed else UNDECIDED if meeting else INADEQUATE
    if not meeting:
        return Paragraph(f"{name} at equal train_loss: {word}", f"{start}, so nothing is said.")
    parts = [
        _how_often([line for line in meeting if line.metric == metric])
        for metric in dict.fromkeys(line.metric for line in meeting)
    ]
    text = f"{start}: {'; '.join(parts)}."
    return Paragraph(f"{name} at equal train_loss: {word}", text[0].upper() + text[1:])


def _how_often(lines: Sequence[MatchedContrast]) -> str:
    """At how many levels a metric differs, and how far."""
    changed = [line for line in lines if line.verdict == CHANGED]
    start = f"{lines[0].metric} differs in {len(changed)} of {len(lines)}"
    if not changed:
        return start
    if all(line.ratio is not None for line in changed):
        ends = sorted(line.ratio for line in changed if line.ratio is not None)
        sizes = [f"times {number(end)}" for end in (ends[0], ends[-1])]
    else:
        ends = sorted(line.estimate for line in changed if line.estimate is not None)
        sizes = [signed_number(end) for end in (ends[0], ends[-1])]
    return f"{start} ({' to '.join(dict.fromkeys(sizes))})"


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
        return f"{line.metric} (times {number(line.ratio)}, {interval})"
    interval = f"{signed_number(line.low)} to {signed_number(line.high)}"
    return f"{line.metric} ({signed_number(line.estimate)}, {interval})"


def _names(lines: Sequence[MatchedContrast]) -> str:
    return ", ".join(line.metric for line in lines)
