"""Whether collapse goes with the detection of other data, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.detection import DetectionAssociation
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.reading.table import Roles, expected_sign
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.ood import NAMES
from analysis.report.sentences.words import numbers, of_family, reason, with_verdict
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED

TOPIC = "Collapse and other data"
NOT_TESTED = "not tested"


def detected(lines: Sequence[DetectionAssociation], roles: Roles) -> Paragraph:
    """The answer of the table of metrics and scores, whose verdict is in the title.

    The lines given the training loss are left to the section.
    """
    own = [line for line in lines if not line.given]
    judged = of_family(own, PRIMARY) or of_family(own, EXPLORATORY)
    word, text = _answer(judged, roles) if judged else (NOT_TESTED, "No metric can be tested")
    return Paragraph(f"{TOPIC}: {word}", f"{text}.", "ood")


def _answer(judged: Sequence[DetectionAssociation], roles: Roles) -> tuple[str, str]:
    pairs = f"{len(judged)} pairs of a metric and a score"
    bad, silent = with_verdict(judged, INADEQUATE), with_verdict(judged, CANNOT_REJECT)
    if len(bad) == len(judged):
        return INADEQUATE, f"Of {pairs} nothing can be claimed: {reason(bad)}"
    if len(bad) + len(silent) == len(judged):
        return CANNOT_REJECT, f"Of {pairs} nothing can be tested: {reason(silent)}"
    clear, unsure = with_verdict(judged, ASSOCIATED), with_verdict(judged, UNDECIDED)
    word = ASSOCIATED if clear else UNDECIDED if unsure else NOT_FOUND
    first = (clear or unsure or with_verdict(judged, NOT_FOUND))[0]
    text = f"{len(clear) or 'None'} of {pairs} {'goes' if len(clear) == 1 else 'go'} with detection"
    text += f" {first.control}"
    ways = [
        f"in {count} more collapse with {way} detection"
        for way in ("better", "worse")
        if (count := sum(_way(line, roles) == way for line in clear))
    ]
    nearest = f"{first.metric} and {NAMES[first.score]} ({numbers(first)})"
    text += f": {', '.join(ways)}" if ways else ""
    text += f"; farthest from zero are {nearest}"
    for lines, phrase in ((unsure, "undecided"), (bad, INADEQUATE), (silent, "too few rows")):
        text += f"; {len(lines)} {phrase}" if lines else ""
    return word, text


def _way(line: DetectionAssociation, roles: Roles) -> str:
    """Whether more collapse goes with better detection; nothing without a direction."""
    expected = expected_sign(roles.metrics[line.metric], "higher")
    if expected is None:
        return ""
    return "better" if ((line.estimate or 0.0) > 0) == (expected > 0) else "worse"
