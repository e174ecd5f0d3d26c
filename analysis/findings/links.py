"""Whether the response changes with a metric, or by its value before.

For each precision apart.

One row per training; raw and partial correlations side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.findings.controls import axis_covariates
from analysis.findings.frames import frame_of
from analysis.findings.pairs import comparisons, paired
from analysis.reading.table import Choices, Roles, Table, with_companions
from analysis.statistics.batch import Batch, Outcome
from analysis.statistics.levels import LEAST_ROWS
from analysis.statistics.linear import Floats
from study.store.reference import CONTROL, TUNED

# Relative error of the weights, which drives the changes of metric and loss alike.
NOISE = "weight_error"


@dataclass(frozen=True)
class ChangeLink:
    """One line: change of the response against a metric, at one precision.

    `kind` change: against the change of the metric; `kind` baseline: against its value at the
    baseline; over `n` trainings. `given` lists what the partial r is given; `axes` stands for all
    axes of the grid.
    """

    precision: str
    baseline: str
    kind: str
    metric: str
    given: str
    n: int
    r: float | None = None
    r2: float | None = None
    p: float | None = None
    partial_r: float | None = None
    partial_r2: float | None = None
    partial_p: float | None = None
    note: str = ""


@dataclass(frozen=True)
class _Question:
    """A line to fill: the column of x, and what its partial r is given.

    Beside these columns the axes, if `axes`.
    """

    line: ChangeLink
    x: str
    given: tuple[str, ...]
    axes: bool


def change_links(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `ChangeLink` lines, within each precision.

    `kind` change: given the axes, and again given the axes and the relative weight error where the
    table has it and it varies, but not after fine-tuning. `kind` baseline: given the response at
    the baseline, because the change contains minus that.
    """
    lines = []
    for precision, baseline in comparisons(table):
        rows = _with_changes(paired(table, precision, baseline), table.roles)
        batch = Batch(permutations=choices.permutations, seed=choices.seed)
        numbers = _Numbers(rows, table.roles)
        waiting = [
            _asked(number, question, numbers, batch)
            for number, question in enumerate(_questions(rows, table.roles, precision, baseline))
        ]
        outcomes = batch.run()
        for number, line in enumerate(waiting):
            lines.append(
                _answered(line, outcomes.get((number, "raw")), outcomes.get((number, "partial")))
            )
    return frame_of(ChangeLink, lines)


def _with_changes(rows: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """Paired rows with a column `NAME_change` for the response and each metric."""
    names = [name for name in (roles.response, *roles.metrics) if name in rows.columns]
    return rows.with_columns(
        (pl.col(f"{name}_q") - pl.col(name)).alias(f"{name}_change") for name in names
    )


def _questions(
    rows: pl.DataFrame, roles: Roles, precision: str, baseline: str
) -> Iterator[_Question]:
    axes = ["axes"] if axis_covariates(rows, roles)[0] else []
    noise = f"{NOISE}_q" if f"{NOISE}_q" in rows.columns else NOISE
    # After fine-tuning the error is how far that moved the weights, not rounding.
    tuned = precision == CONTROL or precision.startswith(TUNED)
    noisy = not tuned and noise in rows.columns and rows[noise].drop_nulls().n_unique() > 1
    for name, given in with_companions(roles.metrics):
        change = (f"{given}_change",) if given else ()
        shown = [f"change of {given}"] if given else []
        for more, listed in (((), []), ((noise,), [NOISE])) if noisy else (((), []),):
            line = ChangeLink(
                precision, baseline, "change", name, ", ".join([*axes, *listed, *shown]), 0
            )
            yield _Question(line, f"{name}_change", (*more, *change), True)
        before = (roles.response, given) if given else (roles.response,)
        yield _Question(
            ChangeLink(precision, baseline, "baseline", name, ", ".join(before), 0),
            name,
            before,
            False,
        )


class _Numbers:
    """Columns of paired rows as numbers, NaN for null.

    They are taken out of the frame once, for hundreds of questions.
    """

    def __init__(self, rows: pl.DataFrame, roles: Roles) -> None:
        self.rows, self.roles = rows, roles
        self._known: dict[str, Floats] = {}

    def __getitem__(self, name: str) -> Floats:
        if name not in self._known:
            self._known[name] = self.rows[name].cast(pl.Float64).to_numpy()
        return self._known[name]

    @cached_property
    def all_axes(self) -> Floats:
        """The axes as covariates (n, c)."""
        return axis_covariates(self.rows, self.roles)[1]

    def axes(self, known: NDArray[np.bool_]) -> Floats:
        """The same over some rows, without axes that do not vary there."""
        return (
            self.all_axes
            if known.all()
            else axis_covariates(self.rows.filter(pl.Series(known)), self.roles)[1]
        )


def _asked(number: int, question: _Question, numbers: _Numbers, batch: Batch) -> ChangeLink:
    """The line without what the tests say, for which `batch` is asked."""
    needed = [question.x, f"{numbers.roles.response}_change", *question.given]
    absent = [name.removesuffix("_change") for name in needed if name not in numbers.rows.columns]
    if absent:
        return replace(question.line, note=f"{absent[0]} is not in this table")
    values = np.column_stack([numbers[name] for name in needed])
    known = np.isfinite(values.sum(axis=1))  # a sum is NaN where a value is
    values = values[known]
    line = replace(question.line, n=len(values))
    if len(values) < LEAST_ROWS:
        return replace(line, note=f"{len(values)} trainings have values; {LEAST_ROWS} are needed")
    x, y, covariates = values[:, 0], values[:, 1], values[:, 2:]
    if question.axes:
        covariates = np.column_stack([covariates, numbers.axes(known)])
    try:
        batch.ask((number, "raw"), x, y)
        if covariates.shape[1]:
            batch.ask((number, "partial"), x, y, covariates=covariates)
    except ValueError as error:
        return replace(line, note=str(error))
    return line


def _answered(
    line: ChangeLink, raw: Outcome | str | None, partial: Outcome | str | None
) -> ChangeLink:
    for outcome in (raw, partial):
        if isinstance(outcome, str):
            line = replace(line, note=outcome)
    if isinstance(raw, Outcome):
        line = replace(line, r=raw.r, r2=raw.r**2, p=raw.p)
    if isinstance(partial, Outcome):
        line = replace(line, partial_r=partial.r, partial_r2=partial.r**2, partial_p=partial.p)
    return line
