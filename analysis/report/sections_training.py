"""Sections about the course of training: curves, overfitting, layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.curves import collapse_curves
from analysis.figures.layers import depth_profile
from analysis.findings.checkpoints import checkpoints as pooled
from analysis.findings.checkpoints import lead
from analysis.findings.curves import (
    course,
    first_and_last,
    floors,
    several_checkpoints,
    zero_error,
)
from analysis.findings.layers import layer_rows, layer_table
from analysis.findings.overfitting import can_tell, overfitted
from analysis.reading.groups import told_apart
from analysis.reading.selection import at_reference
from analysis.reading.table import ABOVE_FLOOR
from analysis.report.columns import CHECKPOINTS, COURSE, LEAD, layers, overfitting
from analysis.report.exhibits import (
    Context,
    Exhibit,
    Section,
    at_precision,
    counted,
)
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import TableExhibit, number

OF_LAYERS = ("geodesic_deviation",)  # columns that inner layers alone have
BESIDE = ("train_loss", "val_loss", ABOVE_FLOOR, "train_accuracy", "val_accuracy")


def training(context: Context) -> Section | None:
    """Collapse curves: every metric over epochs, loss and accuracy beside."""
    table = context.table
    if not several_checkpoints(table):
        return None
    beside = tuple(name for name in BESIDE if name in table.frame.columns)
    if table.roles.response not in beside:
        beside = (table.roles.response, *beside)
    others = tuple(name for name in table.roles.metrics if name not in context.headline)
    trainings = table.frame[table.roles.unit].n_unique()
    reached = zero_error(table)
    if reached is None:
        terminal = "The table does not say when a training reached zero training error."
    elif reached.is_empty():
        terminal = "No training reached zero training error, where the terminal phase would begin."
    else:
        median = float(np.median(reached["epoch"].to_numpy()))
        terminal = (
            f"{len(reached)} of {counted(trainings)} reached zero error on the training split, "
            "where the terminal phase begins (a star at the first checkpoint at or after it): "
            f"after {median:g} epochs (median)."
        )
    caption = (
        f"All checkpoints of {counted(trainings)}{at_precision(table)}; a line per "
        f"configuration, the median of the trainings that differ in their seed alone. {terminal}"
    )
    checkpoints = at_reference(table)
    floor = floors(checkpoints)
    if len(floor) == 1:
        caption += (
            f" The dashed line is the least expected loss of any model, {number(floor[0])} nats."
        )
    ends = first_and_last(table)

    def curves(columns: Sequence[str]) -> Figure:
        return collapse_curves(
            checkpoints,
            table.roles,
            columns,
            axes=told_apart(table),
            floor=floor[0] if len(floor) == 1 else None,
        )

    exhibits: list[Exhibit] = [
        FigureExhibit(
            "curves",
            "Loss, accuracy and collapse over training",
            caption,
            partial(curves, (*beside, *context.headline)),
        ),
        TableExhibit(
            "training",
            "How far each metric went",
            f"{counted(len(ends))} with several checkpoints{at_precision(table)}; first against "
            "last checkpoint.",
            course(table),
            COURSE,
            more=context.more,
        ),
    ]
    if others:
        title = "The other metrics over training"
        exhibits.append(
            FigureExhibit("curves_more", title, caption, partial(curves, others), folded=True)
        )
    return Section(
        "training",
        "Collapse over training",
        (
            "The metrics at every checkpoint measured, from the untrained model on where it was "
            "measured.",
        ),
        tuple(exhibits),
    )


def checkpoints(context: Context) -> Section | None:
    """Association over training, and whose change comes first."""
    table = context.table
    lines = pooled(table, context.choices)
    if lines.is_empty():
        return None
    first = lines.row(0, named=True)
    exhibits = [
        TableExhibit(
            "checkpoints",
            "Association over training",
            f"Checkpoints{at_precision(table)} of {counted(first['trainings'])} that share their "
            f"design cell with another; response {table.roles.response}. Both columns are centred "
            "by design cell and epoch. Beside it the r of all checkpoints pooled, whose null is "
            f"what time alone gives. {context.seeds}.",
            lines,
            CHECKPOINTS,
            more=context.more,
        )
    ]
    following = lead(table, context.choices)
    if len(following):
        count = counted(max(following["trainings"]))
        exhibits.append(
            TableExhibit(
                "lead",
                "What moves first",
                f"A change from one checkpoint to the next against the change that follows it, "
                f"{count}{at_precision(table)}; response {table.roles.response}. Each order is a "
                f"family of its own. {context.seeds}.",
                following,
                LEAD,
                more=context.more,
                folded=True,
            )
        )
    return Section(
        "checkpoints",
        "Together over training",
        (
            "Metric and response both change as a training goes on, which alone makes them "
            "correlate. So what all trainings of a design cell have in common at an epoch is "
            "taken out, and whole trainings are exchanged inside their cell: their checkpoints "
            "are not independent.",
            "A change that comes before another is no cause of it: the table of what moves first "
            "has both orders.",
        ),
        tuple(exhibits),
    )


def overfit(context: Context) -> Section | None:
    """Trainings with a better checkpoint before the last."""
    table, roles = context.table, context.table.roles
    exhibits: list[Exhibit] = []
    text: list[str] = []
    if can_tell(table):
        trainings = overfitted(table)
        flagged = int(trainings["flagged"].sum())
        several = counted(len(trainings.filter(pl.col("checkpoints") > 1)))
        text.append(
            f"{flagged or 'None'} of {several} with several checkpoints had a lower val_loss at "
            f"an earlier one{' and are flagged as overfitted' if flagged else ''}."
        )
        exhibits.append(
            TableExhibit(
                "overfitting",
                "Best and last checkpoint of each training",
                f"{counted(len(trainings))}{at_precision(table)}, those with the largest "
                "excess first.",
                trainings,
                overfitting(roles.axes, roles.seed),
                folded=True,
            )
        )
    if not exhibits:
        return None
    return Section("overfitting", "Overfitting", tuple(text), tuple(exhibits))


def layer(context: Context) -> Section | None:
    """The metrics of every layer, where the run measured them."""
    table = context.table
    if table.layers is None:
        return None
    rows = layer_rows(table)
    columns = tuple(
        name
        for name in context.headline
        if rows.filter(rows["layer"] != "")[name].drop_nulls().len()
    )
    inner = tuple(
        name
        for name in columns
        if rows[name].null_count() < len(rows) - rows[table.roles.unit].n_unique()
    )
    known = [name for name in OF_LAYERS if name in rows.columns and rows[name].count()]
    columns = (*(inner or columns), *known)
    used = (
        f"{counted(rows[table.roles.unit].n_unique())}, last checkpoint{at_precision(table)}; "
        "medians over trainings."
    )
    return Section(
        "layers",
        "Collapse through the layers",
        (
            "The same metrics of the features of each layer, from the first block to the input "
            "of the head.",
        ),
        (
            FigureExhibit(
                "layers",
                "Depth profile",
                f"{used} A line per configuration.",
                partial(depth_profile, rows, table.roles, columns, axes=told_apart(table)),
            ),
            TableExhibit(
                "layers",
                "Layer by layer",
                used,
                layer_table(rows, columns),
                layers(columns),
                folded=True,
            ),
        ),
    )
