"""Whether metric and response go together over training, and which moves first.

Shapes: n rows, one a checkpoint of a training at the reference precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.findings.controls import controlled, inverted
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import Line, Tested, design_cells, family_of, metric_values
from analysis.reading.selection import at_reference
from analysis.reading.table import Choices, Roles, Table
from analysis.statistics.checkpoints import (
    Courses,
    bootstrap_courses,
    pooled_courses,
    prepare_courses,
    shared_courses,
    successive,
)
from analysis.statistics.decide import CANNOT_REJECT
from analysis.statistics.linear import Codes, Floats
from analysis.statistics.permutation import Prepared

METRIC_FIRST, RESPONSE_FIRST = "metric first", "response first"


@dataclass(frozen=True)
class Checkpoints(Tested):
    """One line: a metric and the response over the checkpoints of trainings.

    Only trainings of several checkpoints count. Both are centred by design cell and epoch, which
    takes out what time does to all; `estimate` is the r of what is left, and whole trainings are
    exchanged inside their cell. Beside it stands the r of all checkpoints pooled, time included,
    with the centre of its null, whole trainings being exchanged over all cells, and its two-sided
    p.
    """

    trainings: int = 0
    pooled_r: float | None = None
    pooled_null: float | None = None
    pooled_p: float | None = None


@dataclass(frozen=True)
class Lead(Tested):
    """One line: a change between checkpoints against the change that follows it.

    `order` says whose change comes first; centred and exchanged as in `Checkpoints`, by the
    three epochs that the two changes span. `n` pairs of changes of `trainings` trainings.
    """

    order: str = ""
    trainings: int = 0


@dataclass(frozen=True)
class _Courses:
    """The exchange of whole trainings as a control of rows (n,).

    See `findings.controls`.
    """

    rows: Codes
    cells: Codes
    units: Codes
    epochs: NDArray[np.float64]
    inadequacy: str = ""

    def over(self, chosen: Codes) -> _Courses:
        return _Courses(
            self.rows[chosen], self.cells[chosen], self.units[chosen], self.epochs[chosen]
        )

    @cached_property
    def shared(self) -> Courses:
        return shared_courses(self.cells, self.units, self.epochs)

    def prepare(self, x: Floats, y: Floats) -> Prepared:
        return prepare_courses(x, y, self.shared)

    def interval(self, x: Floats, y: Floats, choices: Choices) -> tuple[Floats, Floats]:
        drawn = partial(
            bootstrap_courses, x, y, self.shared, bootstrap=choices.bootstrap, seed=choices.seed
        )
        return inverted(self.prepare(x, y), drawn, choices)


def checkpoints(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Checkpoints` lines.

    It is empty where every training has a single checkpoint.
    """
    rows, roles = _rows(table), table.roles
    if rows.is_empty():
        return frame_of(Checkpoints, [])
    courses = _only_shared(_with_course(_courses(rows, roles)))
    values, y = metric_values(rows, roles), rows[roles.response].to_numpy()
    start = {name: Checkpoints(name, 0, trainings=_trainings(courses)) for name in values}
    lines = _answered(start, values, y, courses, roles, choices)
    every = _courses(rows, roles)
    return frame_of(Checkpoints, _with_pooled(lines, values, y, every, choices))


def _with_pooled(
    lines: list[Checkpoints],
    values: Mapping[str, Floats],
    y: Floats,
    every: _Courses,
    choices: Choices,
) -> list[Checkpoints]:
    """The lines with the r of all checkpoints, which no verdict is taken from."""
    batches: dict[bytes, list[int]] = {}
    for place, line in enumerate(lines):
        there = np.isfinite(values[line.metric])
        if there.any() and np.ptp(values[line.metric][there]) > 0:
            batches.setdefault(there.tobytes(), []).append(place)
    filled = list(lines)
    for places in batches.values():
        names = [lines[place].metric for place in places]
        there = np.flatnonzero(np.isfinite(values[names[0]]))
        pooled = pooled_courses(
            np.column_stack([values[name][there] for name in names]),
            y[there],
            units=every.units[there],
            epochs=every.epochs[there],
            permutations=choices.permutations,
            seed=choices.seed,
        )
        for place, r, null, p in zip(places, pooled.r, pooled.null, pooled.p, strict=True):
            filled[place] = replace(
                lines[place], pooled_r=float(r), pooled_null=float(null), pooled_p=float(p)
            )
    return filled


def lead(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Lead` lines; empty where no training has three checkpoints."""
    rows, roles = _rows(table), table.roles
    if rows.is_empty():
        return frame_of(Lead, [])
    every = _courses(rows, roles)
    try:
        a, b, c = successive(every.units, every.epochs)
    except ValueError:
        return frame_of(Lead, [])
    spans = np.column_stack([every.epochs[at] for at in (a, b, c)])
    span = np.unique(spans, axis=0, return_inverse=True)[1].ravel().astype(np.float64)
    # A training has one change at each span, as it has one row at each epoch.
    courses = _only_shared(_Courses(np.arange(len(a)), every.cells[a], every.units[a], span))
    values, y = metric_values(rows, roles), rows[roles.response].to_numpy()
    lines: list[Lead] = []
    for order, (x_from, x_to), (y_from, y_to) in (
        (METRIC_FIRST, (a, b), (b, c)),
        (RESPONSE_FIRST, (b, c), (a, b)),
    ):
        moved = {name: x[x_to] - x[x_from] for name, x in values.items()}
        trainings = _trainings(courses)
        start = {name: Lead(name, 0, order=order, trainings=trainings) for name in moved}
        lines += _answered(start, moved, y[y_to] - y[y_from], courses, roles, choices)
    return frame_of(Lead, lines)


def _rows(table: Table) -> pl.DataFrame:
    """Checkpoints at the reference precision in order; none where no training has two."""
    rows, roles = at_reference(table), table.roles
    if roles.order is None or len(rows) == rows[roles.unit].n_unique():
        return rows.head(0)
    return rows.sort(roles.unit, roles.order)


def _courses(rows: pl.DataFrame, roles: Roles) -> _Courses:
    units = (rows[roles.unit].cast(pl.String).rank("dense") - 1).to_numpy().astype(np.intp)
    epochs = rows[str(roles.order)].cast(pl.Float64).to_numpy()
    return _Courses(np.arange(len(rows)), design_cells(rows, roles), units, epochs)


def _with_course(courses: _Courses) -> _Courses:
    """The trainings of several checkpoints.

    One checkpoint alone says nothing of what happens over time.
    """
    return courses.over(np.flatnonzero(np.bincount(courses.units)[courses.units] > 1))


def _only_shared(courses: _Courses) -> _Courses:
    """The checkpoints of trainings that share their design cell; none where no two do."""
    pairs = np.unique(np.column_stack([courses.cells, courses.units]), axis=0)
    trainings = np.bincount(pairs[:, 0])
    return courses.over(np.flatnonzero(trainings[courses.cells] > 1))


def _trainings(courses: _Courses) -> int:
    return len(np.unique(courses.units))


def _answered(
    start: Mapping[str, Line],
    values: Mapping[str, Floats],
    y: Floats,
    courses: _Courses,
    roles: Roles,
    choices: Choices,
) -> list[Line]:
    if not len(courses.rows):
        reason = "cannot reject: no design cell has two trainings of several checkpoints"
        return [
            replace(line, verdict=CANNOT_REJECT, note=reason, family=family_of(line.metric, roles))
            for line in start.values()
        ]
    return controlled(start, values, y, courses, roles, choices)
