"""Neural collapse at a glance: one line a property, such as NC1 to NC4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from analysis.findings.bits import has_bits, of_bits_alone
from analysis.findings.changes import TOTAL, Change
from analysis.findings.curves import Course
from analysis.findings.frames import frame_of, lines_of
from analysis.findings.pairs import fine_tuned
from analysis.findings.verdicts import Tested
from analysis.reading.selection import final_rows
from analysis.reading.table import BITS, CDNV_VARIANTS, Roles, Table, headline

OF_CLASSES = ("NC1", "NC2", "NC3", "NC4", "ONC1", "ONC2", "ONC3")
OF_REGRESSIONS = ("NRC1", "NRC2", "NRC3")
COARSE = 4.0  # bits a weight: the coarsest format of at least as many stands beside the coarsest


@dataclass(frozen=True)
class Property:
    """One line: a property of neural collapse, by the first of its primary metrics.

    `value` is the median over `n` trainings at their last checkpoint and the reference precision.
    Of `trainings` with several checkpoints `towards` moved in the `direction` of more collapse.
    `estimate` with `low` to `high`, `verdict` and `family` (primary or exploratory) are those of
    the table by which the report is judged. `coarse` and `coarsest` name precisions, beside the
    change of the metric there, its pseudo-median, and the verdict of that change.
    """

    property: str
    metric: str
    n: int
    value: float | None = None
    direction: str = ""
    trainings: int | None = None
    towards: int | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    family: str = ""
    coarse: str | None = None
    coarse_change: float | None = None
    coarse_verdict: str | None = None
    coarsest: str | None = None
    coarsest_change: float | None = None
    coarsest_verdict: str | None = None
    note: str = ""


def properties(
    table: Table,
    judged: Sequence[Tested],
    course: pl.DataFrame | None,
    changes: pl.DataFrame | None,
) -> pl.DataFrame:
    """Table of `Property` lines of the families that the table has.

    `judged` are the lines of the table by which the report is judged, `course` and `changes` those
    of `Course` and `Change`, None where the report lacks them.
    """
    verdicts = {line.metric: line for line in judged}
    courses = {} if course is None else {line.metric: line for line in lines_of(Course, course)}
    lines = [] if changes is None else lines_of(Change, changes)
    totals = {(line.column, line.precision): line for line in lines if line.level == TOTAL}
    rows, shown = final_rows(table), coarsest(table, [line.precision for line in lines])
    chosen = _chosen(OF_REGRESSIONS, table.roles, rows) or _chosen(OF_CLASSES, table.roles, rows)
    return frame_of(
        Property,
        [
            _at_precisions(_line(family, metric, table, rows, verdicts, courses), shown, totals)
            for family, metric in chosen.items()
        ],
    )


def _chosen(families: Sequence[str], roles: Roles, rows: pl.DataFrame) -> dict[str, str]:
    """The metric that stands for each family, of those that have one."""
    metrics = {family: metric_of(family, roles, rows) for family in families}
    return {family: metric for family, metric in metrics.items() if metric is not None}


def metric_of(family: str, roles: Roles, rows: pl.DataFrame) -> str | None:
    """The metric that stands for a family: a primary one, else one shown at once.

    One that scales with the feature norm stands for it only where there is no other.
    """
    names = dict.fromkeys([*roles.primary, *headline(roles), *roles.metrics])
    own = [name for name in names if roles.metrics[name].family == family and rows[name].count()]
    return next((name for name in own if name not in CDNV_VARIANTS), own[0] if own else None)


def coarsest(table: Table, compared: Sequence[str]) -> tuple[str | None, str]:
    """The coarsest precision, and before it the coarsest of `COARSE` bits or more.

    Of those that round the whole model to nearest; None for the first where both are the same, or
    where the table has no bits, and then the last of them is taken for the coarsest.
    """
    names = list(dict.fromkeys(compared))
    plain = [name for name in names if of_bits_alone(name, names) and not fine_tuned(name)]
    plain = plain or names
    if not plain:
        return None, ""
    if not has_bits(table):
        return None, plain[-1]
    column = str(table.roles.precision)
    means = table.frame.group_by(column).agg(pl.col(BITS).mean())
    bits: dict[str, float] = {name: mean for name, mean in means.iter_rows() if mean is not None}
    known = sorted((name for name in plain if name in bits), key=lambda name: bits[name])
    if not known:
        return None, plain[-1]
    fine = next((name for name in known if bits[name] >= COARSE), None)
    return (fine if fine != known[0] else None), known[0]


def _line(
    family: str,
    metric: str,
    table: Table,
    rows: pl.DataFrame,
    verdicts: Mapping[str, Tested],
    courses: Mapping[str, Course],
) -> Property:
    values = rows[metric].drop_nulls().cast(pl.Float64)
    median = values.median()
    line = Property(
        family,
        metric,
        len(values),
        value=median if isinstance(median, float) else None,
        direction=table.roles.metrics[metric].direction or "",
    )
    if (course := courses.get(metric)) is not None and course.n:
        line = replace(line, trainings=course.n, towards=course.towards)
    if (judged := verdicts.get(metric)) is not None:
        line = replace(
            line,
            estimate=judged.estimate,
            low=judged.low,
            high=judged.high,
            verdict=judged.verdict,
            family=judged.family,
            note=judged.note,
        )
    return line


def _at_precisions(
    line: Property,
    shown: tuple[str | None, str],
    totals: Mapping[tuple[str, str], Change],
) -> Property:
    fine, coarse = shown
    if fine is not None and (change := totals.get((line.metric, fine))) is not None:
        line = replace(
            line, coarse=fine, coarse_change=change.estimate, coarse_verdict=change.verdict
        )
    if (change := totals.get((line.metric, coarse))) is not None:
        line = replace(
            line, coarsest=coarse, coarsest_change=change.estimate, coarsest_verdict=change.verdict
        )
    return line
