"""Trainings that end above their best: an earlier checkpoint had less val_loss."""

from __future__ import annotations

import polars as pl

from analysis.reading.selection import at_reference
from analysis.reading.table import Table

LOSS = "val_loss"


def can_tell(table: Table) -> bool:
    """Whether the table has val_loss at more than one checkpoint of some training."""
    order, rows = table.roles.order, at_reference(table)
    return (
        order is not None and LOSS in rows.columns and len(rows) > rows[table.roles.unit].n_unique()
    )


def overfitted(table: Table) -> pl.DataFrame:
    """Every training with its best and its last checkpoint, and whether they differ.

    Of equal losses the earlier is the best.

    Columns: training, the axes, checkpoints, best_epoch, best_loss, last_epoch, last_loss, excess =
    last_loss - best_loss, flagged.
    """
    roles = table.roles
    order, unit = roles.order, roles.unit
    assert order is not None
    rows = at_reference(table).drop_nulls(LOSS).sort(unit, order)
    seed = [roles.seed] if roles.seed is not None else []
    return (
        rows.group_by(unit, maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in (*roles.axes, *seed)),
            pl.len().alias("checkpoints"),
            pl.col(order).get(pl.col(LOSS).arg_min()).alias("best_epoch"),
            pl.col(LOSS).min().alias("best_loss"),
            pl.col(order).last().alias("last_epoch"),
            pl.col(LOSS).last().alias("last_loss"),
        )
        .rename({unit: "training"})
        .with_columns((pl.col("last_loss") - pl.col("best_loss")).alias("excess"))
        .with_columns((pl.col("excess") > 0).alias("flagged"))
        .sort("excess", "training", descending=[True, False])
    )
