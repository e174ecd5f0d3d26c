"""Last checkpoints at every precision, drawn against the bits of a weight."""

from __future__ import annotations

import polars as pl

from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import BITS, Table
from study.store.reference import CONTROL, TUNED


def has_bits(table: Table) -> bool:
    """Whether rows say how many bits a weight takes."""
    return BITS in table.frame.columns and table.frame[BITS].drop_nulls().n_unique() > 1


def at_all_precisions(table: Table) -> pl.DataFrame:
    """Last checkpoints at every precision, with the column `tuned`.

    It says whether weights were fine-tuned after the training.
    """
    precision = pl.col(str(table.roles.precision))
    tuned = pl.any_horizontal(
        precision == CONTROL, *(precision.str.starts_with(prefix) for prefix in TUNED)
    )
    rows = pl.concat([final_rows(table, name) for name in precisions(table)])
    return rows.drop_nulls(BITS).with_columns(tuned.alias("tuned"))
