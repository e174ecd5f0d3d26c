"""What the page tells of a training where a point of it is asked for."""

from __future__ import annotations

from typing import Any

import polars as pl

from analysis.figures.looks import level_text
from analysis.reading.selection import at_reference
from analysis.reading.table import Table
from study.columns import noun

DIGITS = 4  # significant ones of a curve, which no screen resolves further


def names(table: Table) -> dict[Any, int]:
    """The number of each training of a table."""
    units = table.frame[table.roles.unit].unique().sort().to_list()
    return {name: number for number, name in enumerate(units)}


def trainings(table: Table) -> dict[str, Any]:
    """Settings and curves of all trainings, by their numbers, as plain values.

    `axes` has the levels of each setting and the place among them of each training. `curves` has
    for each training its checkpoints at the reference precision (`along`, where the table has
    their order) and the `values` of each of `columns`, null where one lacks.
    """
    roles = table.roles
    numbers = names(table)
    first = table.frame.unique(roles.unit, keep="first", maintain_order=True).sort(roles.unit)
    settings = [*roles.axes, *([roles.seed] if roles.seed is not None else [])]
    losses = ("val_loss", "train_loss")
    columns = [
        name
        for name in dict.fromkeys([roles.response, *losses, *roles.primary])
        if name in table.frame.columns and table.frame[name].dtype.is_numeric()
    ]
    along = [roles.order] if roles.order is not None else []
    rows = at_reference(table).sort(roles.unit, *along)
    curves = rows.group_by(roles.unit, maintain_order=True).agg(
        *[pl.col(name).alias("along") for name in along],
        *[_rounded(name).alias(f"value {name}") for name in columns],
    )
    by_name = {row[roles.unit]: row for row in curves.to_dicts()}
    return {
        "names": [str(name) for name in numbers],
        "axes": [_axis(first[name]) for name in settings],
        "order": noun(roles.order) if roles.order is not None else "",
        "columns": [noun(name) for name in columns],
        "curves": [_curve(by_name.get(name, {}), columns) for name in numbers],
    }


def _axis(column: pl.Series) -> dict[str, Any]:
    """A setting: its name, its levels in order, and which of them each training has."""
    levels = column.unique().sort(nulls_last=True).to_list()
    place = {level: number for number, level in enumerate(levels)}
    return {
        "name": noun(column.name),
        "levels": [level_text(level) for level in levels],
        "of": [place[level] for level in column.to_list()],
    }


def _curve(row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """The checkpoints of a training and what was measured at them."""
    return {
        "along": row.get("along", []),
        "values": [row.get(f"value {name}", []) for name in columns],
    }


def _rounded(name: str) -> pl.Expr:
    """A column by its first digits; null where it is no number."""
    values = pl.col(name).cast(pl.Float64)
    return pl.when(values.is_finite()).then(values.round_sig_figs(DIGITS))
