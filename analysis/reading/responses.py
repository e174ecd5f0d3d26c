"""Whether a column that is asked for can be a response."""

from __future__ import annotations

import polars as pl

from analysis.reading.table import AnalysisError, Roles, shown
from study.store.reference import reference_precision


def check_response(rows: pl.DataFrame, kept: pl.DataFrame, roles: Roles, source: str) -> None:
    """Raise AnalysisError for a response that says nothing of trainings.

    That is one without a value at the reference precision, where tables of trainings are made, or
    with the same value everywhere there. `kept` are the `rows` that have a response.
    """
    where, part = "", kept
    if roles.precision is not None:
        reference = reference_precision(rows[roles.precision].cast(pl.String).unique().to_list())
        where = f" at {reference}, where trainings are compared"
        part = kept.filter(pl.col(roles.precision) == reference)
    remedy = "name another with --response"
    if part.is_empty():
        raise AnalysisError(f"{source}: {roles.response!r} has no value{where}; {remedy}")
    values, trainings = part[roles.response].unique(), part[roles.unit].n_unique()
    if trainings > 1 and len(values) == 1:
        raise AnalysisError(
            f"{source}: {roles.response!r} is {shown(values[0])} in all {trainings} "
            f"trainings{where}; {remedy}"
        )
