"""What lies on disk: a run directory as its store has it, or the file of a table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from analysis.reading.foreign import WORKBOOK, is_text, read_text, read_workbook
from analysis.reading.numbers import Mark
from analysis.reading.table import CLASS_VALUES, ROW, SCALED_NORM, AnalysisError, DataSet
from study.store.places import is_object

if TYPE_CHECKING:
    from study.store import Store

CLASS_COLUMNS = (
    "precision",
    "class",
    "name",
    "count",
    *(name for name in CLASS_VALUES if name != SCALED_NORM),
)


def read_run(path: Path) -> tuple[pl.DataFrame, dict[str, dict[str, Any]], pl.DataFrame]:
    """Rows of the cells that the study asks for now, in its order.

    Beside them the metadata of the metrics, and the settings of those cells.
    """
    from study.store import Store, StoreError

    store = Store(path)
    try:
        planned = store.planned()
        rows = store.read(planned["cell"])
        return (
            planned.select("cell").join(rows, on="cell", maintain_order="left"),
            store.metrics(),
            planned,
        )
    except StoreError as error:
        raise AnalysisError(str(error)) from None


def read_data(path: Path) -> tuple[tuple[DataSet, ...], dict[str, pl.DataFrame]]:
    """The data sets of a run and its class tables.

    A data set is named by the settings in which it differs from the others.
    """
    from study.store import Store, StoreError

    store = Store(path)
    try:
        records = store.data()
    except StoreError as error:
        raise AnalysisError(str(error)) from None
    names = dict.fromkeys(name for record in records for name in record.settings)
    differing = [
        name for name in names if len({repr(record.settings.get(name)) for record in records}) > 1
    ]
    data_sets = []
    for record in records:
        label = ", ".join(
            f"{name} {record.settings[name]}" for name in differing if name in record.settings
        )
        alone = str(record.settings.get("source", record.settings["kind"]))
        data_sets.append(DataSet(label or alone, record.settings, record.facts, record.classes))
    data_sets.sort(key=lambda data: [_order(data.settings.get(name)) for name in differing])
    return tuple(data_sets), _class_tables(store)


def _class_tables(store: Store) -> dict[str, pl.DataFrame]:
    try:
        tables = store.class_tables()
    except pl.exceptions.PolarsError as error:
        raise AnalysisError(
            f"{store.paths.class_tables}: a file there is no table of classes: {error}"
        ) from None
    for name, frame in tables.items():
        if lacking := [column for column in CLASS_COLUMNS if column not in frame.columns]:
            path = store.paths.class_tables / f"{name}.parquet"
            hint = "`collapse-study measure CHECKPOINT --classes FILE` writes one"
            raise AnalysisError(
                f"{path}: is no table of classes, it has no column {lacking[0]!r}; {hint}"
            )
    return {name: _with_scaled_norm(frame) for name, frame in tables.items()}


def _with_scaled_norm(frame: pl.DataFrame) -> pl.DataFrame:
    """A table of classes with the column, null where it was not measured."""
    if SCALED_NORM in frame.columns:
        return frame
    return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(SCALED_NORM))


def _order(value: object) -> tuple[float, str]:
    """Sort key of settings: numbers by value, then all others by their text."""
    return (float(value), "") if isinstance(value, int | float) else (math.inf, str(value))


def read_file(
    path: Path, decimal: Mark | None = None
) -> tuple[pl.DataFrame, dict[str, dict[str, Any]]]:
    """The table of a file and the metric metadata that a parquet file may carry.

    Its column `ROW` says where each row stands in the file. `decimal` is the mark of its numbers,
    where it does not tell it.
    """
    if is_object(path):
        raise AnalysisError(f"{path}: there is no run there; a table is read from a folder")
    if not path.exists():
        raise AnalysisError(f"{path}: no such file or run directory")
    if is_text(path):
        return read_text(path, decimal), {}
    if path.suffix.lower() == WORKBOOK:
        return read_workbook(path, decimal), {}
    if path.suffix.lower() != ".parquet":
        raise AnalysisError(
            f"{path}: is neither a run directory nor a table: .csv, .tsv or .txt (also .gz), .xlsx "
            "or .parquet"
        )
    try:
        metadata = pl.read_parquet_metadata(path)
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise AnalysisError(f"{path}: cannot be read: {error}") from None
    return with_places(frame), json.loads(metadata.get("metrics", "{}"))


def with_places(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with their number, from 1, in the column `ROW`."""
    places = pl.format("row {}", pl.int_range(1, pl.len() + 1)).alias(ROW)
    return frame.with_columns(places)
