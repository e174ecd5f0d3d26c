"""How well other data are detected, and what goes with that.

Values are of one training at one precision; scores are six, and each has an AUROC and the rate of
false positives at 95% of true ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl

from analysis.findings.changes import CHANGED, Change, changes_of, seed_spread
from analysis.findings.controls import control_for, controlled
from analysis.findings.frames import frame_of
from analysis.findings.progress import TRAIN_LOSS
from analysis.findings.verdicts import (
    EXPLORATORY,
    PRIMARY,
    Tested,
    family_of,
    inadequate,
    joined,
    metric_values,
)
from analysis.reading.naming import AUROC, SCORES, better_of
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import Choices, Roles, Table
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, UNDECIDED
from analysis.statistics.design_power import detectable_r
from analysis.statistics.levels import ALPHA, LEAST_ROWS

FPR95 = "ood_fpr95_"
MEAN = ""  # the set of a line over all sets


@dataclass(frozen=True)
class DetectionLine:
    """One line: a score at a `precision`, as means over `n` trainings.

    `set` is that of other data, empty for the mean over sets. `low` to `high` are 95% intervals
    over seeds: mean +- t SD / sqrt(n), SD within design cells, pooled, and t of its degrees of
    freedom, cut to [0, 1]; null without replicates.
    """

    score: str
    set: str
    precision: str
    n: int
    auroc: float | None = None
    auroc_low: float | None = None
    auroc_high: float | None = None
    fpr95: float | None = None
    fpr95_low: float | None = None
    fpr95_high: float | None = None


@dataclass(frozen=True)
class DetectionAssociation(Tested):
    """One line: a metric and the AUROC of a `score`, under a `control`.

    `given` says whether the training loss is taken out beside it. `p_maxt` and `q` of the score's
    own table are multiplied by the number of scores (Bonferroni), so that they hold over all.
    `detectable` is the |r| that is found with 80% power among the primary metrics of all scores.
    """

    score: str = ""
    given: str = ""
    control: str = ""
    detectable: float | None = None


def has_detection(table: Table) -> bool:
    """Whether rows say how well other data are detected."""
    return any(table.frame[name].count() for name in auroc_columns(table))


def auroc_columns(table: Table) -> list[str]:
    """Columns of AUROC over all sets, by score."""
    return [name for score in SCORES if (name := f"{AUROC}{score}") in table.frame.columns]


def sets_of(table: Table) -> list[str]:
    """Names of the sets that have columns of their own."""
    start = f"{AUROC}{SCORES[0]}_"
    return [name.removeprefix(start) for name in table.frame.columns if name.startswith(start)]


def detection(table: Table) -> pl.DataFrame:
    """Table of `DetectionLine` lines: over all sets, then of each set."""
    lines = []
    for each in (MEAN, *sets_of(table)):
        for column in auroc_columns(table):
            score = column.removeprefix(AUROC)
            for precision in precisions(table) or [""]:
                rows = final_rows(table, precision or None)
                lines.append(_line(rows, table.roles.axes, score, each, precision))
    return frame_of(DetectionLine, [line for line in lines if line.n])


def _line(
    rows: pl.DataFrame, axes: Sequence[str], score: str, each: str, precision: str
) -> DetectionLine:
    end = f"{score}_{each}" if each else score
    names = {"auroc": f"{AUROC}{end}", "fpr95": f"{FPR95}{end}"}
    rows = rows.drop_nulls([name for name in names.values() if name in rows.columns])
    values: dict[str, float | None] = {}
    for field, name in names.items():
        if name in rows.columns and len(rows):
            values[field] = float(np.mean(rows[name].to_numpy()))
            ends = seed_interval(rows, axes, name)
            values[f"{field}_low"], values[f"{field}_high"] = ends or (None, None)
    return DetectionLine(score, each, precision, len(rows), **values)


def seed_interval(
    rows: pl.DataFrame, axes: Sequence[str], column: str
) -> tuple[float, float] | None:
    """95% interval of the mean of a column over the design, in [0, 1].

    None without replicates.
    """
    from scipy.stats import t

    spread = seed_spread(rows, tuple(axes), column)
    if spread is None:
        return None
    cells = rows.select(axes).n_unique() if axes else 1
    half = float(t.ppf(1 - ALPHA / 2, len(rows) - cells)) * spread / float(np.sqrt(len(rows)))
    mean = float(np.mean(rows[column].to_numpy()))
    return max(mean - half, 0.0), min(mean + half, 1.0)


def detection_changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines: what precisions do to AUROC and FPR95.

    Over all sets.

    `p_maxt` over the precisions of a column is multiplied by the number of columns (Bonferroni).
    """
    columns = [
        name
        for auroc in auroc_columns(table)
        for name in (auroc, auroc.replace(AUROC, FPR95))
        if name in table.frame.columns
    ]
    better = {name: direction for name in columns if (direction := better_of(name))}
    roles = replace(table.roles, responses={**table.roles.responses, **better})
    lines = changes_of(replace(table, roles=roles), columns, choices)
    return frame_of(Change, [_over(line, "p_maxt", CHANGED, len(columns)) for line in lines])


def detection_associations(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `DetectionAssociation` lines: the AUROC of each score on each metric.

    At the reference precision, under the control that the design allows, and given the training
    loss beside it.
    """
    columns = auroc_columns(table)
    lines: list[DetectionAssociation] = []
    for column in columns:
        rows = final_rows(table).drop_nulls([column])
        roles = replace(table.roles, response=column, responses={column: "higher"})
        lines += _of_score(rows, roles, choices, len(columns))
    return frame_of(DetectionAssociation, lines)


def _of_score(
    rows: pl.DataFrame, roles: Roles, choices: Choices, scores: int
) -> list[DetectionAssociation]:
    score, values = roles.response.removeprefix(AUROC), metric_values(rows, roles)
    start = {name: DetectionAssociation(name, 0, score=score) for name in values}
    y = rows[roles.response].to_numpy()
    if len(rows) < LEAST_ROWS or np.ptp(y) == 0:
        reason = f"{len(rows)} trainings, whose AUROC does not differ"
        if len(rows) < LEAST_ROWS:
            reason = f"cannot reject with n = {len(rows)}: {LEAST_ROWS} are needed"
        return _without(start, rows, roles, CANNOT_REJECT, reason)
    try:
        control = control_for(rows, y, roles, choices)
    except ValueError as error:
        return inadequate(_without(start, rows, roles, "", ""), str(error))
    family = scores * max(len(roles.primary), 1)
    lines: list[DetectionAssociation] = []
    controls = {"": control}
    if TRAIN_LOSS in rows.columns and not rows[TRAIN_LOSS].null_count():
        controls[TRAIN_LOSS] = control.given(rows[TRAIN_LOSS].to_numpy()[control.rows, None])
    for given, each in controls.items():
        r = detectable_r(each.dof, family=family)
        own = {
            name: replace(line, given=given, control=each.name, detectable=r)
            for name, line in start.items()
        }
        lines += controlled(own, values, y, each, roles, choices)
    adjusted = {PRIMARY: "p_maxt", EXPLORATORY: "q"}
    return [_over(line, adjusted.get(line.family), ASSOCIATED, scores) for line in lines]


def _without(
    start: Mapping[str, DetectionAssociation],
    rows: pl.DataFrame,
    roles: Roles,
    verdict: str,
    note: str,
) -> list[DetectionAssociation]:
    """The lines of a score that nothing can be tested of."""
    return [
        replace(line, n=len(rows), verdict=verdict, note=note, family=family_of(name, roles))
        for name, line in start.items()
    ]


LineT = TypeVar("LineT", Change, DetectionAssociation)


def _over(line: LineT, name: str | None, claim: str, count: int) -> LineT:
    """The line with its field `name` adjusted over `count` tables.

    A `claim` that this p does not leave is undecided.
    """
    p = None if name is None else getattr(line, name)
    if name is None or p is None:
        return line
    line = replace(line, **{name: min(1.0, count * p)})
    if line.verdict == claim and count * p > ALPHA:
        note = joined(
            line.note,
            f"{name.replace('_maxt', ' maxT')} is not below {ALPHA:g} over {count} columns",
        )
        return replace(line, verdict=UNDECIDED, note=note)
    return line
