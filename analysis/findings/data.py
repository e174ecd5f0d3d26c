"""What is known of the data sets, and how near trainings came to the least loss."""

from __future__ import annotations

import polars as pl

from analysis.reading.table import ABOVE_FLOOR, FLOOR, DataSet, Roles


def floor_table(rows: pl.DataFrame, roles: Roles) -> pl.DataFrame | None:
    """Trainings whose least expected loss is known, the closest first; None without.

    Columns: training, the axes, seed, entropy_floor, val_loss, their difference, and that
    difference as a share of the floor (null for a floor of 0).
    """
    if ABOVE_FLOOR not in rows.columns:
        return None
    seed = [roles.seed] if roles.seed is not None else []
    shown = rows.drop_nulls(ABOVE_FLOOR).select(
        pl.col(roles.unit).alias("training"), *roles.axes, *seed, FLOOR, "val_loss", ABOVE_FLOOR
    )
    share = pl.when(pl.col(FLOOR) > 0).then(pl.col(ABOVE_FLOOR) / pl.col(FLOOR)).alias("share")
    return None if shown.is_empty() else shown.with_columns(share).sort(ABOVE_FLOOR, "training")


def data_table(data: tuple[DataSet, ...]) -> pl.DataFrame:
    """One row per data set: `data`, its name, and its facts, null where it has none."""
    return pl.DataFrame(
        [{"data": each.name, **each.facts} for each in data], infer_schema_length=None
    )
