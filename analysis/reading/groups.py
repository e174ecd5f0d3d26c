"""Trainings that differ in their seed alone, as the medians of one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from analysis.reading.table import Table


def told_apart(table: Table) -> tuple[str, ...]:
    """The axes that vary, in the order in which figures tell them apart.

    Those of the architecture come first.
    """
    varying = [axis for axis in table.roles.axes if table.frame[axis].n_unique() > 1]
    first = [axis for axis in table.roles.architecture if axis in varying]
    return tuple(dict.fromkeys([*first, *varying]))


def medians(
    rows: pl.DataFrame, settings: Sequence[str], along: str, columns: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """For each point of `settings`: the point, and medians of `columns`.

    There is a row for each value of `along`, sorted by it.
    """
    keys = list(settings)
    points = (
        rows.group_by([*keys, along], maintain_order=True)
        .agg(pl.col(name).median() for name in dict.fromkeys(columns))
        .sort([*keys, along], nulls_last=True)
    )
    if not keys:
        yield {}, points
        return
    for key, part in points.partition_by(keys, as_dict=True, maintain_order=True).items():
        yield dict(zip(keys, key, strict=True)), part
