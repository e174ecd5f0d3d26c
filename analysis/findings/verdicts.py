"""What tables of association say of a metric, and by which rules.

A table has one estimand a line. Its metrics form two families that are never mixed: the primary
ones, named before the study was run, are adjusted by step-down max-T over the rows that they
share (Holm for those with fewer rows; each part at its share of the level); all others are
exploratory and adjusted by Benjamini and Hochberg. Shapes: n rows, k metrics, m of the rows where
a metric has a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl

from analysis.reading.table import Choices, Roles
from analysis.statistics.decide import (
    ASSOCIATED,
    CANNOT_REJECT,
    MOST,
    NOT_FOUND,
    STEP,
    UNDECIDED,
    Decided,
    Repeatable,
    settle,
)
from analysis.statistics.levels import ALPHA, LEAST_ROWS, in_print
from analysis.statistics.linear import Codes, Floats, NoVariation
from analysis.statistics.multiplicity import benjamini_hochberg, holm

INADEQUATE = "control inadequate"
VERDICTS = (ASSOCIATED, NOT_FOUND, UNDECIDED, INADEQUATE, CANNOT_REJECT)
PRIMARY, EXPLORATORY, NO_FAMILY = "primary", "exploratory", "none"
LATER_SEED = 0  # of permutations that go on while a verdict is open, and of ends of intervals
NEAR = 2  # times the level: adjusted p-values on which one at the level may depend
FLAT = 1e-10  # relative spread in design cells below which a metric is a function of the axes
INTERVAL_HOLDS_ZERO = "the interval, which is no inversion of the test, holds 0"
FUNCTION_OF_AXES = "a function of the axes alone: nothing to test"

# The test of columns (m, k) over the rows (m,) named by number, before any permutation. It raises
# ValueError where the design does not allow one.
Preparation = Callable[[Floats, Codes], Repeatable]


@dataclass(frozen=True)
class Tested:
    """The first columns of every table of association; each table adds its own.

    `estimate` with its 95% interval `low` to `high` and its two-sided `p`; `p_maxt` adjusted
    over the primary `family`, `q` over the exploratory one; `verdict` one of `VERDICTS`, null
    where nothing is tested; `note` what a reader must know; `permutations` behind p, all of them
    if `exact`.
    """

    metric: str
    n: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_maxt: float | None = None
    q: float | None = None
    verdict: str | None = None
    note: str = ""
    family: str = EXPLORATORY
    permutations: int | None = None
    exact: bool | None = None


@dataclass(frozen=True)
class Verdict:
    """What the tests of a table say of one metric.

    These are the fields of `Tested` but the interval.

    `estimate` is the (partial) r that the test has; `rows` (m,) are those it used.
    """

    rows: Codes
    estimate: float | None = None
    p: float | None = None
    p_maxt: float | None = None
    q: float | None = None
    verdict: str | None = None
    note: str = ""
    family: str = EXPLORATORY
    permutations: int | None = None
    exact: bool | None = None

    def fill(self, line: Line) -> Line:
        """The line with these columns."""
        return replace(
            line,
            n=len(self.rows),
            estimate=self.estimate,
            p=self.p,
            p_maxt=self.p_maxt,
            q=self.q,
            verdict=self.verdict,
            note=joined(line.note, self.note),
            family=self.family,
            permutations=self.permutations,
            exact=self.exact,
        )


Line = TypeVar("Line", bound=Tested)


def joined(*notes: str) -> str:
    """Notes as one, without the empty ones."""
    return "; ".join(note for note in notes if note)


def in_words(error: ValueError, x: str, y: str = "the response") -> str:
    """Why a test cannot be done, with the names of its x and y as a reader knows them."""
    if not isinstance(error, NoVariation):
        return str(error)
    names = {"x": x, "y": y}
    return f"{names.get(error.name, error.name)} {error.reason}"


def compared(line: Line) -> Line:
    """The line with a note where its interval does not bear out that it is associated.

    Permutations say how often chance alone gives such a statistic, an interval how far r may be
    off; where few rows decide about r they need not agree.
    """
    if line.verdict != ASSOCIATED or line.low is None or line.high is None:
        return line
    if not line.low <= 0.0 <= line.high:
        return line
    return replace(line, note=joined(line.note, INTERVAL_HOLDS_ZERO))


def inadequate(lines: Iterable[Line], reason: str) -> list[Line]:
    """Lines of a table whose control does not hold: none of their tests is a verdict."""
    return [
        line
        if line.verdict is None
        else replace(line, verdict=INADEQUATE, note=joined(line.note, reason))
        for line in lines
    ]


def design_cells(rows: pl.DataFrame, roles: Roles) -> Codes:
    """Design cell (n,) of each row.

    Rows of one cell agree in all axes, and differ in their seed.
    """
    if not roles.axes or rows.is_empty():
        return np.zeros(len(rows), dtype=np.intp)
    return (
        rows.select(pl.struct(roles.axes).rank("dense") - 1).to_series().to_numpy().astype(np.intp)
    )


def axis_functions(values: Mapping[str, Floats], cells: Codes) -> frozenset[str]:
    """Metrics that vary between cells (n,) with replicates, but in none of them."""
    several = np.bincount(cells)[cells] > 1
    if not several.any():
        return frozenset()
    names = []
    for name, column in values.items():
        known = several & np.isfinite(column)
        x, cell = column[known], cells[known]
        if not len(x) or np.ptp(x) == 0:
            continue
        sizes = np.maximum(np.bincount(cell), 1)
        left = x - (np.bincount(cell, weights=x) / sizes)[cell]
        if np.abs(left).max() <= FLAT * np.abs(x).max():
            names.append(name)
    return frozenset(names)


def metric_values(rows: pl.DataFrame, roles: Roles) -> dict[str, Floats]:
    """Each metric of the table as numbers (n,), NaN for null; primary ones come first."""
    names = [name for name in dict.fromkeys([*roles.primary, *roles.metrics]) if name in rows]
    numbers = rows.select(pl.col(names).cast(pl.Float64).fill_null(np.nan))
    return {name: numbers[name].to_numpy() for name in names}


def verdicts(
    values: Mapping[str, Floats],
    prepare: Preparation,
    roles: Roles,
    choices: Choices,
    *,
    cells: Codes | None = None,
) -> dict[str, Verdict]:
    """A verdict for each metric of `values` (n,), whose NaN are missing.

    `prepare` makes the test of columns over some of the rows. Metrics that are functions of the
    design `cells` (n,) are tested in no family. The permutations go on until the 99% interval of
    what decides a line is clear of the level: p and p max-T of primary metrics, the adjusted p of
    the others.
    """
    functions = frozenset() if cells is None else axis_functions(values, cells)
    lines: dict[str, Verdict] = {}
    for name, column in values.items():
        family = NO_FAMILY if name in functions else family_of(name, roles)
        line = Verdict(np.flatnonzero(np.isfinite(column)), family=family)
        line = replace(line, note=_missing(column, line, prepare, choices))
        lines[name] = _varied(name, column, line)
    for batch in _batches(lines):
        lines |= _screened(batch, values, lines, prepare)
    testable = {name: line for name, line in lines.items() if _open(line)}
    tests = _Tests(values, testable, prepare, choices)
    primary = [name for name, line in testable.items() if line.family == PRIMARY]
    others = [name for name, line in testable.items() if line.family == EXPLORATORY]
    lines |= _primary(primary, len(next(iter(values.values()), ())), tests)
    lines |= _adjusted(others, benjamini_hochberg, "q", tests)
    return lines


def family_of(name: str, roles: Roles) -> str:
    """The family of a metric that is no function of the axes."""
    return PRIMARY if name in roles.primary else EXPLORATORY


def _missing(column: Floats, line: Verdict, prepare: Preparation, choices: Choices) -> str:
    """How many rows lack a value, and whether that goes with the response."""
    absent = len(column) - len(line.rows)
    if not absent or not len(line.rows):
        return ""
    text = f"{absent} of {len(column)} rows have no value"
    try:
        test = prepare(np.isnan(column)[:, None].astype(float), np.arange(len(column)))
        p = float(_once(test, choices.permutations, choices).p[0])
    except ValueError:
        return f"{text}; whether that goes with the response cannot be tested"
    goes = "goes" if p <= ALPHA else "does not go"
    return f"{text}, which {goes} with the response (p {in_print(p)})"


def _varied(name: str, column: Floats, line: Verdict) -> Verdict:
    """The line as it is if its metric varies.

    Else it comes with the reason why it cannot be tested.
    """
    if line.family == NO_FAMILY:
        return replace(line, note=joined(line.note, FUNCTION_OF_AXES))
    n = len(line.rows)
    if n < LEAST_ROWS:
        reason = f"cannot reject with n = {n}: {LEAST_ROWS} are needed"
        return replace(line, verdict=CANNOT_REJECT, note=joined(line.note, reason))
    if np.ptp(column[line.rows]) == 0:
        return replace(line, family=NO_FAMILY, note=joined(line.note, f"{name} is constant"))
    return line


def _open(line: Verdict) -> bool:
    """Whether nothing speaks against a test so far."""
    return line.verdict is None and line.family != NO_FAMILY


def _batches(lines: Mapping[str, Verdict]) -> list[list[str]]:
    """The metrics that may be tested, those with values in the same rows together."""
    batches: dict[bytes, list[str]] = {}
    for name, line in lines.items():
        if _open(line):
            batches.setdefault(line.rows.tobytes(), []).append(name)
    return list(batches.values())


def _screened(
    names: list[str],
    values: Mapping[str, Floats],
    lines: Mapping[str, Verdict],
    prepare: Preparation,
) -> dict[str, Verdict]:
    """Lines of the same rows.

    They are as they were, or with the reason why they cannot be tested.
    """
    rows = lines[names[0]].rows
    try:
        test = prepare(np.column_stack([values[name][rows] for name in names]), rows)
    except ValueError as error:
        if len(names) > 1:  # one of them may stand in the way of the others
            return {
                name: line
                for each in names
                for name, line in _screened([each], values, lines, prepare).items()
            }
        line = lines[names[0]]
        note = joined(line.note, in_words(error, names[0]))
        return {names[0]: replace(line, verdict=CANNOT_REJECT, note=note)}
    if test.least_p <= ALPHA:
        return {}
    reason = f"cannot reject with n = {len(rows)}: no p below {test.least_p:.2g} is possible"
    return {
        name: replace(lines[name], verdict=CANNOT_REJECT, note=joined(lines[name].note, reason))
        for name in names
    }


@dataclass(frozen=True)
class _Tests:
    """The tests of the metrics of one table, by name."""

    values: Mapping[str, Floats]
    lines: Mapping[str, Verdict]
    prepare: Preparation
    choices: Choices

    def joint(self, names: list[str]) -> Repeatable:
        """One test of metrics that have their values in the same rows."""
        rows = self.lines[names[0]].rows
        return self.prepare(np.column_stack([self.values[name][rows] for name in names]), rows)

    def alone(self, names: list[str], permutations: int) -> dict[str, _Alone]:
        """p of each metric by that many permutations; those of the same rows share them."""
        # What decides a close case is the same for every seed.
        first = permutations == self.choices.permutations
        choices = self.choices if first else replace(self.choices, seed=LATER_SEED)
        batches: dict[bytes, list[str]] = {}
        for name in names:
            batches.setdefault(self.lines[name].rows.tobytes(), []).append(name)
        outcomes = {}
        for batch in batches.values():
            test = _once(self.joint(batch), permutations, choices)
            for at, name in enumerate(batch):
                outcomes[name] = _Alone(test, at)
        return outcomes


@dataclass(frozen=True)
class _Alone:
    """One of the metrics of a test."""

    test: Decided
    at: int

    @property
    def p(self) -> float:
        return float(self.test.p[self.at])

    @property
    def low(self) -> float:
        return float(self.test.p_low[self.at])

    @property
    def high(self) -> float:
        return float(self.test.p_high[self.at])

    def filled(self, line: Verdict) -> Verdict:
        return replace(
            line,
            estimate=float(self.test.r[self.at]),
            p=self.p,
            permutations=self.test.permutations,
            exact=self.test.exact,
        )


def p_beside(
    values: Mapping[str, Floats], prepare: Preparation, choices: Choices
) -> dict[str, tuple[float, float]]:
    """(r, p) of a test that stands beside a verdict, by metric.

    None where it cannot be done.

    values: (n,) each, NaN for missing.
    """
    batches: dict[bytes, list[str]] = {}
    for name, column in values.items():
        rows = np.flatnonzero(np.isfinite(column))
        if len(rows) < LEAST_ROWS:
            continue
        try:
            prepare(column[rows, None], rows)
        except ValueError:
            continue
        batches.setdefault(rows.tobytes(), []).append(name)
    outcomes = {}
    for names in batches.values():
        rows = np.flatnonzero(np.isfinite(values[names[0]]))
        columns = np.column_stack([values[name][rows] for name in names])
        test = _once(prepare(columns, rows), choices.permutations, choices)
        for at, name in enumerate(names):
            outcomes[name] = float(test.r[at]), float(test.p[at])
    return outcomes


def _once(test: Repeatable, permutations: int, choices: Choices) -> Decided:
    """The test by a fixed number of permutations, or all of them."""
    return settle(test, permutations=permutations, most=permutations, seed=choices.seed)


def _primary(names: list[str], n: int, tests: _Tests) -> dict[str, Verdict]:
    """Adjusted p of primary metrics.

    By max-T over those with a value in all n rows, by Holm over the others. Each of both has the
    share of the level that its number has in the family, so that together they err no more often.
    """
    complete = [name for name in names if len(tests.lines[name].rows) == n]
    fewer = [name for name in names if name not in complete]
    lines: dict[str, Verdict] = {}
    if complete:
        start, share = tests.choices.permutations, len(complete) / len(names)
        joint = settle(
            tests.joint(complete),
            permutations=start,
            most=max(MOST, start),
            level=ALPHA * share,
            seed=tests.choices.seed,
        )
        for at, name in enumerate(complete):
            lines[name] = replace(
                _Alone(joint, at).filled(tests.lines[name]),
                p_maxt=min(float(joint.p_maxt[at]) / share, 1.0),
                verdict=str(joint.verdict_maxt[at]),
            )

    def shared(p: list[float]) -> Floats:
        return np.minimum(holm(p) * (len(names) / len(fewer)), 1.0)

    return lines | _adjusted(fewer, shared, "p_maxt", tests)


def _adjusted(
    names: list[str],
    adjust: Callable[[list[float]], Floats],
    column: str,
    tests: _Tests,
) -> dict[str, Verdict]:
    """Metrics whose p is adjusted by a formula over all of them."""
    if not names:
        return {}
    permutations = tests.choices.permutations
    outcomes = tests.alone(names, permutations)
    while True:
        p, low, high = (
            adjust([getattr(outcomes[name], part) for name in names])
            for part in ("p", "low", "high")
        )
        covers = [
            low[at] <= ALPHA < high[at] and not outcomes[name].test.exact
            for at, name in enumerate(names)
        ]
        if not any(covers) or permutations >= MOST:
            break
        permutations = min(STEP * permutations, MOST)
        # An adjusted p depends on those of the next ranks, which go on as well.
        near = [
            name
            for at, name in enumerate(names)
            if low[at] <= NEAR * ALPHA and high[at] > ALPHA and not outcomes[name].test.exact
        ]
        outcomes |= tests.alone(near, permutations)
    lines = {}
    for at, name in enumerate(names):
        word = UNDECIDED if covers[at] else ASSOCIATED if p[at] <= ALPHA else NOT_FOUND
        line = outcomes[name].filled(tests.lines[name])
        line = replace(line, verdict=word)
        lines[name] = (
            replace(line, q=float(p[at])) if column == "q" else replace(line, p_maxt=float(p[at]))
        )
    return lines
