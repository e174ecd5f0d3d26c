"""What is drawn along the axes of the grid: which axes, which panels, and what these lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from analysis.reading.table import Table

FACET = "weight_decay"


def swept(table: Table, rows: pl.DataFrame) -> list[str]:
    """Axes of numbers that vary, without the one that tells the panels apart."""
    return [
        axis
        for axis in table.roles.axes
        if rows[axis].dtype.is_numeric()
        and rows[axis].n_unique() > 1
        and axis != facet_of(table, rows)
    ]


def facet_of(table: Table, rows: pl.DataFrame) -> str | None:
    """weight_decay where it varies beside another axis of numbers: each of its values gets panels
    of its own."""
    numbers = [
        axis
        for axis in table.roles.axes
        if rows[axis].dtype.is_numeric() and rows[axis].n_unique() > 1
    ]
    return FACET if FACET in numbers and len(numbers) > 1 else None


def levels_of(rows: pl.DataFrame, facet: str | None) -> list[Any]:
    """The levels of `facet` in order, each of which gets panels of its own; [None] without one."""
    return rows[facet].unique().sort().to_list() if facet else [None]


def missing_points(table: Table, facet: str | None, levels: Sequence[Any]) -> dict[Any, int]:
    """Points of the grid without rows that belong to each level of `facet`."""
    return {
        level: sum(
            len(
                part.points
                if facet is None or facet not in part.points.columns
                else part.points.filter(pl.col(facet) == level)
            )
            for part in table.missing
        )
        for level in levels
    }
