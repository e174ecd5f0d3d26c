"""What the summary says of interventions, from the verdicts of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import CHANGED, NO_MORE_THAN
from analysis.findings.dose_response import Trend
from analysis.findings.frames import lines_of
from analysis.findings.instruments import Instrumented
from analysis.findings.interventions import OUTCOME, Contrast
from analysis.findings.verdicts import INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.tables import number, p_value, signed, signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED

NAMED = 4  # lines of one verdict that a sentence describes with their numbers
LISTED = 8  # names that it lists at most
TWICE = 2.0  # ratio from which a change is told as a multiple


def interventions(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """Of each intervention its effects by dose, and ways in which it may act."""
    contrasts = lines_of(Contrast, frames["interventions"])
    trends = lines_of(Trend, frames["dose_response"]) if "dose_response" in frames else []
    ways = lines_of(Instrumented, frames["instruments"]) if "instruments" in frames else []
    for name in dict.fromkeys(line.intervention for line in contrasts):
        sentences = [
            *_effects([line for line in contrasts if line.intervention == name]),
            *_doses([line for line in trends if line.intervention == name]),
        ]
        yield Paragraph(f"Intervention {name}", " ".join(sentences))
        if sentences := list(_ways([line for line in ways if line.intervention == name])):
            yield Paragraph(f"Through one metric, {name}", " ".join(sentences))


def _effects(lines: Sequence[Contrast]) -> Iterator[str]:
    """Levels that `_told` chooses in full, the others by what they changed."""
    levels = list(dict.fromkeys(line.level for line in lines))
    judged = [line for line in lines if line.family in (PRIMARY, OUTCOME)]
    of_level = {level: [line for line in judged if line.level == level] for level in levels}
    whole = _told(levels, lines[0].baseline)
    for level in whole:
        yield _effect(of_level[level])
    parts = [_seen(level, of_level[level]) for level in levels if level not in whole]
    if parts:
        yield f"Of its other levels {'; '.join(parts)}."


def _seen(level: str, lines: Sequence[Contrast]) -> str:
    """What a level is seen to change, if anything can be seen."""
    if changed := [line for line in lines if line.verdict == CHANGED]:
        return f"{level} changed {_listed(_names(changed), LISTED)}"
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"nothing can be rejected at {level}"
    return f"{level} is not seen to change any"


def _told(levels: Sequence[str], baseline: str) -> list[str]:
    """Levels whose effects are told in full.

    The greatest number, and the least if it is below the baseline. Of levels that are no numbers
    the first `NAMED`.
    """
    try:
        numbers = [float(level) for level in levels]
        least = float(baseline)
    except ValueError:
        return list(levels[:NAMED])
    greatest, smallest = (levels[numbers.index(end)] for end in (max(numbers), min(numbers)))
    both = min(numbers) < least < max(numbers)
    return [greatest, smallest] if both else [greatest if max(numbers) > least else smallest]


def _effect(lines: Sequence[Contrast]) -> str:
    """What one level did, from its verdicts: to metrics, then to losses and damage."""
    start = _change_of_level(lines[0])
    silent = [line for line in lines if line.verdict == CANNOT_REJECT]
    if len(silent) == len(lines):
        return f"{start}: nothing can be rejected ({silent[0].note})."
    of_family = {
        family: [line for line in lines if line.family == family] for family in (PRIMARY, OUTCOME)
    }
    sentences = [
        f"{start if at == 0 else 'It'} {_verdicts(chosen)}."
        for at, chosen in enumerate(part for part in of_family.values() if part)
    ]
    if unsure := [line for line in lines if line.verdict == UNDECIDED]:
        sentences.append(f"Undecided: {_listed(list(map(_open, unsure)), LISTED)}.")
    if silent:
        sentences.append(f"Cannot reject: {_listed(_names(silent), LISTED)}.")
    return " ".join(sentences)


def _verdicts(lines: Sequence[Contrast]) -> str:
    """What the lines of a family say was lowered, raised or left unchanged."""
    changed = [line for line in lines if line.verdict == CHANGED]
    alike = [line for line in lines if line.verdict == NO_MORE_THAN]
    parts = [
        f"{verb} {_listed(list(map(show, chosen)), NAMED)}{end}"
        for verb, chosen, show, end in (
            ("lowered", [line for line in changed if (line.estimate or 0.0) < 0], size, ""),
            ("raised", [line for line in changed if (line.estimate or 0.0) > 0], size, ""),
            ("left", alike, _within, " unchanged"),
        )
        if chosen
    ]
    if not parts:
        kind = "primary metrics" if lines[0].family == PRIMARY else "losses and damages"
        return f"is not seen to change any of {len(lines)} {kind}"
    return " and ".join(parts)


def _change_of_level(line: Contrast) -> str:
    """'Raising train.weight_decay from 0 to 0.1', or 'Setting train.optimizer to sgd'."""
    try:
        up = float(line.level) > float(line.baseline)
    except ValueError:
        return f"Setting {line.intervention} to {line.level} instead of {line.baseline}"
    verb = "Raising" if up else "Lowering"
    return f"{verb} {line.intervention} from {line.baseline} to {line.level}"


def _name(line: Contrast | Trend) -> str:
    return line.metric if line.precision is None else f"{line.metric} at {line.precision}"


def _names(lines: Sequence[Contrast]) -> list[str]:
    return [_name(line) for line in lines]


def size(line: Contrast) -> str:
    """How much a change is, with its interval; of logarithms as a ratio."""
    adjusted = f", p maxT {p_value(line.p_maxt)}" if line.p_maxt is not None else ""
    ends = _interval(line)
    interval = f"95% interval {ends}, " if ends else ""
    how = f"by {number(abs(line.estimate or 0.0))}"
    if line.ratio is not None:
        how = (
            f"to {number(line.ratio)} times"
            if line.ratio >= TWICE
            else f"by {abs(100 * (line.ratio - 1)):.0f}%"
        )
    return f"{_name(line)} {how} ({interval}n {line.n}{adjusted})"


def _interval(line: Contrast) -> str:
    """The ends of a difference, or of the ratio that it is."""
    if line.ratio is not None:
        low, high = line.ratio_low, line.ratio_high
        return "" if low is None or high is None else f"{number(low)} to {number(high)} times"
    if line.low is None or line.high is None:
        return ""
    return f"{signed_number(line.low)} to {signed_number(line.high)}"


def _within(line: Contrast) -> str:
    if line.margin is None:  # it changes in no training
        return _name(line)
    return f"{_name(line)} (within {number(line.margin)}; {_interval(line)}, n {line.n})"


def _open(line: Contrast) -> str:
    ends = _interval(line)
    return f"{_name(line)} ({ends})" if ends else _name(line)


def _listed(parts: Sequence[str], most: int) -> str:
    shown = ", ".join(parts[:most])
    return shown if len(parts) <= most else f"{shown} and {len(parts) - most} more"


def _doses(lines: Sequence[Trend]) -> Iterator[str]:
    """What goes with the dose, where there are more than two levels."""
    judged = [
        line
        for line in lines
        if line.levels > 2 and line.family in (PRIMARY, OUTCOME) and line.verdict is not None
    ]
    if not judged:
        return
    clear = [line for line in judged if line.verdict == ASSOCIATED]
    shown = _listed([f"{_name(line)} (r {signed(line.estimate)})" for line in clear], LISTED)
    count = f"{len(clear)} of {len(judged)} primary metrics and outcomes"
    text = f"Over its {judged[0].levels} levels {count} go with the dose"
    yield f"{text}: {shown}." if clear else f"{text}."


def _ways(lines: Sequence[Instrumented]) -> Iterator[str]:
    """What would follow for a metric if the intervention acted through it alone."""
    strong = [line for line in lines if line.estimate is not None]
    by_response: dict[str, list[Instrumented]] = {}
    for line in strong:
        by_response.setdefault(_response(line), []).append(line)
    clear = {
        response: [line for line in own if line.verdict == ASSOCIATED]
        for response, own in by_response.items()
    }
    for response, own in clear.items():
        if own:
            yield _way(own, response)
    alone = "If it acts through one metric alone,"
    assumption = "Under the same assumption" if any(clear.values()) else alone
    for verdict, text in (
        (NOT_FOUND, f"{assumption} no effect was found"),
        (INADEQUATE, "Its levels are not of one effect"),
    ):
        parts = [
            f"on {response} ({'any metric' if len(names) == len(own) else _listed(names, NAMED)})"
            for response, own in by_response.items()
            if (names := [line.metric for line in own if line.verdict == verdict])
        ]
        if parts:
            yield f"{text} {_listed(parts, LISTED)}."
    known = {line.metric for line in strong}
    weak = [
        name
        for name in dict.fromkeys(line.metric for line in lines if line.verdict == UNDECIDED)
        if name not in known
    ]
    if weak:
        yield f"As an instrument it is weak for {_listed(weak, LISTED)}: nothing is claimed of it."


def _response(line: Instrumented) -> str:
    return line.response if line.precision is None else f"{line.response} at {line.precision}"


def _way(clear: Sequence[Instrumented], response: str) -> str:
    """The line with the strongest first stage, and which others would say as much."""
    first = max(clear, key=lambda line: line.f or 0.0)
    unit, scale = ("a tenfold", " in log10") if first.scale == "log10" else ("a unit", "")
    bounds = ""
    if first.low is not None and first.high is not None:
        bounds = f"95% interval {signed_number(first.low)} to {signed_number(first.high)}, "
    text = (
        f"If it acts on {response} through {first.metric} alone, {unit} of that changes it by "
        f"{signed_number(first.estimate)} ({bounds}F {number(first.f)}; a level moves "
        f"{first.metric} by {signed_number(first.first_stage)}{scale})"
    )
    others = [line.metric for line in clear if line is not first]
    if others:
        text += f"; the same rows would say as much of {_listed(others, LISTED)}"
    return f"{text}."
