"""The rows that an analysis uses.

One precision, the last checkpoint, trainings alike but for the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from analysis.reading.table import PARTS_OF_SEED, Table
from study.store.reference import reference_precision


def precisions(table: Table) -> list[str]:
    """Precisions of the table, the reference first; [] without the role.

    The others stand in the order of the table.
    """
    if table.roles.precision is None:
        return []
    names: list[str] = table.frame[table.roles.precision].unique(maintain_order=True).to_list()
    reference = reference_precision(names)
    return [reference, *(name for name in names if name != reference)]


def at_reference(table: Table) -> pl.DataFrame:
    """All checkpoints at the reference precision."""
    names, roles = precisions(table), table.roles
    return (
        table.frame.filter(pl.col(roles.precision) == names[0])
        if roles.precision and names
        else table.frame
    )


def final_rows(table: Table, precision: str | None = None) -> pl.DataFrame:
    """One row per training, sorted: its last checkpoint at `precision`.

    By default at the reference precision.

    The last checkpoint is that of the training, whatever the precision: where the response does not
    exist at this one (logits that overflow in fp16), the training is left out; an earlier
    checkpoint would be compared with a later one. Checkpoints and precisions of a training are
    never counted as independent rows.
    """
    frame, roles = table.frame, table.roles
    if roles.order is not None:
        last = pl.col(roles.order).max().over(roles.unit)
        frame = frame.filter(pl.col(roles.order) == last)
    if roles.precision is not None:
        chosen = precision or precisions(table)[0]
        frame = frame.filter(pl.col(roles.precision) == chosen)
    return frame.sort(roles.unit)


def telling(rows: pl.DataFrame, axes: Sequence[str]) -> list[str]:
    """Axes that tell rows apart which those before them do not.

    >>> rows = pl.DataFrame({"data": ["a", "b"], "model": ["x", "y"], "width": [8, 8]})
    >>> telling(rows, ["data", "model", "width"])
    ['data']
    """
    chosen: list[str] = []
    for name in axes:
        before = rows.select(chosen).n_unique() if chosen else 1
        if rows.select(*chosen, name).n_unique() > before:
            chosen.append(name)
    return chosen


def replicates(
    table: Table, rows: pl.DataFrame, least: int
) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """Groups of trainings that differ in their seed alone, with what they share.

    A group has at least `least` trainings. Where that many of them also share one part of the
    seed, the start or the order of the data, the others are left out: one source of chance is
    taken at a time.
    """
    axes = list(table.roles.axes)
    groups = (
        rows.partition_by(axes, as_dict=True, include_key=True, maintain_order=True)
        if axes
        else {(): rows}
    )
    results = []
    for key, group in groups.items():
        part, settings = group, dict(zip(axes, key, strict=True))
        for name in PARTS_OF_SEED:
            if name in part.columns and part[name].n_unique() > 1:
                value, count = (
                    part.group_by(name).len().sort("len", name, descending=[True, False]).row(0)
                )
                if count >= least:
                    part, settings = part.filter(pl.col(name) == value), {**settings, name: value}
        if len(part) >= least:
            results.append((settings, part))
    return results
