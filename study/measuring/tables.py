"""A measured checkpoint as tables: on a terminal and as parquet files."""

from __future__ import annotations

import json
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from study.data import Dataset
from study.measuring.standalone import Measured
from study.settings.faults import Fault, StudyError
from study.store.atomic import write_atomically
from study.store.sealed import seal

if TYPE_CHECKING:
    import polars as pl

    from study.measuring.collect import Measurement
    from study.models.base import FeatureModel

SHARES = {"agreement": "agreed", "ncc_accuracy": "own", "accuracy": "correct"}
"""Columns of a class table that are shares of the class's samples -> the count of each."""


def metrics_table(measured: Measured) -> Table:
    """A line per column that has a value, a column per precision.

    It shows the head's input alone, not the inner layers.
    """
    from study.metrics.table import METRICS

    rows = _of_head_input(measured)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("column")
    for row in rows:
        table.add_column(row["precision"], justify="right")
    for column in METRICS:
        if any(isinstance(row.get(column), int | float) for row in rows):
            table.add_row(column, *(_number(row.get(column)) for row in rows))
    return table


def undefined_columns(measured: Measured) -> dict[str, str]:
    """Columns of the head's input without a value, and why."""
    reasons: dict[str, str] = {}
    for row in _of_head_input(measured):
        reasons |= json.loads(row["undefined"] or "{}")
    return reasons


def write_rows(measured: Measured, path: Path) -> int:
    """Write the rows as a sealed parquet file; their number."""
    from study.metrics.table import METRICS

    metadata = {name: asdict(metric) for name, metric in METRICS.items()}
    write_atomically(path, seal(measured.rows, {}, metadata))
    return len(measured.rows)


def write_classes(measured: Measured, path: Path) -> int:
    """Write one row per precision and measured class; their number. Raises StudyError."""
    import polars as pl

    least = measured.measure.min_count
    frames = [
        class_frame(measured.measurements[name], model, measured.data, least).insert_column(
            0, pl.lit(name).alias("precision")
        )
        for name, model in measured.models.items()
    ]
    buffer = BytesIO()
    pl.concat(frames).write_parquet(buffer)
    write_atomically(path, buffer.getvalue())
    return sum(map(len, frames))


def class_frame(
    measurement: Measurement, model: FeatureModel, data: Dataset, min_count: int
) -> pl.DataFrame:
    """One row per measured class: `per_class`, its name, its decisions.

    `agreement`, `ncc_accuracy` and `accuracy` are the shares of the class's own validation samples,
    null where it has none. Raises StudyError where there are no values by class: fewer than two
    measured classes, or numbers that are not finite.
    """
    import polars as pl

    from study.metrics import MomentsError, per_class

    try:
        columns = per_class(measurement.moments, model.head_rows[0], min_count=min_count).columns()
    except MomentsError as error:
        fix = "Lower --min-count, measure more samples, or leave --classes out"
        raise StudyError([Fault("--classes", str(error), fix)], source="command line") from error
    frame = pl.DataFrame(columns)
    decisions = measurement.decisions
    assert decisions is not None
    index = frame["class"].to_list()
    counts = {name: getattr(decisions, name)[index].tolist() for name in SHARES.values()}
    samples = decisions.samples[index].tolist()
    shares = {
        column: [hits / n if n else None for hits, n in zip(counts[name], samples, strict=True)]
        for column, name in SHARES.items()
    }
    names = [data.class_names[number] for number in index]
    return frame.with_columns(
        pl.Series("name", names),
        pl.Series("val_samples", samples),
        *(pl.Series(name, values, dtype=pl.Float64) for name, values in shares.items()),
    )


def _of_head_input(measured: Measured) -> list[dict[str, Any]]:
    return [row for row in measured.rows if row["layer"] is None]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
