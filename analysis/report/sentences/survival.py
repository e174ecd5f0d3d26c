"""What is left of associations given how far training got, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.progress import (
    APPEARS,
    GAP,
    REMAINS,
    TRAIN_LOSS,
    TURNS,
    UNSEEN,
    VANISHES,
    GivenProgress,
)
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.progress import with_verdict_before
from analysis.report.sentences.words import (
    are,
    described,
    listing,
    metrics,
    of_family,
    reason,
    with_verdict,
)
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND

TOPIC = "Given training progress"
OPEN, NOT_TESTED = "open", "not tested"
WORDS = {
    REMAINS: "remains",
    TURNS: "turns its sign",
    APPEARS: "appears",
    VANISHES: "vanishes",
    UNSEEN: "no longer found",
}
"""Readings, the strongest first, as a title has them."""


def survival(lines: Sequence[GivenProgress], response: str) -> Paragraph:
    """The answer of the table given train_loss, whose reading is in the title."""
    word, text = _answer([line for line in lines if line.given == TRAIN_LOSS], response)
    gap = [line for line in lines if line.response == GAP]
    return Paragraph(f"{TOPIC}: {word}", f"{text}{_of_gap(gap)}.", "progress")


def _answer(own: Sequence[GivenProgress], response: str) -> tuple[str, str]:
    judged = of_family(own, PRIMARY) or of_family(own, EXPLORATORY)
    if bad := with_verdict(own, INADEQUATE):
        return INADEQUATE, f"What is left given train_loss cannot be said: {reason(bad)}"
    if not judged:
        return NOT_TESTED, f"No metric can be tested given train_loss: {reason(own)}"
    if len(silent := with_verdict(judged, CANNOT_REJECT)) == len(judged):
        return CANNOT_REJECT, f"What is left given train_loss cannot be tested: {reason(silent)}"
    control, held = judged[0].control, with_verdict_before(judged, ASSOCIATED)
    parts = [
        part
        for reading, phrase in (
            (REMAINS, "it remains for"),
            (TURNS, "its sign turns for"),
            (APPEARS, "it appears for"),
            (VANISHES, "it vanishes, and so says how far training got, for"),
            (UNSEEN, "it is no longer found, which does not show it gone, for"),
        )
        if (part := _part(judged, reading, phrase))
    ]
    if unread := [line.metric for line in held if not line.reading]:
        parts.append(f"it is open for {listing(unread)}")
    count = f"{len(held) or 'None'} of {metrics(judged, judged[0].family)}"
    before = f"{count} {are(held) if held else 'is'} associated with {response} {control}"
    readings = {line.reading for line in judged}
    word = next((WORDS[each] for each in WORDS if each in readings), OPEN if held else NOT_FOUND)
    if not parts:
        return word, f"{before}, and none appears given train_loss"
    return word, f"{before}; given train_loss as well {', '.join(parts)}"


def _part(judged: Sequence[GivenProgress], reading: str, phrase: str) -> str:
    """Metrics of a reading, with numbers where they are associated given train_loss."""
    lines = [line for line in judged if line.reading == reading]
    if not lines:
        return ""
    if reading in (VANISHES, UNSEEN):
        return f"{phrase} {listing([line.metric for line in lines])}"
    return f"{phrase} {described(with_verdict(lines, ASSOCIATED), 1)}"


def _of_gap(gap: Sequence[GivenProgress]) -> str:
    judged = of_family(gap, PRIMARY) or of_family(gap, EXPLORATORY)
    if bad := with_verdict(gap, INADEQUATE):
        return f"; of {GAP} nothing can be claimed: {reason(bad)}"
    if not judged or len(with_verdict(judged, CANNOT_REJECT)) == len(judged):
        return ""
    clear = [line.metric for line in with_verdict(judged, ASSOCIATED)]
    names = f" ({listing(clear)})" if clear else ""
    return f"; with {GAP}, {len(clear) or 'none'} of {len(judged)}{names}"
