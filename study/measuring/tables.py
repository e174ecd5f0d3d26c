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


def undefined_columns(measured: Measured) -> dict[str, str]:
    """Columns of the head's input, of clean samples, without a value, and why."""
    reasons: dict[str, str] = {}
    for row in filter(is_main, measured.rows):
        reasons |= json.loads(row["undefined"] or "{}")
    return reasons


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
