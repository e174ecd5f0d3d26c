"""Whether collapse goes with generalization under control, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY, Tested
from analysis.reading.table import Roles, expected_sign
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.headline import Headline
from analysis.report.sentences.words import (
    Line,
    led,
    listing,
    metrics,
    numbers,
    of_family,
    reason,
    with_verdict,
)
from analysis.report.tables import share
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED

NO_CONTROL, NOT_TESTED = "described alone", "not tested"


def generalization(head: Headline, roles: Roles) -> Paragraph:
    """The answer of the headline, whose verdict is in the title."""
    response, where = roles.response, head.control
    if bad := with_verdict(head.lines, INADEQUATE):
        text = f"Whether collapse goes with {response} cannot be said: {reason(bad)}."
        return Paragraph(f"Collapse and {response}: {INADEQUATE}", text, head.section)
    kind = PRIMARY if of_family(head.lines, PRIMARY) else EXPLORATORY
    judged = of_family(head.lines, kind)
    if not judged:
        text = f"No metric can be tested {where}: {reason(head.lines)}."
        return Paragraph(f"Collapse and {response}: {NOT_TESTED}", text, head.section)
    word = next(each for each in ORDER if with_verdict(judged, each))
    text = f"{ANSWERS[word](judged, head, roles)}{_rest(judged, head, word)}."
    return Paragraph(f"Collapse and {response}: {word}", text, head.section)


def uncontrolled(n: int, response: str) -> Paragraph:
    """The answer where no table has a control."""
    text = (
        f"No table of this report has a control (replicates, or an axis that varies), so nothing "
        f"is claimed of collapse and {response} over {n} training{'' if n == 1 else 's'}."
    )
    return Paragraph(f"Collapse and {response}: {NO_CONTROL}", text, "association")


def _associated(judged: Sequence[Tested], head: Headline, roles: Roles) -> str:
    clear = with_verdict(judged, ASSOCIATED)
    text = (
        f"{len(clear)} of {metrics(judged, judged[0].family)} {_go(clear)} with {roles.response} "
        f"{head.control}: "
    )
    return text + by_direction(clear, roles, roles.response, led)


def by_direction(
    clear: Sequence[Line], roles: Roles, what: str, show: Callable[[Sequence[Line]], str]
) -> str:
    """Associated lines by whether more collapse goes with a lower or a higher `what`.

    It is told which is worse, where one of the two is.
    """
    better = roles.responses.get(roles.response)
    parts: dict[str, list[Line]] = {}
    for line in clear:
        up = expected_sign(roles.metrics[line.metric], "higher")
        if up is None:
            phrase = "with no direction of more collapse"
        else:
            goes = "higher" if ((line.estimate or 0.0) > 0) == (up > 0) else "lower"
            phrase = f"more collapse with a {goes} {what}"
            phrase += "" if better in (None, goes) else ", which is worse,"
        parts.setdefault(phrase, []).append(line)
    return "; ".join(f"{phrase} for {show(lines)}" for phrase, lines in parts.items())


def _undecided(judged: Sequence[Tested], head: Headline, roles: Roles) -> str:
    return (
        f"Whether collapse goes with {roles.response} {head.control} is open: of "
        f"{metrics(judged, judged[0].family)} none is shown to"
    )


def _not_found(judged: Sequence[Tested], head: Headline, roles: Roles) -> str:
    farthest = with_verdict(judged, NOT_FOUND)[0]
    return (
        f"None of {metrics(judged, judged[0].family)} is found to go with {roles.response} "
        f"{head.control}; farthest from zero is {farthest.metric} ({numbers(farthest)})"
    )


def _silent(judged: Sequence[Tested], head: Headline, roles: Roles) -> str:
    return (
        f"Whether collapse goes with {roles.response} cannot be tested {head.control}: "
        f"{reason(judged)}"
    )


ORDER = (ASSOCIATED, UNDECIDED, NOT_FOUND, CANNOT_REJECT)
ANSWERS = {
    ASSOCIATED: _associated,
    UNDECIDED: _undecided,
    NOT_FOUND: _not_found,
    CANNOT_REJECT: _silent,
}


def _rest(judged: Sequence[Tested], head: Headline, word: str) -> str:
    """What is said of the other metrics, and what would have been found."""
    parts = [
        f"{phrase} {listing([line.metric for line in lines])}"
        for each, phrase in (
            (UNDECIDED, "undecided after a million permutations:"),
            (CANNOT_REJECT, "too few rows for"),
        )
        if (lines := with_verdict(judged, each)) and word != CANNOT_REJECT
    ]
    if (missed := with_verdict(judged, NOT_FOUND)) and word != NOT_FOUND:
        parts.append(f"for {len(missed)} no association was found")
    elif missed and head.detectable is not None:
        parts.append(
            f"an r nearer to zero than {share(head.detectable)} is missed more often than one time "
            "in five, so absence is not shown"
        )
    return "".join(f"; {part}" for part in parts)


def _go(lines: Sequence[Tested]) -> str:
    return "goes" if len(lines) == 1 else "go"
