"""Progressive collapse: the metrics of every layer, up to the input of the head."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from analysis.reading.selection import final_rows
from analysis.reading.table import Table
from study.store import HEAD_INPUT


def layer_rows(table: Table) -> pl.DataFrame:
    """Rows of inner layers and of the head's input, with their `place`.

    Those of the last checkpoint at the reference precision.

    `layer` names the layer; `place` counts from 1, in the order of the names' numbers; the head's
    input is the last.
    """
    assert table.layers is not None
    last, roles = final_rows(table), table.roles
    keys = [name for name in (roles.unit, roles.order, roles.precision) if name is not None]
    inner = table.layers.join(last.select(keys), on=keys, how="semi").with_columns(
        pl.col("layer").cast(pl.String)
    )
    last = last.drop("layer", strict=False).with_columns(pl.lit(HEAD_INPUT).alias("layer"))
    rows = pl.concat(
        [inner, last.filter(pl.col(roles.unit).is_in(inner[roles.unit].to_list()))],
        how="diagonal_relaxed",
    )
    places: dict[tuple[str, str], int] = {}
    for unit, names in rows.group_by(roles.unit).agg("layer").rows():
        ordered = sorted((name for name in names if name != HEAD_INPUT), key=_natural)
        places |= {
            (unit, name): place for place, name in enumerate([*ordered, HEAD_INPUT], start=1)
        }
    numbers = [places[key] for key in rows.select(roles.unit, "layer").rows()]
    return rows.with_columns(pl.Series("place", numbers, dtype=pl.Int64)).sort(roles.unit, "place")


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts block 2 before block 10."""
    return tuple(
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)
    )


def layer_table(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Medians of the metrics over trainings for each layer, in order of place.

    Columns: place, layer, trainings, the metrics.
    """
    return (
        rows.group_by("place", "layer")
        .agg(pl.len().alias("trainings"), *(pl.col(name).median() for name in columns))
        .sort("place", "layer")
    )
