"""Last checkpoints at every precision, drawn against the bits of a weight."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import BITS, Table
from study.store.methods import NEAREST, format_and_scope, method_and_format
from study.store.reference import CONTROL, TUNED


def has_bits(table: Table) -> bool:
    """Whether rows say how many bits a weight takes."""
    return BITS in table.frame.columns and table.frame[BITS].drop_nulls().n_unique() > 1


def at_all_precisions(table: Table) -> pl.DataFrame:
    """Last checkpoints at every precision, with the columns `tuned` and `curve`.

    `tuned`: whether weights were fine-tuned after the training. `curve`: whether a precision is
    only a matter of bits: rounded to nearest, and no part of a model of which the table has the
    whole at that format.
    """
    names = precisions(table)
    precision = pl.col(str(table.roles.precision))
    tuned = pl.any_horizontal(
        precision == CONTROL, *(precision.str.starts_with(prefix) for prefix in TUNED)
    )
    curve = [name for name in names if of_bits_alone(name, names)]
    rows = pl.concat([final_rows(table, name) for name in names])
    return rows.drop_nulls(BITS).with_columns(
        tuned.alias("tuned"), (precision.is_in(curve) & ~tuned).alias("curve")
    )


def of_bits_alone(name: str, names: Sequence[str]) -> bool:
    """Whether a precision rounds to nearest what `names` has of the model at most."""
    whole, scope = format_and_scope(name)
    return method_and_format(name)[0] == NEAREST and not (scope and whole in names)
