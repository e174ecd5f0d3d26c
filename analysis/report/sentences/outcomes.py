"""What is said of outcomes beside the response, from the verdicts of their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.findings.changes import CHANGED, NO_MORE_THAN, Change
from analysis.findings.interventions import Contrast
from analysis.findings.outcomes import BETTER, WORSE, Link
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.sentences.words import (
    described,
    listing,
    metrics,
    of_family,
    reason,
    with_verdict,
)
from analysis.report.tables import number, p_value, signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED
from study.columns import noun

OPEN = {
    UNDECIDED: "undecided",
    NO_MORE_THAN: "changed by no more than the margin",
    CANNOT_REJECT: "cannot reject",
}
NAMED = 6  # effects that a sentence describes with their numbers


def linked(lines: Sequence[Link], response: str, worse: str, better: str) -> str:
    """Whether trainings that collapse more have another outcome.

    `worse` and `better` say what more collapse would go with.
    """
    judged = of_family(lines, PRIMARY) or of_family(lines, EXPLORATORY)
    what = noun(response)
    if bad := [line for line in lines if line.verdict == INADEQUATE]:
        return f"Of collapse and {what} nothing can be claimed: {reason(bad)}."
    if not judged or all(line.verdict == CANNOT_REJECT for line in judged):
        return f"Of collapse and {what} nothing can be claimed: {reason(lines)}."
    kind, control = judged[0].family, judged[0].control
    clear = with_verdict(judged, ASSOCIATED)
    if not clear:
        return (
            f"No association of {metrics(judged, kind)} with {what} was found {control}, which "
            "does not show that there is none."
        )
    parts = [
        f"{phrase} {described(chosen)}"
        for phrase, chosen in (
            (f"more collapse goes with {worse} by", _read(clear, WORSE)),
            (f"more collapse goes with {better} by", _read(clear, BETTER)),
            ("without a direction of collapse there is", _read(clear, None)),
        )
        if chosen
    ]
    text = (
        f"{len(clear)} of {metrics(judged, kind)} {'goes' if len(clear) == 1 else 'go'} with "
        f"{what} {control}: {'; '.join(parts)}."
    )
    if silent := with_verdict(judged, NOT_FOUND):
        text += f" No association was found for {listing([line.metric for line in silent])}."
    return f"{text} An association does not show that collapse causes it."


def _read(lines: Sequence[Link], word: str | None) -> list[Link]:
    return [line for line in lines if line.collapse == word]


def effects(
    lines: Sequence[Change | Contrast],
    what: str,
    where: Sequence[str],
    of: str,
    names: Mapping[str, tuple[str, str, str]] | None = None,
) -> str:
    """What is seen to change, with numbers; then how many effects are open, and why.

    `what` acts, `where` on each line, on things that `of` names. `names` gives what a column is
    called, and the verbs of a change below zero and above it; columns without one have their own
    name.
    """
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"{what}: nothing can be rejected ({lines[0].note})."
    changed = sorted(
        (pair for pair in zip(lines, where, strict=True) if pair[0].verdict == CHANGED),
        key=lambda pair: -abs(pair[0].estimate or 0.0),
    )
    if not changed:
        text = f"{what} are not seen to change any of {len(lines)} {of}."
    else:
        parts = [_effect(line, place, names or {}) for line, place in changed[:NAMED]]
        more = len(changed) - NAMED
        text = f"{what} {'; '.join(parts)}" + (f"; and {more} more." if more > 0 else ".")
    left = [
        f"{count} {phrase}"
        for word, phrase in OPEN.items()
        if (count := sum(line.verdict == word for line in lines))
    ]
    return f"{text} Of {len(lines)} effects {', '.join(left)}." if left else text


def _effect(line: Change | Contrast, where: str, names: Mapping[str, tuple[str, str, str]]) -> str:
    column = line.column if isinstance(line, Change) else line.metric
    name, below, above = names.get(column) or (noun(column), "lowered", "raised")
    verb = below if (line.estimate or 0.0) < 0 else above
    ends = (
        f"95% interval {signed_number(line.low)} to {signed_number(line.high)}, "
        if line.low is not None and line.high is not None
        else ""
    )
    adjusted = f", p maxT {p_value(line.p_maxt)}" if line.p_maxt is not None else ""
    size = number(abs(line.estimate or 0.0))
    return f"{verb} {name} by {size} ({where}; {ends}n {line.n}{adjusted})"
