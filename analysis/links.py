"""Whether the change of the response goes with the change of a metric, or with the metric's value before, by precision.

One row per training; raw and partial correlations side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import polars as pl

from analysis.association import LEAST_ROWS, schema
from analysis.batch import Batch, Outcome
from analysis.confounders import axis_covariates
from analysis.degradation import comparisons, paired
from analysis.roles import Choices, Roles, Table, with_companions

NOISE = "weight_error"  # relative error of the weights, which drives the changes of metric and loss alike


@dataclass(frozen=True)
class ChangeLink:
    """One line: the change of the response against the change of a metric (`kind` change), or against the metric's
    value at the baseline (`kind` baseline), over `n` trainings at one precision. `given` lists what the partial r is
    given; `axes` stands for all axes of the grid.
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
    """A line to fill: the column of x, and the columns that its partial r is given, beside the axes if `axes`."""

    line: ChangeLink
    x: str
    given: tuple[str, ...]
    axes: bool


def change_links(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `ChangeLink` lines, within each precision.

    `kind` change: given the axes, and again given the axes and the relative weight error where the table has it and
    it varies. `kind` baseline: given the response at the baseline, because the change contains minus that.
    """
    lines = []
    for precision, baseline in comparisons(table):
        rows = _with_changes(paired(table, precision, baseline), table.roles)
        batch = Batch(choices)
        asked = [
            _asked(number, question, rows, table.roles, batch)
            for number, question in enumerate(_questions(rows, table.roles, precision, baseline))
        ]
        outcomes = batch.run()
        for number, line in enumerate(asked):
            lines.append(_answered(line, outcomes.get((number, "raw")), outcomes.get((number, "partial"))))
    return pl.DataFrame([asdict(line) for line in lines], schema=schema(ChangeLink))


def _with_changes(rows: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """Paired rows with a column `NAME_change` for the response and each metric that they have."""
    names = [name for name in (roles.response, *roles.metrics) if name in rows.columns]
    return rows.with_columns((pl.col(f"{name}_q") - pl.col(name)).alias(f"{name}_change") for name in names)


def _questions(rows: pl.DataFrame, roles: Roles, precision: str, baseline: str) -> Iterator[_Question]:
    axes = ["axes"] if axis_covariates(rows, roles)[0] else []
    noise = f"{NOISE}_q" if f"{NOISE}_q" in rows.columns else NOISE
    noisy = noise in rows.columns and rows[noise].drop_nulls().n_unique() > 1
    for name, given in with_companions(roles.metrics):
        change = (f"{given}_change",) if given else ()
        shown = [f"change of {given}"] if given else []
        for more, listed in (((), []), ((noise,), [NOISE])) if noisy else (((), []),):
            line = ChangeLink(precision, baseline, "change", name, ", ".join([*axes, *listed, *shown]), 0)
            yield _Question(line, f"{name}_change", (*more, *change), True)
        before = (roles.response, given) if given else (roles.response,)
        yield _Question(ChangeLink(precision, baseline, "baseline", name, ", ".join(before), 0), name, before, False)


def _asked(number: int, question: _Question, rows: pl.DataFrame, roles: Roles, batch: Batch) -> ChangeLink:
    """The line without what the tests say, for which `batch` is asked."""
    needed = [question.x, f"{roles.response}_change", *question.given]
    absent = [name.removesuffix("_change") for name in needed if name not in rows.columns]
    if absent:
        return replace(question.line, note=f"{absent[0]} is not in this table")
    kept = rows.select(list(dict.fromkeys([*needed, *roles.axes]))).drop_nulls(needed)
    line = replace(question.line, n=len(kept))
    if len(kept) < LEAST_ROWS:
        return replace(line, note=f"{len(kept)} trainings have values; {LEAST_ROWS} are needed")
    x, y = kept[question.x].to_numpy(), kept[f"{roles.response}_change"].to_numpy()
    parts = [kept.select(question.given).to_numpy()] if question.given else []
    parts += [axis_covariates(kept, roles)[1]] if question.axes else []
    covariates = np.column_stack(parts) if parts else np.zeros((len(kept), 0))
    try:
        batch.ask((number, "raw"), x, y)
        if covariates.shape[1]:
            batch.ask((number, "partial"), x, y, covariates=covariates)
    except ValueError as error:
        return replace(line, note=str(error))
    return line


def _answered(line: ChangeLink, raw: Outcome | str | None, partial: Outcome | str | None) -> ChangeLink:
    for outcome in (raw, partial):
        if isinstance(outcome, str):
            line = replace(line, note=outcome)
    if isinstance(raw, Outcome):
        line = replace(line, r=raw.r, r2=raw.r**2, p=raw.p)
    if isinstance(partial, Outcome):
        line = replace(line, partial_r=partial.r, partial_r2=partial.r**2, partial_p=partial.p)
    return line
