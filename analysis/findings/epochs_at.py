"""When a training fits, generalizes and collapses, and the gaps between."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from analysis.findings.curves import several_checkpoints
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import design_cells
from analysis.reading.selection import at_reference
from analysis.reading.table import ZERO_ERROR, Roles, Table
from analysis.statistics.crossing import first_crossing, mean_interval
from analysis.statistics.linear import Floats

FITTED = "zero training error"
NEAR_BEST = "within 5% of its best"
HALF_WAY = "half-way"
NOT_REACHED = "not reached"
NEAR = 0.05
OUTCOMES = ("train_accuracy", "val_loss", "val_accuracy")
Side = Literal["lower", "higher"]
Course = Mapping[str, tuple[Floats, Floats]]
"""Of each column of a training its known values (n,), and their epochs (n,)."""


@dataclass(frozen=True)
class TrainingEpoch:
    """One line: the `epoch` at which one training came to an event of one column.

    It is null with its reason in `note`.
    """

    training: str
    metric: str
    event: str
    epoch: float | None = None
    note: str = ""


@dataclass(frozen=True)
class EpochAt:
    """One line: the mean epoch of an event over design cells, and its gap to fitting.

    `reached` of `trainings` came to it, in `cells` design cells; the others are in no mean, so that
    with some that did not `epoch` is that of the faster ones. `epoch` is the mean over cells of the
    mean of a cell, with the interval of Student's t over cells, or over trainings where there is
    one cell; null for one value. `gap` is the same of the epoch less that of zero training error,
    over the `gaps` trainings that reached both.
    """

    metric: str
    event: str
    trainings: int
    reached: int
    cells: int
    epoch: float | None = None
    low: float | None = None
    high: float | None = None
    gaps: int = 0
    gap: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    note: str = ""


def training_epochs(table: Table) -> pl.DataFrame:
    """Table of `TrainingEpoch` lines; empty where no training has several checkpoints.

    Events, at the reference precision, are

        zero training error     `zero_error_epoch`, which training itself records, else the first
                                checkpoint at which `train_accuracy` is 1; of a training without
                                values of either, as a regression, there is no such event
        within 5% of its best   of `val_loss` (at most 1.05 times its least) and of `val_accuracy`
                                (at least 0.95 times its largest), over all checkpoints
        half-way                of each primary metric: the mean of its values at the first and at
                                the last checkpoint that has one
        at most, at least       of each metric with a declared level, by the direction that means
                                more collapse, or by the side from which it comes

    Each is the first time, interpolated on a line between checkpoints (`first_crossing`), so that
    no epoch is known better than checkpoints are near; those without a value are left out.
    """
    if not several_checkpoints(table):
        return frame_of(TrainingEpoch, [])
    roles = table.roles
    order = str(roles.order)
    rows = at_reference(table).sort(roles.unit, order)
    names = (ZERO_ERROR, *OUTCOMES, *roles.primary, *roles.level)
    names = tuple(name for name in dict.fromkeys(names) if name in rows.columns)
    lines: list[TrainingEpoch] = []
    for training, course in _courses(rows, roles.unit, order, names):
        lines += _of_training(training, course, roles)
    return frame_of(TrainingEpoch, lines)


def _courses(
    rows: pl.DataFrame, unit: str, order: str, names: tuple[str, ...]
) -> Iterator[tuple[str, Course]]:
    """Trainings with several of the sorted rows, each with its course."""
    values, known = {}, {}
    for name in names:
        known[name] = rows[name].is_not_null().to_numpy()
        values[name] = rows[name].cast(pl.Float64).fill_null(0.0).to_numpy()
    epochs, training = rows[order].cast(pl.Float64).to_numpy(), rows[unit]
    ends = [0, *(np.flatnonzero(training.ne_missing(training.shift()).to_numpy()[1:]) + 1).tolist()]
    for start, stop in itertools.pairwise([*ends, len(rows)]):
        if stop - start > 1:
            own = {name: known[name][start:stop] for name in names}
            yield (
                str(training[start]),
                {n: (values[n][start:stop][own[n]], epochs[start:stop][own[n]]) for n in names},
            )


def _of_training(training: str, course: Course, roles: Roles) -> Iterator[TrainingEpoch]:
    accuracies = course.get("train_accuracy")
    zero_error = course.get(ZERO_ERROR)
    if zero_error is not None and len(zero_error[0]):
        yield TrainingEpoch(training, ZERO_ERROR, FITTED, float(zero_error[0].min()))
    elif zero_error is not None and (accuracies is None or len(accuracies[0])):
        yield TrainingEpoch(training, ZERO_ERROR, FITTED, note=NOT_REACHED)
    elif accuracies is not None and len(accuracies[0]):
        yield _crossing(training, course, "train_accuracy", FITTED, 1.0, "higher")
    for column, better in (("val_loss", "lower"), ("val_accuracy", "higher")):
        if column in course:
            yield _near_best(training, course, column, better)
    for name in roles.primary:
        yield _half_way(training, course, name)
    for name, level in roles.level.items():
        ends = _ends(course, name)
        comes_from = "lower" if ends is None or ends[0] > level else "higher"
        side = roles.metrics[name].direction or comes_from
        event = f"at {'most' if side == 'lower' else 'least'} {level:g}"
        yield _crossing(training, course, name, event, level, side)


def _crossing(
    training: str, course: Course, column: str, event: str, threshold: float, side: str
) -> TrainingEpoch:
    values, epochs = course[column]
    if not len(values):
        return TrainingEpoch(training, column, event, note="no checkpoint has a value")
    direction: Side = "lower" if side == "lower" else "higher"
    epoch = first_crossing(epochs, values, threshold, direction)
    return TrainingEpoch(training, column, event, epoch, NOT_REACHED if epoch is None else "")


def _near_best(training: str, course: Course, column: str, side: str) -> TrainingEpoch:
    values, _ = course[column]
    if not len(values):
        return TrainingEpoch(training, column, NEAR_BEST, note="no checkpoint has a value")
    best = float(values.min() if side == "lower" else values.max())
    if best <= 0:
        return TrainingEpoch(training, column, NEAR_BEST, note=f"its best is {best:g}")
    threshold = best * (1 + NEAR if side == "lower" else 1 - NEAR)
    return _crossing(training, course, column, NEAR_BEST, threshold, side)


def _half_way(training: str, course: Course, name: str) -> TrainingEpoch:
    ends = _ends(course, name)
    if ends is None:
        return TrainingEpoch(training, name, HALF_WAY, note="no checkpoint has a value")
    first, last = ends
    if first == last:
        return TrainingEpoch(training, name, HALF_WAY, note="it ends where it began")
    side = "lower" if last < first else "higher"
    return _crossing(training, course, name, HALF_WAY, (first + last) / 2, side)


def _ends(course: Course, name: str) -> tuple[float, float] | None:
    """The first and last value of a column that are known."""
    values, _ = course[name]
    return (float(values[0]), float(values[-1])) if len(values) else None


def epochs_at(table: Table) -> pl.DataFrame:
    """Table of `EpochAt` lines, one an event of `training_epochs`, in its order."""
    events, roles = training_epochs(table), table.roles
    if events.is_empty():
        return frame_of(EpochAt, [])
    rows = at_reference(table).unique(roles.unit, keep="first", maintain_order=True)
    cells = pl.DataFrame(
        {"training": rows[roles.unit].cast(pl.String), "cell": design_cells(rows, roles)}
    )
    fitted = events.filter(pl.col("event") == FITTED).select("training", fitted="epoch")
    events = events.join(cells, on="training", how="left", maintain_order="left").join(
        fitted, on="training", how="left", maintain_order="left"
    )
    lines = []
    for key, event in events.group_by("metric", "event", maintain_order=True):
        reached = event.drop_nulls("epoch")
        line: dict[str, object] = {
            "metric": key[0],
            "event": key[1],
            "trainings": len(event),
            "reached": len(reached),
            "cells": reached["cell"].n_unique(),
            "note": _reasons(event),
        }
        if len(reached):
            ends = _mean_of_cells(reached["epoch"], reached["cell"])
            line |= dict(zip(("epoch", "low", "high"), ends, strict=True))
        both = reached.drop_nulls("fitted")
        if key[1] != FITTED and len(both):
            ends = _mean_of_cells(both["epoch"] - both["fitted"], both["cell"])
            line |= {"gaps": len(both)}
            line |= dict(zip(("gap", "gap_low", "gap_high"), ends, strict=True))
        lines.append(line)
    return pl.DataFrame(lines, schema=frame_of(EpochAt, []).schema)


def _reasons(event: pl.DataFrame) -> str:
    """Why trainings have no epoch, and how many each."""
    counts = event.filter(pl.col("epoch").is_null()).group_by("note", maintain_order=True).len()
    return "; ".join(f"{note}: {count}" for note, count in counts.rows())


def _mean_of_cells(values: pl.Series, cells: pl.Series) -> tuple[float, float | None, float | None]:
    """Mean of the means of cells with its interval, or of the values of one cell."""
    frame = pl.DataFrame({"value": values, "cell": cells})
    if cells.n_unique() == 1:
        return mean_interval(values.to_numpy())
    means = frame.group_by("cell", maintain_order=True).agg(pl.col("value").mean())
    return mean_interval(np.asarray(means["value"]))
