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
    """A paragraph for each intervention: effects, doses, and ways in which it may act."""
    contrasts = lines_of(Contrast, frames["interventions"])
    trends = lines_of(Trend, frames["dose_response"]) if "dose_response" in frames else []
    ways = lines_of(Instrumented, frames["instruments"]) if "instruments" in frames else []
    for name in dict.fromkeys(line.intervention for line in contrasts):
        sentences = [
            *_effects([line for line in contrasts if line.intervention == name]),
            *_doses([line for line in trends if line.intervention == name]),
            *_ways([line for line in ways if line.intervention == name]),
        ]
        yield Paragraph(f"Intervention {name}", " ".join(sentences))


def _effects(lines: Sequence[Contrast]) -> Iterator[str]:
    """Levels that `_told` chooses in full, the others by what they changed."""
    levels = list(dict.fromkeys(line.level for line in lines))
    judged = [line for line in lines if line.family in (PRIMARY, OUTCOME)]
    of_level = {level: [line for line in judged if line.level == level] for level in levels}
    whole = _told(levels, lines[0].baseline)
    for level in whole:
        yield _effect(of_level[level])
    parts = []
    for level in [level for level in levels if level not in whole]:
        changed = [line for line in of_level[level] if line.verdict == CHANGED]
        parts.append(f"{level} changed {_listed(_names(changed), LISTED) or 'none of them'}")
    if parts:
        yield f"Of its other levels {'; '.join(parts)}."


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
    """What one level did, from its verdicts."""
    start = _change_of_level(lines[0])
    silent = [line for line in lines if line.verdict == CANNOT_REJECT]
    if len(silent) == len(lines):
        return f"{start}: nothing can be rejected ({silent[0].note})."
    changed = [line for line in lines if line.verdict == CHANGED]
    parts = [
        f"{verb} {_listed(list(map(_size, chosen)), NAMED)}"
        for verb, chosen in (
            ("lowered", [line for line in changed if (line.estimate or 0.0) < 0]),
            ("raised", [line for line in changed if (line.estimate or 0.0) > 0]),
        )
        if chosen
    ]
    if not changed:
        parts.append(f"is not seen to change any of {len(lines)} primary metrics and outcomes")
    if alike := [line for line in lines if line.verdict == NO_MORE_THAN]:
        parts.append(f"left {_listed(list(map(_within, alike)), NAMED)} unchanged")
    text = f"{start} {' and '.join(parts)}."
    if unsure := [line for line in lines if line.verdict == UNDECIDED]:
        text += f" Undecided: {_listed(list(map(_open, unsure)), LISTED)}."
    if silent:
        text += f" Cannot reject: {_listed(_names(silent), LISTED)}."
    return text


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


def _size(line: Contrast) -> str:
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
    for response, precision in dict.fromkeys((line.response, line.precision) for line in strong):
        own = [line for line in strong if (line.response, line.precision) == (response, precision)]
        clear = [line for line in own if line.verdict == ASSOCIATED]
        if clear:
            at = "" if precision is None else f" at {precision}"
            yield _way(clear, f"{response}{at}")
    missed = [line for line in strong if line.verdict == NOT_FOUND]
    if missed:
        pairs = [f"{line.metric} on {_response(line)}" for line in missed]
        yield f"Under the same assumption no effect was found of {_listed(pairs, LISTED)}."
    if unfit := [line for line in strong if line.verdict == INADEQUATE]:
        pairs = [f"{line.metric} on {_response(line)}" for line in unfit]
        yield f"Its levels disagree about the effect of {_listed(pairs, LISTED)}."
    weak = list(dict.fromkeys(line.metric for line in lines if line.verdict == UNDECIDED))
    weak = [name for name in weak if not any(line.metric == name for line in strong)]
    if weak:
        yield f"As an instrument it is weak for {_listed(weak, LISTED)}: nothing is claimed of it."


def _response(line: Instrumented) -> str:
    return line.response if line.precision is None else f"{line.response} at {line.precision}"


def _way(clear: Sequence[Instrumented], response: str) -> str:
    first = max(clear, key=lambda line: line.f or 0.0)
    unit = "ten times" if first.scale == "log10" else "one more of"
    bounds = ""
    if first.low is not None and first.high is not None:
        bounds = f"95% interval {signed_number(first.low)} to {signed_number(first.high)}, "
    text = (
        f"If it acts on {response} through {first.metric} alone, {unit} {first.metric} changes "
        f"{response} by {signed_number(first.estimate)} ({bounds}F {number(first.f)})"
    )
    others = [line.metric for line in clear if line is not first]
    if others:
        text += f"; the same rows would say as much of {_listed(others, LISTED)}"
    return f"{text}."
