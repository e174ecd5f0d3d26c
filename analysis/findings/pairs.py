"""Trainings measured at two precisions, one row a training.

Which precisions are compared is decided here, too.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import REFMEANS, Table
from study.store.reference import CONTROL, TUNED


def comparisons(table: Table) -> list[tuple[str, str]]:
    """Pairs (precision, baseline) in the order of the table.

    qat-* and efqat-* are compared with ft-fp32 where the table has it; they and all others with
    the reference precision.
    """
    names = precisions(table)
    controlled = TUNED if CONTROL in names else ()
    return [(name, CONTROL if name.startswith(controlled) else names[0]) for name in names[1:]]


def with_training(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The precisions whose change holds that of further training.

    That of ft-fp32 is nothing else.

        >>> with_training([("int2", "fp32"), ("qat-int2", "fp32"), ("ft-fp32", "fp32")])
        ['qat-int2']
    """
    return [name for name, base in pairs if name.startswith(TUNED) and not fine_tuned(base)]


def fine_tuned(precision: str) -> bool:
    """Whether weights were trained on before they were measured at this precision."""
    return precision == CONTROL or precision.startswith(TUNED)


def paired(table: Table, precision: str, baseline: str) -> pl.DataFrame:
    """One row per training measured at both precisions.

    Columns of the baseline have their names, those at `precision` the suffix `_q`.
    """
    key, before = table.roles.unit, final_rows(table, baseline)
    if baseline == precisions(table)[0]:
        # At the reference precision a metric with that precision's class means is the metric
        # itself.
        own_means = [
            name
            for name in before.columns
            if name.endswith(REFMEANS) and name.removesuffix(REFMEANS) in before
        ]
        before = before.with_columns(
            pl.coalesce(name, name.removesuffix(REFMEANS)).alias(name) for name in own_means
        )
    return before.join(final_rows(table, precision), on=key, how="inner", suffix="_q").sort(key)
