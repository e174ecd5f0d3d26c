"""What is drawn along the axes of the grid: axes, panels, and what these lack."""

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
    """weight_decay, each value with panels of its own, beside another axis of numbers.

    None where it does not vary, or no other axis does.
    """
    numbers = [
        axis
        for axis in table.roles.axes
        if rows[axis].dtype.is_numeric() and rows[axis].n_unique() > 1
    ]
    return FACET if FACET in numbers and len(numbers) > 1 else None


def levels_of(rows: pl.DataFrame, facet: str | None) -> list[Any]:
    """Levels of `facet` in order, each with panels of its own; [None] without one."""
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
