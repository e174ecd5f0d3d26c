"""What the summary says of other data, from the verdicts of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import CHANGED, NO_MORE_THAN, Change
from analysis.findings.detection import DetectionAssociation, DetectionLine
from analysis.findings.frames import lines_of
from analysis.findings.progress import TRAIN_LOSS
from analysis.findings.verdicts import INADEQUATE, PRIMARY
from analysis.reading.naming import AUROC
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import (
    SILENT,
    adjusted,
    listing,
    numbers,
    reason,
    unable,
    with_verdict,
)
from analysis.report.tables import p_value, share, signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED
from study.columns import metric_of

NAMES = {
    "msp": "the softmax maximum",
    "maxlogit": "the largest logit",
    "energy": "the energy",
    "ncc": "the nearest class mean",
    "mahalanobis": "the Mahalanobis distance",
    "neco": "NECO",
}
NAMED = 6  # findings that a paragraph describes with their numbers


def ood(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """How well other data are detected, what precisions change, what goes with it."""
    lines = [line for line in lines_of(DetectionLine, frames["ood"]) if line.auroc is not None]
    if lines:
        yield Paragraph("Other data", _described(lines))
    if "ood_changes" in frames:
        changes = lines_of(Change, frames["ood_changes"])
        own = [line for line in changes if line.column.startswith(AUROC)]
        if own:
            yield Paragraph("Other data and precision", _changes(own))
    associations = lines_of(DetectionAssociation, frames["ood_association"])
    if associations:
        yield Paragraph("Collapse and other data", " ".join(_findings(associations)))


def answer(frames: Mapping[str, pl.DataFrame]) -> str:
    """The section in a line of the table of contents."""
    lines = [line for line in lines_of(DetectionLine, frames["ood"]) if line.auroc is not None]
    if not lines:
        return "no score exists at the last checkpoint"
    first = [line for line in lines if line.precision == lines[0].precision]
    best = max(first, key=lambda line: line.auroc or 0.0)
    text = f"{NAMES[best.score]} detects best, AUROC {share(best.auroc)}"
    judged = _judged(lines_of(DetectionAssociation, frames["ood_association"]), "")
    if not judged:
        return text
    if unable(judged):
        return f"{text}; collapse and detection: {SILENT}"
    clear = sum(line.verdict == ASSOCIATED for line in judged)
    return f"{text}; {clear} of {len(judged)} pairs of a primary metric and a score are associated"


def _at(precision: str) -> str:
    return f" at {precision}" if precision else ""


def _described(lines: Sequence[DetectionLine]) -> str:
    """The best and the worst score at the reference, which comes first."""
    first = [line for line in lines if line.precision == lines[0].precision]
    ordered = sorted(first, key=lambda line: -(line.auroc or 0.0))
    parts = [
        f"{word} by {NAMES[line.score]} (AUROC {share(line.auroc)}"
        + (
            f", 95% interval over seeds {share(line.auroc_low)} to {share(line.auroc_high)}"
            if line.auroc_low is not None
            else ""
        )
        + (f", FPR95 {share(line.fpr95)}" if line.fpr95 is not None else "")
        + f", n {line.n})"
        for word, line in (("best", ordered[0]), ("worst", ordered[-1]))
    ]
    text = f"Other data are told from validation samples{_at(lines[0].precision)} {parts[0]}"
    return f"{text}." if len(ordered) == 1 else f"{text}, {parts[1]}."


def _changes(lines: Sequence[Change]) -> str:
    """What each precision does to the AUROC of each score."""
    sentences = []
    for precision in dict.fromkeys(line.precision for line in lines):
        own = [line for line in lines if line.precision == precision]
        sentences.append(f"At {precision} {_of_precision(own)}.")
    return f"Against {lines[0].baseline}, by the AUROC of each score. {' '.join(sentences)}"


def _of_precision(lines: Sequence[Change]) -> str:
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"nothing can be rejected ({lines[0].note})"
    changed = [line for line in lines if line.verdict == CHANGED]
    parts = []
    for word, sign in (("worse", -1), ("better", 1)):
        chosen = [line for line in changed if sign * (line.estimate or 0.0) > 0]
        if chosen:
            ordered = sorted(chosen, key=lambda line: -abs(line.estimate or 0.0))
            parts.append(f"detection is {word} by {'; '.join(map(_size, ordered))}")
    if not parts:
        parts.append("detection is not seen to change by any score")
    for verdict, phrase in (
        (NO_MORE_THAN, "changed by no more than the margin"),
        (UNDECIDED, "undecided"),
        (CANNOT_REJECT, "cannot reject"),
    ):
        if names := [_name(line) for line in lines if line.verdict == verdict]:
            parts.append(f"{phrase}: {listing(names)}")
    return "; ".join(parts)


def _name(line: Change) -> str:
    return NAMES[line.column.removeprefix(AUROC)]


def _size(line: Change) -> str:
    ends = ""
    if line.low is not None and line.high is not None:
        ends = f"95% interval {signed_number(line.low)} to {signed_number(line.high)}, "
    adjusted_p = f", p maxT {p_value(line.p_maxt)}" if line.p_maxt is not None else ""
    return f"{_name(line)} ({signed_number(line.estimate)}, {ends}n {line.n}{adjusted_p})"


def _judged(lines: Sequence[DetectionAssociation], given: str) -> list[DetectionAssociation]:
    """Lines of primary metrics that have a verdict."""
    return [
        line
        for line in lines
        if line.family == PRIMARY and line.verdict is not None and line.given == given
    ]


def _findings(lines: Sequence[DetectionAssociation]) -> Iterator[str]:
    """One sentence a finding, and how many pairs of metric and score are open."""
    judged = _judged(lines, "")
    if not judged:
        yield "No primary metric can be held against detection."
        return
    for control in dict.fromkeys(line.control for line in judged):
        own = [line for line in judged if line.control == control]
        if bad := [line for line in own if line.verdict == INADEQUATE]:
            yield (
                f"Of {len(bad)} pairs of a primary metric and a score nothing is claimed "
                f"({reason(bad)})."
            )
            continue
        if all(line.verdict == CANNOT_REJECT for line in own):
            yield f"Of {len(own)} pairs nothing can be rejected ({reason(own)})."
            continue
        yield from _of_control(own, _judged(lines, TRAIN_LOSS), control)


def _of_control(
    lines: Sequence[DetectionAssociation], given: Sequence[DetectionAssociation], control: str
) -> Iterator[str]:
    clear = [line for line in lines if line.verdict == ASSOCIATED]
    ordered = sorted(clear, key=lambda line: -abs(line.estimate or 0.0))
    for line in ordered[:NAMED]:
        yield _finding(line, control, _after(line, given))
    if len(ordered) > NAMED:
        pairs = [f"{line.metric} and {NAMES[line.score]}" for line in ordered[NAMED:]]
        yield f"So are {listing(pairs)} associated {control}."
    if not clear:
        yield (
            f"{control[0].upper()}{control[1:]} none of {len(lines)} pairs of a primary metric and "
            "a score is associated."
        )
    if undecided := [line for line in lines if line.verdict == UNDECIDED]:
        pairs = [f"{line.metric} and {NAMES[line.score]}" for line in undecided]
        yield f"Undecided of {len(lines)} pairs: {listing(pairs)}."
    if lines[0].detectable is not None and with_verdict(lines, NOT_FOUND):
        yield (
            f"An r nearer to zero than {share(lines[0].detectable)} is missed more often than one "
            "time in five, so what was not found is not shown to be absent."
        )


def _after(line: DetectionAssociation, given: Sequence[DetectionAssociation]) -> str:
    """What is left of a finding given the training loss."""
    same = [each for each in given if (each.metric, each.score) == (line.metric, line.score)]
    if not same:
        return ""
    (after,) = same
    r = f"r {'' if after.estimate is None else signed_number(after.estimate)}".strip()
    if after.verdict == ASSOCIATED:
        turned = (after.estimate or 0.0) * (line.estimate or 0.0) < 0
        return f"; given train_loss it {'turns its sign' if turned else 'remains'} ({r})"
    return f"; given train_loss it is not shown ({r})"


def _finding(line: DetectionAssociation, control: str, after: str) -> str:
    """'More collapse (nc1_ratio) goes with better detection by NECO ...'."""
    metric = metric_of(line.metric)
    direction = None if metric is None else metric.direction
    rises = (line.estimate or 0.0) > 0
    if direction is None:
        start, better = f"A larger {line.metric}", rises
    else:
        start, better = f"More collapse ({line.metric})", rises == (direction == "higher")
    return (
        f"{start} goes with {'better' if better else 'worse'} detection by {NAMES[line.score]} "
        f"{control} ({numbers(line)}, {adjusted(line)}){after}."
    )
