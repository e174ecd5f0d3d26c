"""What was asked, what holds under which control, and what does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from analysis.findings.controls import LEAST_REPLICATES
from analysis.findings.design import GivenDesign
from analysis.findings.frames import lines_of
from analysis.findings.progress import REMAINS, TURNS, UNSEEN, VANISHES
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY, Tested
from analysis.findings.within import Within
from analysis.reading.table import Roles
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.progress import progress_lines
from analysis.report.sentences.words import (
    are,
    described,
    listing,
    metrics,
    of_family,
    reason,
    with_verdict,
)
from analysis.report.tables import share
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED


@dataclass(frozen=True)
class Headline:
    """The table by which a report is judged.

    Its lines, its control in words, and what it finds.

    `detectable` is the least |r| that it finds four times in five within the family; `section` is
    the name of the section that has the table.
    """

    section: str
    lines: Sequence[Tested]
    control: str
    detectable: float | None


def headline(frames: Mapping[str, pl.DataFrame]) -> Headline | None:
    """The headline within design cells where replicates suffice.

    Else the one given the design, else what there is.

    None without a table under a control: an association described alone is no finding.
    """
    within = lines_of(Within, frames["within"]) if "within" in frames else []
    given = lines_of(GivenDesign, frames["given_design"]) if "given_design" in frames else []
    if within and (within[0].r_w >= LEAST_REPLICATES or not given):
        cells = within[0].cells
        control = "within one design cell" if cells == 1 else f"within {cells} design cells"
        return Headline("within", within, control, within[0].detectable)
    if given:
        return Headline("design", given, "given a model of the design", given[0].detectable)
    return None


def of_headline(
    head: Headline, frames: Mapping[str, pl.DataFrame], roles: Roles
) -> Iterator[Paragraph]:
    """What was asked, what holds and what does not, by verdicts of a headline."""
    response = roles.response
    primary, others = of_family(head.lines, PRIMARY), of_family(head.lines, EXPLORATORY)
    n = max(line.n for line in head.lines)
    if not primary and not others:
        families = "No metric can be tested"
    elif not primary:
        families = f"{metrics(others, 'exploratory')}, none is primary"
    else:
        families = f"{metrics(primary, 'primary')} {'decides' if len(primary) == 1 else 'decide'}"
        families += f"; {metrics(others, 'exploratory')} beside" if others else ""
    yield Paragraph(
        "Asked",
        f"Does {response} go with neural collapse among {n} trainings, once what the settings do "
        f"is taken out ({head.control})? {families}.",
    )
    yield Paragraph("Holds", _holds(head, primary, others, frames, response))
    yield Paragraph("Does not hold", _does_not_hold(head, primary or others, roles))


def _holds(
    head: Headline,
    primary: Sequence[Tested],
    others: Sequence[Tested],
    frames: Mapping[str, pl.DataFrame],
    response: str,
) -> str:
    if bad := [line for line in head.lines if line.verdict == INADEQUATE]:
        return f"Nothing can be claimed: {reason(bad)}."
    judged = primary or others
    if not judged:
        return f"Nothing can be claimed: {reason(head.lines)}."
    clear = with_verdict(judged, ASSOCIATED)
    kind = "primary" if primary else "exploratory"
    if len(silent := with_verdict(judged, CANNOT_REJECT)) == len(judged):
        return f"Nothing can be claimed of {metrics(judged, kind)}: {reason(silent)}."
    if not clear:
        return f"Nothing: none of the {len(judged)} {kind} metrics is associated with {response}."
    text = (
        f"{len(clear)} of {len(judged)} {kind} metrics {are(clear)} associated with {response} "
        f"{head.control}: {described(clear)}."
    )
    readings = {
        line.metric: line.reading for line in progress_lines(frames) if line.response == response
    }
    remains, turns, vanishes, unseen = (
        [line.metric for line in clear if readings.get(line.metric) == word]
        for word in (REMAINS, TURNS, VANISHES, UNSEEN)
    )
    if remains:
        text += f" Given train_loss as well, it remains for {listing(remains)}."
    if turns:
        text += f" Its sign turns given train_loss for {listing(turns)}."
    if vanishes:
        text += f" It vanishes given train_loss for {listing(vanishes)}: there it says how far"
        text += " training got."
    if unseen:
        text += f" Given train_loss it is no longer found for {listing(unseen)},"
        text += f" whose interval{'s' * (len(unseen) > 1)} still hold{'s' * (len(unseen) == 1)}"
        text += " the r without train_loss."
    return text


def _does_not_hold(head: Headline, judged: Sequence[Tested], roles: Roles) -> str:
    parts = [
        f"{text}: {listing([line.metric for line in lines])}"
        for word, text in (
            (NOT_FOUND, "no association was found for"),
            (UNDECIDED, "undecided after a million permutations"),
            (INADEQUATE, "open, as the control does not hold"),
            (CANNOT_REJECT, "nothing could be rejected for"),
        )
        if (lines := with_verdict(judged, word))
    ]
    untested = [
        f"{line.metric} ({line.note})"
        for line in head.lines
        if line.metric in roles.primary and line.verdict is None
    ]
    parts += [f"not tested: {listing(untested)}"] if untested else []
    text = "; ".join(parts)
    text = f"{text[0].upper()}{text[1:]}." if text else ""
    if head.detectable is not None and with_verdict(judged, NOT_FOUND):
        text += (
            f" A partial r nearer to zero than {share(head.detectable)} is missed more often than "
            "one time in five, so what was not found is not shown to be absent."
        )
    better = roles.responses.get(roles.response)
    effect = "a better" if better is not None else "a change of"
    return (
        f"{text} No association shows that collapse causes {effect} {roles.response}, or the "
        "reverse."
    ).strip()
