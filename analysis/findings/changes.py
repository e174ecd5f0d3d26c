"""What a precision changes: one difference per training, never more.

Shapes: n trainings, K comparisons of a precision with its baseline.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.findings.pairs import comparisons, paired, with_training
from analysis.findings.verdicts import joined
from analysis.reading.selection import final_rows
from analysis.reading.table import (
    CDNV_NORM,
    CDNV_SCALE_FREE,
    CDNV_VARIANTS,
    REFMEANS,
    Choices,
    Direction,
    Roles,
    Table,
)
from analysis.statistics.changes import (
    SignedRank,
    equivalence,
    joint_sign_flips,
    signed_rank,
    tost,
)
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, MOST, UNDECIDED, Decided
from analysis.statistics.decomposition import pooled_deviation
from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Floats
from analysis.statistics.multiplicity import holm

CHANGED, NO_MORE_THAN = "changed", "no more than"
PART_OF_SPREAD = 0.1  # of the deviation within design cells: the margin where none is given
TOTAL = ""  # the level of a line over all trainings
TRAINING = "further training is in it, as ft-fp32 is not in the table"


@dataclass(frozen=True)
class Change:
    """One line: the change of a column from baseline to precision over `n` trainings.

    `level` is empty for all trainings, else `AXIS VALUE`. `estimate` Hodges-Lehmann pseudo-median
    of the differences, `low`, `high` its 95% interval and `p` of the same signed-rank test;
    `p_maxt` adjusts it for the precisions of the column by joint sign flips of `permutations`
    patterns (`exact`: all). `margin` is the change that counts as none, `p_margin` that of the
    claim that the change is smaller. `worse` trainings whose value got worse; `seed_sd` standard
    deviation at the baseline within design cells, pooled; `in_seed_sd` the estimate in its units.
    `verdict` is `changed`, `no more than` (the margin), `undecided` or `cannot reject`.
    """

    precision: str
    baseline: str
    column: str
    level: str
    n: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_maxt: float | None = None
    verdict: str = ""
    margin: float | None = None
    p_margin: float | None = None
    permutations: int | None = None
    exact: bool | None = None
    worse: int | None = None
    seed_sd: float | None = None
    in_seed_sd: float | None = None
    note: str = ""


def seed_spread(rows: pl.DataFrame, axes: tuple[str, ...], column: str) -> float | None:
    """Between-seed standard deviation of a column, pooled over groups of equal axes.

    None where no group has two trainings with a value.
    """
    known = rows.select(list(dict.fromkeys([*axes, column]))).drop_nulls(column)
    parts = known.partition_by(list(axes)) if axes else [known]
    return pooled_deviation([part[column].to_numpy() for part in parts])


def changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines of every precision.

    The response and other outcomes come first.

    Outcomes and the primary metrics have further lines for each level of `moving_axis`.
    """
    roles = table.roles
    detailed = [roles.response, *roles.responses, *roles.primary]
    own_means = [name for name in table.frame.columns if name.endswith(REFMEANS)]
    columns = dict.fromkeys([roles.response, *roles.responses, *_ordered(table), *own_means])
    return frame_of(Change, changes_of(table, list(columns), choices, detailed=detailed))


def changes_of(
    table: Table, columns: Sequence[str], choices: Choices, *, detailed: Collection[str] = ()
) -> list[Change]:
    """The lines of some columns, by precision.

    Those that are `detailed` have further lines for each level of `moving_axis`.
    """
    pairs = comparisons(table)
    pairings = {pair: paired(table, *pair) for pair in pairs}
    axis = moving_axis(pairings, table.roles) if detailed else None
    before = {baseline: final_rows(table, baseline) for baseline in {pair[1] for pair in pairs}}
    by_column = {
        column: _of_column(
            table.roles, pairings, before, column, axis if column in detailed else None, choices
        )
        for column in columns
    }
    return [
        line
        for pair in pairs
        for column in columns
        for line in by_column[column]
        if (line.precision, line.baseline) == pair
    ]


def moving_axis(
    pairings: Mapping[tuple[str, str], pl.DataFrame], roles: Roles
) -> tuple[str, list[object]] | None:
    """The axis by whose levels the change of the response differs most in size.

    Returned with its levels.

    Of the ranks of |d| the share between levels (epsilon^2 of Kruskal & Wallis 1952, less what
    chance gives), averaged over the comparisons. The size says nothing of the sign, so that sign
    flips stay exact at the levels of an axis chosen by it. None where no axis moves it.
    """
    shares: dict[str, list[float]] = {axis: [] for axis in roles.axes}
    for rows in pairings.values():
        size = (rows[f"{roles.response}_q"] - rows[roles.response]).abs()
        for axis in roles.axes:
            ranked = pl.DataFrame({"level": rows[axis], "rank": size.rank()}).drop_nulls("rank")
            shares[axis].append(_between(ranked))
    means = {axis: float(np.mean(parts)) for axis, parts in shares.items() if parts}
    if not means or max(means.values()) <= 0:
        return None
    axis = max(means, key=lambda name: means[name])
    levels = pl.concat([rows[axis] for rows in pairings.values()]).unique().sort().to_list()
    return axis, levels


def _between(ranked: pl.DataFrame) -> float:
    """Share of the variance of `rank` between values of `level`.

    It is adjusted for their number.
    """
    n, levels = len(ranked), ranked["level"].n_unique()
    total = float(np.square(ranked["rank"] - ranked["rank"].mean()).sum()) if n else 0.0
    if levels < 2 or n <= 2 * levels or not total:
        return 0.0
    left = ranked["rank"] - ranked.select(pl.col("rank").mean().over("level"))["rank"]
    inside = float(np.square(left).sum())
    return 1.0 - (inside / (n - levels)) / (total / (n - 1))


def _ordered(table: Table) -> list[str]:
    """Metrics, a CDNV together with its scale-free form and the norm it depends on."""
    names = list(table.roles.metrics)
    if any(name in names for name in CDNV_VARIANTS):
        first = [*(name for name in CDNV_VARIANTS if name in names), CDNV_SCALE_FREE, CDNV_NORM]
        names = [*first, *(name for name in names if name not in first)]
    return names


def _of_column(
    roles: Roles,
    pairings: Mapping[tuple[str, str], pl.DataFrame],
    before: Mapping[str, pl.DataFrame],
    column: str,
    axis: tuple[str, list[object]] | None,
    choices: Choices,
) -> list[Change]:
    """The lines of a column, those of a level adjusted for its precisions together."""
    absent = f"{column} is not in this table"
    if not all(column in rows.columns for rows in pairings.values()):
        return [Change(*pair, column, TOTAL, 0, note=absent) for pair in pairings]
    spreads = {baseline: seed_spread(rows, roles.axes, column) for baseline, rows in before.items()}
    lines = []
    for level, parts in _levels(pairings, axis):
        differences = {
            pair: rows.select(pl.col(roles.unit), d=_difference(column)).drop_nulls()
            for pair, rows in parts.items()
        }
        alone = [
            _line(
                Change(*pair, column, level, len(rows), seed_sd=spreads[pair[1]]),
                rows["d"].to_numpy(),
                roles,
            )
            for pair, rows in differences.items()
        ]
        lines += _adjusted(alone, list(differences.values()), roles.unit, choices)
    return lines


def _difference(column: str) -> pl.Expr:
    """What a column changed by; a column without any value has no type of its own."""
    return (pl.col(f"{column}_q") - pl.col(column)).cast(pl.Float64)


def _levels(
    pairings: Mapping[tuple[str, str], pl.DataFrame], axis: tuple[str, list[object]] | None
) -> Iterator[tuple[str, Mapping[tuple[str, str], pl.DataFrame]]]:
    """All trainings, then those of each level of the axis."""
    yield TOTAL, pairings
    if axis is not None:
        name, levels = axis
        for value in levels:
            parts = {pair: rows.filter(pl.col(name) == value) for pair, rows in pairings.items()}
            yield f"{name} {value}", parts


def _line(line: Change, d: Floats, roles: Roles) -> Change:
    """The line with what its own signed-rank test says."""
    if not len(d):
        return replace(
            line, verdict=CANNOT_REJECT, note="no training has a value at both precisions"
        )
    test, better = signed_rank(d), roles.responses.get(line.column)
    margin = roles.margin.get(line.column, PART_OF_SPREAD * (line.seed_sd or 0.0)) or None
    verdict, note = verdict_of(test, margin)
    if with_training([(line.precision, line.baseline)]):
        note = joined(note, TRAINING)
    return replace(
        line,
        estimate=test.estimate,
        low=test.low,
        high=test.high,
        p=test.p,
        verdict=verdict,
        margin=margin,
        p_margin=None if margin is None else tost(d, margin),
        worse=None if better is None else _worse(d, better),
        in_seed_sd=test.estimate / line.seed_sd if line.seed_sd else None,
        note=note,
    )


def _worse(d: Floats, better: Direction) -> int:
    return int(np.count_nonzero(d > 0 if better == "lower" else d < 0))


def verdict_of(test: SignedRank, margin: float | None) -> tuple[str, str]:
    """What a test alone says, and the note that gives the reason."""
    if 2.0 ** (1 - test.n) > ALPHA:
        return CANNOT_REJECT, f"cannot reject with n = {test.n}"
    if not test.nonzero:
        return NO_MORE_THAN, "changes in no training"
    if test.cannot_reject:
        return CANNOT_REJECT, f"cannot reject with n = {test.n}, of which {test.nonzero} change"
    low = -math.inf if test.low is None else test.low
    high = math.inf if test.high is None else test.high
    if margin is not None:
        return equivalence(low, high, margin), ""
    return UNDECIDED if low <= 0 <= high else CHANGED, "no margin: no design cell has two seeds"


def _adjusted(
    lines: Sequence[Change], differences: Sequence[pl.DataFrame], unit: str, choices: Choices
) -> list[Change]:
    """The lines of a column, adjusted for its precisions."""
    outcomes = adjustments(lines, differences, unit, choices, over="precisions")
    return [
        line if outcome is None else replace(line, **vars(outcome))
        for line, outcome in zip(lines, outcomes, strict=True)
    ]


class Judged(Protocol):
    """A line with what its own signed-rank test says."""

    @property
    def p(self) -> float | None: ...

    @property
    def verdict(self) -> str | None: ...

    @property
    def note(self) -> str: ...


@dataclass(frozen=True)
class Adjustment:
    """What a family leaves of the test of a line: p max-T, verdict and note."""

    p_maxt: float
    verdict: str | None
    note: str
    permutations: int | None = None
    exact: bool | None = None


def adjustments(
    lines: Sequence[Judged],
    differences: Sequence[pl.DataFrame],
    unit: str,
    choices: Choices,
    *,
    over: str,
) -> list[Adjustment | None]:
    """p max-T of the lines of a family, and the verdict that it leaves.

    None for those that change nothing. `differences` has the columns `unit` and `d` of each line,
    sorted by unit.

    Joint sign flips take the lines that have all units; those that lack some are adjusted by Holm
    over all lines. The notes call what the lines are over by the word `over`.
    """
    done: list[Adjustment | None] = [None] * len(lines)
    tested = [at for at, rows in enumerate(differences) if (rows["d"] != 0).any()]
    if not tested:
        return done
    everyone = max(len(differences[at]) for at in tested)
    joint = [at for at in tested if len(differences[at]) == everyone]
    keys = differences[joint[0]][unit].to_list()
    joint = [at for at in joint if differences[at][unit].to_list() == keys]
    d = np.column_stack([differences[at]["d"].to_numpy() for at in joint])
    decided = _flipped(d, [lines[at] for at in joint], choices)
    by_holm = holm([lines[at].p or 0.0 for at in tested])
    for at, adjusted in zip(tested, by_holm, strict=True):
        line = lines[at]
        note, verdict = line.note, line.verdict
        permutations: int | None = None
        exact: bool | None = None
        if at in joint:
            place = joint.index(at)
            word = str(decided.verdict_maxt[place])
            # p is exact; flips that are drawn may fall short of it by chance.
            p = max(float(decided.p_maxt[place]), line.p or 0.0)
            permutations, exact = decided.permutations, decided.exact
        else:
            p, word = float(adjusted), ASSOCIATED if adjusted <= ALPHA else UNDECIDED
            note = joined(note, "p max-T by Holm: trainings are missing")
        if verdict == CHANGED and (word != ASSOCIATED or p > ALPHA):
            verdict = UNDECIDED
            note = joined(note, f"p max-T over {len(tested)} {over} is not below {ALPHA:g}")
        done[at] = Adjustment(p, verdict, note, permutations, exact)
    return done


def _flipped(d: Floats, lines: Sequence[Judged], choices: Choices) -> Decided:
    """Joint sign flips of d (n, K).

    They go on only for a line that its own test calls changed.
    """
    n, seed = choices.permutations, choices.seed
    test = joint_sign_flips(d, permutations=n, most=n, seed=seed)
    unclear = [
        line.verdict == CHANGED and word == UNDECIDED
        for line, word in zip(lines, test.verdict_maxt, strict=True)
    ]
    if not any(unclear):
        return test
    return joint_sign_flips(d, permutations=n, most=max(n, MOST), seed=seed)
