"""What the summary says of transfer, from the verdicts of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import CHANGED, NO_MORE_THAN, Change
from analysis.findings.frames import lines_of
from analysis.findings.interventions import Contrast
from analysis.findings.transfer import BETTER, FORGETTING, WORSE, Link, ProbeLine
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import (
    described,
    listing,
    metrics,
    of_family,
    reason,
    with_verdict,
)
from analysis.report.tables import number, p_value, share, signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED
from study.columns import noun

OPEN = {
    UNDECIDED: "undecided",
    NO_MORE_THAN: "changed by no more than the margin",
    CANNOT_REJECT: "cannot reject",
}
READINGS = ("worse transfer", "better transfer")
NAMED = 6  # effects that a sentence describes with their numbers


def transfer(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """Probes as they are, whether collapse goes with them, and what changes them."""
    if "transfer" in frames:
        lines = lines_of(ProbeLine, frames["transfer"])
        yield Paragraph("Transfer", _probes([line for line in lines if line.accuracy is not None]))
    links = lines_of(Link, frames["transfer_links"])
    for name in dict.fromkeys(line.response for line in links):
        own = [line for line in links if line.response == name]
        title = "Collapse and forgetting" if name == FORGETTING else "Collapse and transfer"
        yield Paragraph(title, _linked(own, name))
    if "transfer_changes" in frames:
        changes = lines_of(Change, frames["transfer_changes"])
        where = [line.precision for line in changes]
        yield Paragraph("Transfer and precision", _effects(changes, "Precisions", where))
    effects = lines_of(Contrast, frames.get("transfer_effects", pl.DataFrame()))
    for name in dict.fromkeys(line.intervention for line in effects):
        lines_of_it = [line for line in effects if line.intervention == name]
        where = [f"{line.level} instead of {line.baseline}" for line in lines_of_it]
        text = _effects(lines_of_it, f"Levels of {name}", where)
        yield Paragraph(f"Transfer and {name}", text)


def answer(frames: Mapping[str, pl.DataFrame]) -> str:
    """The section in a line of the table of contents."""
    links = lines_of(Link, frames["transfer_links"])
    first = [line for line in links if line.response == links[0].response]
    if any(line.verdict == INADEQUATE for line in first):
        return f"{INADEQUATE}: nothing is claimed"
    judged = of_family(first, PRIMARY) or of_family(first, EXPLORATORY)
    clear = with_verdict(judged, ASSOCIATED)
    worse, better = (sum(line.collapse == word for line in clear) for word in (WORSE, BETTER))
    kind = judged[0].family if judged else PRIMARY
    return (
        f"more collapse goes with worse transfer by {worse} and with better transfer by {better} "
        f"of {metrics(judged, kind)}"
    )


def _probes(lines: Sequence[ProbeLine]) -> str:
    if not lines:
        return "No training has a probe at its last checkpoint."
    first = [line for line in lines if line.precision == lines[0].precision]
    at = f" at {first[0].precision}" if first[0].precision else ""
    parts = []
    for line in first:
        ends = (
            f"95% interval {share(line.low)} to {share(line.high)}, "
            if line.low is not None and line.high is not None
            else ""
        )
        parts.append(f"{noun(line.column)} {share(line.accuracy)} ({ends}n {line.n})")
    return f"Accuracy on classes that were not trained on{at}: {'; '.join(parts)}."


def _linked(lines: Sequence[Link], response: str) -> str:
    """Whether trainings that collapse more transfer, or forget, in another way."""
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
    forgets = response == FORGETTING
    worse, better = ("more forgetting", "less forgetting") if forgets else READINGS
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


def _effects(lines: Sequence[Change | Contrast], what: str, where: Sequence[str]) -> str:
    """What is seen to change, with numbers; then how many effects are open, and why."""
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"{what}: nothing can be rejected ({lines[0].note})."
    changed = sorted(
        (pair for pair in zip(lines, where, strict=True) if pair[0].verdict == CHANGED),
        key=lambda pair: -abs(pair[0].estimate or 0.0),
    )
    if not changed:
        text = f"{what} are not seen to change any of {len(lines)} outcomes of transfer."
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


def _effect(line: Change | Contrast, where: str) -> str:
    column = line.column if isinstance(line, Change) else line.metric
    verb = "lowered" if (line.estimate or 0.0) < 0 else "raised"
    ends = (
        f"95% interval {signed_number(line.low)} to {signed_number(line.high)}, "
        if line.low is not None and line.high is not None
        else ""
    )
    adjusted = f", p maxT {p_value(line.p_maxt)}" if line.p_maxt is not None else ""
    size = number(abs(line.estimate or 0.0))
    return f"{verb} {noun(column)} by {size} ({where}; {ends}n {line.n}{adjusted})"
