"""What is drawn along the axes of the grid: axes, panels, and what these lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from analysis.reading.table import Table

MOST_PANELS = 4  # levels of an axis that has panels of its own


def swept(table: Table, rows: pl.DataFrame) -> list[str]:
    """Axes of numbers that vary."""
    return [
        axis
        for axis in table.roles.axes
        if rows[axis].dtype.is_numeric() and rows[axis].n_unique() > 1
    ]


def facet_of(table: Table, rows: pl.DataFrame, along: str) -> str | None:
    """The axis whose levels have panels of their own, beside that of the lines.

    Two others are told by colour and style; of three and more the one with the fewest levels has
    panels, the last of the table where several have as few. None where it has too many levels.
    """
    counts = {
        axis: rows[axis].n_unique()
        for axis in reversed(table.roles.axes)
        if axis != along and rows[axis].n_unique() > 1
    }
    if len(counts) < 3:
        return None
    facet = min(counts, key=lambda axis: counts[axis])
    return facet if counts[facet] <= MOST_PANELS else None


def levels_of(rows: pl.DataFrame, facet: str | None) -> list[Any]:
    """Levels of `facet` in order, each with panels of its own; [None] without one."""
    return rows[facet].unique().sort(nulls_last=True).to_list() if facet else [None]


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
