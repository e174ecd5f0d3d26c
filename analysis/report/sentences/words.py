"""What sentences about lines of tables share: who is meant, numbers, lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from analysis.findings.changes import CHANGED
from analysis.findings.verdicts import EXPLORATORY, NO_FAMILY, PRIMARY, Tested
from analysis.report.tables import p_value, signed
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, UNDECIDED

SILENT = "too few trainings for a test"
"""The answer of a section in which no line can reject."""

NAMED = 4  # metrics that a sentence describes with their numbers
BRIEFLY = 2  # of them where a line a question has many
LISTED = 8  # metrics that a sentence names at most

Line = TypeVar("Line", bound=Tested)


def of_family(lines: Sequence[Line], family: str) -> list[Line]:
    """Lines of a family that have a verdict."""
    return [line for line in lines if line.family == family and line.verdict is not None]


def with_verdict(lines: Sequence[Line], verdict: str) -> list[Line]:
    """Lines with a verdict, the largest estimate first."""
    chosen = [line for line in lines if line.verdict == verdict]
    return sorted(chosen, key=lambda line: -abs(line.estimate or 0.0))


def reason(lines: Sequence[Tested]) -> str:
    """The shortest note of the lines, which says nothing of a metric's own rows.

    Of lines that belong to a family, where there are any: a function of the axes has its own note.
    """
    tested = [line for line in lines if line.family != NO_FAMILY] or lines
    return min((line.note for line in tested if line.note), key=len, default="no metric varies")


def adjusted(line: Tested) -> str:
    """'p maxT 0.0120' of a primary metric, 'q 0.0120' of another."""
    if line.family == PRIMARY:
        return f"p maxT {p_value(line.p_maxt)}"
    return f"q {p_value(line.q)}"


def metrics(lines: Sequence[Tested], kind: str) -> str:
    """'1 primary metric', '7 primary metrics'."""
    return f"{len(lines)} {kind} metric{'' if len(lines) == 1 else 's'}"


def are(lines: Sequence[Tested]) -> str:
    """`is` or `are`, by the number of lines."""
    return "is" if len(lines) == 1 else "are"


def numbers(line: Tested) -> str:
    """'r +0.312, 95% interval +0.100 to +0.500, n 128'."""
    bounds = (
        f", 95% interval {signed(line.low)} to {signed(line.high)}" if line.low is not None else ""
    )
    return f"r {signed(line.estimate)}{bounds}, n {line.n}"


def led(lines: Sequence[Tested]) -> str:
    """The first of the lines with its numbers, the others by name."""
    first, *others = [line.metric for line in lines]
    return ", ".join([f"{first} ({numbers(lines[0])})", *([listing(others)] if others else [])])


def described(lines: Sequence[Tested], named: int = NAMED) -> str:
    """The first of the lines, each with its numbers and adjusted p."""
    parts = [f"{line.metric} ({numbers(line)}, {adjusted(line)})" for line in lines[:named]]
    more = [line.metric for line in lines[named:]]
    return "; ".join(parts) + (f"; and {listing(more)}" if more else "")


def tally(lines: Sequence[Tested], response: str) -> str:
    """How many of each family are associated, primary ones with numbers.

    Also what cannot be said.
    """
    parts: list[str] = []
    for family in (PRIMARY, EXPLORATORY):
        judged = of_family(lines, family)
        if not judged:
            continue
        silent = with_verdict(judged, CANNOT_REJECT)
        if len(silent) == len(judged):
            parts.append(f"{metrics(judged, family)} cannot be judged ({reason(silent)})")
            continue
        clear = with_verdict(judged, ASSOCIATED)
        beside = family == EXPLORATORY and bool(parts)
        text = (
            f"{len(clear)} of {len(judged)} {family} ones"
            if beside
            else f"{len(clear)} of {len(judged)} {family} metrics {are(clear)} associated with "
            f"{response}"
        )
        if clear and not beside:
            text += f": {described(clear, BRIEFLY)}"
        for word, phrase in ((UNDECIDED, "undecided"), (CANNOT_REJECT, "cannot reject")):
            if open_lines := with_verdict(judged, word):
                text += f" ({phrase}: {listing([line.metric for line in open_lines])})"
        parts.append(text)
    return "; and ".join(parts) if parts else "no metric can be tested"


def listing(names: Sequence[str]) -> str:
    """'a, b and 3 more'."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"


def effects_briefly(verdicts: Sequence[str], of: str) -> str:
    """How many effects of something are shown, in a line of the table of contents."""
    if all(verdict == CANNOT_REJECT for verdict in verdicts):
        return f"effects of {of}: {SILENT}"
    shown = sum(verdict == CHANGED for verdict in verdicts)
    return f"{shown} of {len(verdicts)} effects of {of} are shown"


def unable(lines: Sequence[Tested]) -> bool:
    """Whether there are lines, and none of them can reject."""
    return bool(lines) and len(with_verdict(lines, CANNOT_REJECT)) == len(lines)
