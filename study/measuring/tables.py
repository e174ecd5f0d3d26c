"""A measured checkpoint as tables: on a terminal and as parquet files."""

from __future__ import annotations

import json
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

from rich.table import Table

from study.columns import metrics_among
from study.measuring.standalone import Measured
from study.store import is_main
from study.store.atomic import write_atomically
from study.store.sealed import seal

MOST_OF_A_REASON = 20
"""Undefined columns of one reason that are listed by their names."""


def metrics_table(measured: Measured) -> Table:
    """A line per column that has a value, a column per precision, and attack.

    It shows the head's input alone, not the inner layers.
    """
    rows = [row for row in measured.rows if row["layer"] is None]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("column")
    for row in rows:
        attack = row.get("attack")
        name = row["precision"] if attack is None else f"{row['precision']} {attack}"
        table.add_column(name, justify="right")
    for column in metrics_among(rows[0]):
        if any(isinstance(row.get(column), int | float) for row in rows):
            table.add_row(column, *(_number(row.get(column)) for row in rows))
    return table


def undefined_columns(measured: Measured) -> list[str]:
    """What says which columns of the head's input, of clean samples, have no value.

    A line each with its reason, but one for a reason that more than `MOST_OF_A_REASON` share.
    """
    by_reason: dict[str, list[str]] = {}
    for row in filter(is_main, measured.rows):
        for column, reason in json.loads(row["undefined"] or "{}").items():
            columns = by_reason.setdefault(reason, [])
            columns += [column] if column not in columns else []
    lines = []
    for reason, columns in by_reason.items():
        if len(columns) > MOST_OF_A_REASON:
            lines.append(f"{len(columns)} columns are undefined: {reason}")
        else:
            lines += [f"{column} is undefined: {reason}" for column in columns]
    return lines


def write_rows(measured: Measured, path: Path) -> int:
    """Write the rows as a sealed parquet file; their number."""
    metrics = metrics_among(name for row in measured.rows for name in row)
    metadata = {name: asdict(metric) for name, metric in metrics.items()}
    write_atomically(path, seal(measured.rows, {}, metadata))
    return len(measured.rows)


def write_classes(measured: Measured, path: Path) -> int:
    """Write one row per precision and measured class; their number."""
    import polars as pl

    frames = [
        frame.insert_column(0, pl.lit(name).alias("precision"))
        for name, frame in measured.classes.items()
    ]
    buffer = BytesIO()
    pl.concat(frames).write_parquet(buffer)
    write_atomically(path, buffer.getvalue())
    return sum(map(len, frames))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
