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
from analysis.report.sentences.words import listing, metrics, of_family, reason, with_verdict
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
PHRASES = {
    REMAINS: ("remains", "remain"),
    TURNS: ("turns its sign", "turn their sign"),
    VANISHES: ("vanishes and says how far training got", "vanish and say how far training got"),
    UNSEEN: ("is no longer found", "are no longer found"),
    "": ("is open", "are open"),
}
"""What becomes of an association, in the singular and in the plural."""


def survival(lines: Sequence[GivenProgress], response: str) -> Paragraph:
    """The answer of the table given train_loss, whose reading is in the title."""
    word, text = _answer([line for line in lines if line.given == TRAIN_LOSS], response)
    gap = [line for line in lines if line.response == GAP]
    text += "" if word == INADEQUATE else _of_gap(gap)
    return Paragraph(f"{TOPIC}: {word}", f"{text}.", "progress")


def _answer(own: Sequence[GivenProgress], response: str) -> tuple[str, str]:
    judged = of_family(own, PRIMARY) or of_family(own, EXPLORATORY)
    if bad := with_verdict(own, INADEQUATE):
        return INADEQUATE, f"What is left given train_loss cannot be said: {reason(bad)}"
    if not judged:
        return NOT_TESTED, f"No metric can be tested given train_loss: {reason(own)}"
    if len(silent := with_verdict(judged, CANNOT_REJECT)) == len(judged):
        return CANNOT_REJECT, f"What is left given train_loss cannot be tested: {reason(silent)}"
    held = with_verdict_before(judged, ASSOCIATED)
    readings = {line.reading for line in judged}
    word = next((WORDS[each] for each in WORDS if each in readings), OPEN if held else NOT_FOUND)
    new = [line.metric for line in judged if line.reading == APPEARS]
    appears = f"{len(new)} {_said(len(new), 'appears', 'appear')} ({listing(new)})" if new else ""
    if not held:
        start = f"No metric of {len(judged)} is associated with {response} {judged[0].control}"
        return word, f"{start}; given train_loss {appears or 'none appears'}"
    associated = f"associated with {response} {judged[0].control}"
    if len(held) == 1:
        text = f"Given train_loss as well, the one {judged[0].family} metric {associated} "
        text += f"{PHRASES[held[0].reading][0]} ({held[0].metric})"
    else:
        parts = [
            f"{len(lines)} {_said(len(lines), *PHRASES[reading])} ({listing(lines)})"
            for reading in PHRASES
            if (lines := [line.metric for line in held if line.reading == reading])
        ]
        text = f"Given train_loss as well, of {metrics(held, judged[0].family)} {associated} "
        text += ", ".join(parts)
    return word, f"{text}; of the others {appears}" if appears else text


def _of_gap(gap: Sequence[GivenProgress]) -> str:
    judged = of_family(gap, PRIMARY) or of_family(gap, EXPLORATORY)
    if bad := with_verdict(gap, INADEQUATE):
        return f"; of {GAP} nothing can be claimed: {reason(bad)}"
    if not judged or len(with_verdict(judged, CANNOT_REJECT)) == len(judged):
        return ""
    clear = with_verdict(judged, ASSOCIATED)
    return f"; {len(clear) or 'none'} of {len(judged)} {_said(len(clear), 'goes', 'go')} with {GAP}"


def _said(count: int, once: str, several: str) -> str:
    """The verb in its number."""
    return once if count == 1 else several
