"""What precisions do to response and collapse, and whether collapse predicts it."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.changes import CHANGED, NO_MORE_THAN, TOTAL, Change
from analysis.findings.damage import BASELINE, Damage
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.reading.table import Roles
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.generalization import by_direction
from analysis.report.sentences.words import numbers, of_family, reason, with_verdict
from analysis.report.tables import signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, UNDECIDED

TOPIC = "Quantization"
ORDER = (CHANGED, UNDECIDED, NO_MORE_THAN, CANNOT_REJECT)


def quantization(changes: Sequence[Change], damage: Sequence[Damage], roles: Roles) -> Paragraph:
    """The answer of the tables of changes and of damage; a verdict is in the title."""
    totals = [line for line in changes if line.level == TOTAL]
    own = [line for line in totals if line.column == roles.response]
    if own and all(line.verdict == CANNOT_REJECT for line in own):
        text = f"What precisions change cannot be tested: {own[0].note}."
        return Paragraph(f"{TOPIC}: {CANNOT_REJECT}", text, "precision")
    words = {word: [line for line in own if line.verdict == word] for word in ORDER}
    word = next((each for each in ORDER if words[each]), CANNOT_REJECT)
    parts = [_of_response(words, len(own), roles.response)]
    known = words[CHANGED] or [line for line in own if line.estimate is not None]
    if known:
        parts.append(_of_metrics(_largest(known), totals, roles))
    parts.append(_of_damage([line for line in damage if line.kind == BASELINE], roles))
    text = "; ".join(part for part in parts if part)
    return Paragraph(f"{TOPIC}: {word}", f"{text}.", "precision")


def _largest(lines: Sequence[Change]) -> Change:
    return max(lines, key=lambda line: abs(line.estimate or 0.0))


def _of_response(words: dict[str, list[Change]], n: int, response: str) -> str:
    count = f"of {n} precision{'' if n == 1 else 's'}"
    changed = words[CHANGED]
    if changed:
        largest = _largest(changed)
        bounds = (
            f", 95% interval {signed_number(largest.low)} to {signed_number(largest.high)}"
            if largest.low is not None
            else ""
        )
        text = (
            f"{len(changed)} {count} {'changes' if len(changed) == 1 else 'change'} {response}, "
            f"{largest.precision} most ({signed_number(largest.estimate)}, n {largest.n}{bounds})"
        )
    else:
        text = f"None {count} is found to change {response}"
    for word, phrase in (
        (NO_MORE_THAN, "within the margin"),
        (UNDECIDED, "undecided"),
        (CANNOT_REJECT, "with too few trainings"),
    ):
        if words[word]:
            text += f", {len(words[word])} {phrase}"
    return text


def _of_metrics(chosen: Change, totals: Sequence[Change], roles: Roles) -> str:
    """What the precision that changes the response most does to the primary metrics."""
    judged = [
        line
        for line in totals
        if line.column in roles.primary
        and (line.precision, line.baseline) == (chosen.precision, chosen.baseline)
    ]
    if not judged:
        return ""
    changed = [line for line in judged if line.verdict == CHANGED]
    away = towards = 0
    for line in changed:
        direction = roles.metrics[line.column].direction
        if direction is not None:
            grows = (line.estimate or 0.0) > 0
            towards += grows == (direction == "higher")
            away += grows != (direction == "higher")
    verb = "change" if len(changed) > 1 else "changes" if changed else "is seen to change"
    text = f"at {chosen.precision} {len(changed) or 'none'} of {len(judged)} primary metrics {verb}"
    ways = [
        f"{count} {way}"
        for count, way in ((away, "away from collapse"), (towards, "towards collapse"))
        if count
    ]
    return f"{text}, {' and '.join(ways)}" if ways else text


def _of_damage(before: Sequence[Damage], roles: Roles) -> str:
    """Whether collapse before rounding goes with what rounding costs."""
    judged = of_family(before, PRIMARY) or of_family(before, EXPLORATORY)
    if not judged:
        return ""
    claim = "collapse before rounding"
    bad, silent = with_verdict(judged, INADEQUATE), with_verdict(judged, CANNOT_REJECT)
    if len(bad) == len(judged):
        return f"whether {claim} predicts that change cannot be said: {reason(bad)}"
    if len(bad) + len(silent) == len(judged):
        return f"whether {claim} predicts that change cannot be tested: {reason(silent)}"
    clear = with_verdict(judged, ASSOCIATED)
    pairs = f"{len(judged)} pairs of metric and precision"
    text = f"{claim} goes with that change in {len(clear) or 'none'} of {pairs}"
    if clear:
        text += f", {by_direction(clear, roles, 'change', _first)}"
    for lines, phrase in (
        (with_verdict(judged, UNDECIDED), "undecided"),
        (bad, INADEQUATE),
        (silent, "too few rows"),
    ):
        text += f" ({phrase} in {len(lines)})" if lines else ""
    return text


def _first(lines: Sequence[Damage]) -> str:
    first = lines[0]
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"{first.metric} at {first.precision} ({numbers(first)}){more}"
