"""The section about when trainings fit, generalize and collapse."""

from __future__ import annotations

from functools import partial

import polars as pl

from analysis.figures.epochs_at import time_scales
from analysis.findings.epochs_at import FITTED, EpochAt, TrainingEpoch, training_epochs
from analysis.findings.epochs_at import epochs_at as epochs_of
from analysis.report.columns import columns_of
from analysis.report.exhibits import Context, Exhibit, Section, at_precision, counted
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import (
    Column,
    TableExhibit,
    called,
    number,
    short,
    signed_number,
    whole,
    worded,
)

EPOCHS_AT = columns_of(
    EpochAt,
    Column("column", "metric", called),
    Column("event", "event"),
    Column("trainings", "trainings", whole),
    Column("reached it", "reached", whole, hint="trainings; all others are in no mean"),
    Column("design cells", "cells", whole, hint="with a training that reached it"),
    Column("epoch", "epoch", number, hint="mean over design cells"),
    Column("95% interval", "low", number, "high"),
    Column("gap to fitting", "gap", signed_number, hint="epochs after zero training error"),
    Column("95% interval of the gap", "gap_low", signed_number, "gap_high"),
    Column("reached both", "gaps", whole, hint="trainings"),
    Column("note", "note", worded),
)
OF_TRAININGS = columns_of(
    TrainingEpoch,
    Column("training", "training", short),
    Column("column", "metric", called),
    Column("event", "event"),
    Column("epoch", "epoch", number),
    Column("note", "note", worded),
)


def epochs_at(context: Context) -> Section | None:
    """The epoch of zero error, of the best loss, and of each metric's collapse."""
    table = context.table
    lines = epochs_of(table)
    if lines.is_empty():
        return None
    trainings = training_epochs(table)
    used = (
        f"{counted(trainings['training'].n_unique())} with several checkpoints"
        f"{at_precision(table)}. Epochs are interpolated on a line between checkpoints"
    )
    exhibits: list[Exhibit] = [
        TableExhibit(
            "epochs_at",
            "Epoch at which",
            f"{used}. Means over design cells of the trainings that reached the event, intervals "
            "by Student's t over design cells (over trainings where there is one cell).",
            lines,
            EPOCHS_AT,
        ),
        TableExhibit(
            "epochs_at_trainings",
            "Epoch at which, training by training",
            f"{used}.",
            trainings,
            OF_TRAININGS,
            folded=True,
        ),
    ]
    reached = lines.filter(pl.col("epoch").is_not_null())
    if len(reached):
        figure = FigureExhibit(
            "epochs_at",
            "Time scales of fitting and of collapse",
            f"{used}; the dashed line is the mean epoch of {FITTED}. An event that no training "
            "reached has no row.",
            partial(time_scales, reached, trainings, FITTED),
        )
        exhibits.insert(0, figure)
    text = (
        "When trainings fit their samples, when they generalize, and when each primary metric has "
        "gone half its way. Where the gap between the two is long, as under grokking, collapse "
        "belongs to one of two time scales."
    )
    return Section("epochs_at", "When it fits and when it collapses", (text,), tuple(exhibits))
