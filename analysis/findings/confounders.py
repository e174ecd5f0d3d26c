"""How much of an association is the grid.

Partial r given the axes, r within and between architectures, a mixed model.

A wider model has a lower loss and other geometry whether or not collapse has anything to do with
loss. Shapes: n rows, one per training; g architectures.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.association import obstacle
from analysis.findings.frames import frame_of
from analysis.reading.table import CDNV_NORM, LOGGED, Choices, Roles, with_companions
from analysis.statistics.batch import Batch, Outcome
from analysis.statistics.decomposition import group_means, mundlak, simpson
from analysis.statistics.linear import Codes, Floats, codes
from analysis.statistics.mixed import mixed_model
from analysis.statistics.power import minimum_detectable_r2
from analysis.statistics.regression import regress


@dataclass(frozen=True)
class Confounding:
    """One line: what of the association of a metric survives each control.

    `partial_r` given the axes (p by Freedman-Lane); `within_r` of values centred in their
    architecture (p by permutation inside architectures); `between_r` of the architectures' means (p
    by permutation of these); slopes of Mundlak's regression on x and its architecture mean with
    cluster-robust errors; `mixed_*` of `mixed_model`; `simpson` compares the signs; `detectable_r2`
    is the least R^2 found with power .8 at 5%, raw and partial.
    """

    metric: str
    given: str
    n: int
    trainings: int
    architectures: int
    r: float | None = None
    r2: float | None = None
    partial_r: float | None = None
    partial_r2: float | None = None
    partial_p: float | None = None
    partial_p_maxt: float | None = None
    within_r: float | None = None
    within_p: float | None = None
    between_r: float | None = None
    between_p: float | None = None
    within_slope: float | None = None
    within_slope_se: float | None = None
    between_slope: float | None = None
    between_slope_se: float | None = None
    mixed_slope: float | None = None
    mixed_se: float | None = None
    mixed_p: float | None = None
    mixed_group_share: float | None = None
    simpson: str = ""
    detectable_r2: float | None = None
    detectable_partial_r2: float | None = None
    note: str = ""


def axis_covariates(
    rows: pl.DataFrame, roles: Roles, *, only: tuple[str, ...] | None = None
) -> tuple[list[str], Floats]:
    """Names and columns (n, c) of the axes as covariates.

    Sizes and learning rate are taken as logarithms, text as indicators.

    Axes that do not vary over the rows are left out; (n, 0) if none does.
    """
    names: list[str] = []
    columns: list[Floats] = []
    for axis in roles.axes if only is None else only:
        values = rows[axis]
        if values.n_unique() < 2:
            continue
        if values.dtype.is_numeric():
            numbers = values.cast(pl.Float64).to_numpy()
            logged = (axis in LOGGED or axis in roles.architecture) and numbers.min() > 0
            names.append(f"log {axis}" if logged else axis)
            columns.append(np.log(numbers) if logged else numbers)
        else:
            for level in values.unique().sort()[1:]:
                names.append(f"{axis} = {level}")
                columns.append((values == level).cast(pl.Float64).to_numpy())
    return names, np.column_stack(columns) if columns else np.zeros((len(rows), 0))


def architectures(rows: pl.DataFrame, roles: Roles) -> Codes | None:
    """Architecture (n,) of each row as an integer.

    None where the table has no axis of the architecture.
    """
    varying = [axis for axis in roles.architecture if rows[axis].n_unique() > 1]
    if not varying:
        return None
    return codes(
        "architecture",
        rows.select(pl.concat_str(varying, separator=" ")).to_series().to_numpy(),
        len(rows),
    )


def confounders(rows: pl.DataFrame, roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Confounding` lines over rows that are one per training.

    There is a line per metric, and one given the norm for a CDNV.
    """
    batch = Batch(permutations=choices.permutations, seed=choices.seed)
    lines = [
        _line(rows, roles, name, given, batch) for name, given in with_companions(roles.metrics)
    ]
    outcomes = batch.run()
    tested = [_tested(line, outcomes) for line in lines]
    return frame_of(Confounding, tested)


def _line(
    rows: pl.DataFrame, roles: Roles, name: str, given: str | None, batch: Batch
) -> Confounding:
    """A line without what the permutation tests say, for which `batch` is asked."""
    names = [name, roles.response, *([given] if given else [])]
    complete = rows.drop_nulls([column for column in names if column in rows.columns])
    group = architectures(complete, roles) if len(complete) else None
    line = Confounding(
        name,
        given or "",
        len(complete),
        len(complete),
        1 if group is None else int(group.max()) + 1,
    )
    if reason := obstacle(rows, names, complete):
        return replace(line, note=reason)
    x, y = complete[name].to_numpy(), complete[roles.response].to_numpy()
    extra = complete.select(CDNV_NORM).to_numpy() if given else np.zeros((len(complete), 0))
    axes = np.column_stack([axis_covariates(complete, roles)[1], extra])
    plain = regress(x, y)
    line = replace(
        line, r=plain.r, r2=plain.r2, detectable_r2=minimum_detectable_r2(len(complete), 0)
    )
    notes: list[str] = []
    if axes.shape[1]:
        family = not given and len(complete) == len(rows)
        with noted(notes, "given the axes"):
            batch.ask((name, given or "", "partial"), x, y, covariates=axes, family=family)
            line = replace(
                line, detectable_partial_r2=minimum_detectable_r2(len(complete), axes.shape[1])
            )
    if group is not None and not given:
        line = _decomposed(line, x, y, group, batch, notes)
    return replace(line, note="; ".join(notes))


@contextmanager
def noted(notes: list[str], what: str) -> Iterator[None]:
    """Turn a ValueError, which says what data do not allow, into a note of a line."""
    try:
        yield
    except ValueError as error:
        notes.append(f"{what}: {error}")


def _decomposed(
    line: Confounding, x: Floats, y: Floats, group: Codes, batch: Batch, notes: list[str]
) -> Confounding:
    """The parts of a line that compare rows within and between architectures."""
    with noted(notes, "within architectures"):
        batch.ask((line.metric, "", "within"), x, y, within=group)
        (within, within_se), (between, between_se) = mundlak(x, y, group)
        line = replace(line, within_slope=within, within_slope_se=within_se)
        line = replace(line, between_slope=between, between_slope_se=between_se)
    with noted(notes, "between architectures"):
        batch.ask((line.metric, "", "between"), group_means(x, group), group_means(y, group))
    mixed = None
    with noted(notes, "mixed model"):
        mixed = mixed_model(x, y, group)
    if mixed is None:
        return line
    line = replace(line, mixed_slope=mixed.slope, mixed_se=mixed.se)
    return replace(line, mixed_p=mixed.p, mixed_group_share=mixed.group_share)


def _tested(line: Confounding, outcomes: dict[Hashable, Outcome | str]) -> Confounding:
    notes = [line.note] if line.note else []
    for part in ("partial", "within", "between"):
        outcome = outcomes.get((line.metric, line.given, part))
        if isinstance(outcome, str):
            notes.append(f"{part}: {outcome}")
        elif outcome is not None and part == "partial":
            line = replace(line, partial_r=outcome.r, partial_r2=outcome.r**2, partial_p=outcome.p)
            line = replace(line, partial_p_maxt=outcome.p_maxt)
        elif outcome is not None and part == "within":
            line = replace(line, within_r=outcome.r, within_p=outcome.p)
        elif outcome is not None:
            line = replace(line, between_r=outcome.r, between_p=outcome.p)
    check = "" if line.r is None else simpson(line.r, line.between_r, line.within_r)
    return replace(line, simpson=check, note="; ".join(notes))
