"""The store: rows of cells in checked parquet files, written once, atomically.

A cell is written to a file of its own; `study.store.folding` moves many into one part. The store
alone decides what is done.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from study.store.atomic import create, write_atomically, write_json
from study.store.errors import StoreError
from study.store.parts import (
    Parts,
    cell_frame,
    content_of,
    damaged_cell,
    damaged_file,
    metrics_in,
    table_of,
    while_files_move,
)
from study.store.paths import RunPaths
from study.store.places import at_hand, over, place, remove
from study.store.sealed import intact, seal

if TYPE_CHECKING:
    import polars as pl  # imported by those who read tables: its threads do not survive a fork

SCHEMA_VERSION = 1
SUBJECTS = ("layer", "attack")
"""What a row is about, if not the head's input of clean samples, of which both are null."""
ORDER = ("cell", "epoch", *SUBJECTS)
"""Columns by which rows are sorted."""
VOLATILE = ("seconds", "measured_from", "device", "host", "git_sha", "finished_at")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class DataRecord:
    """A data set of a run: recorded settings and facts, and a row per class.

    `classes` has the columns class, name, samples. It is None where the targets are vectors, where
    a run was begun before they were recorded, or where the file is damaged; a relaunch that trains
    or measures on the data writes it.
    """

    settings: Mapping[str, Any]
    facts: Mapping[str, str | int | float | None]
    classes: pl.DataFrame | None


def is_main(row: Row) -> bool:
    """Whether a row is about the head's input of clean samples."""
    return all(row.get(subject) is None for subject in SUBJECTS)


def joined(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The rows of tables whose columns may differ, tables with equal columns together."""
    import polars as pl

    alike: dict[tuple[Any, ...], list[pl.DataFrame]] = {}
    for frame in frames:
        alike.setdefault(tuple(frame.schema.items()), []).append(frame)
    return pl.concat(map(pl.concat, alike.values()), how="diagonal_relaxed")


def chosen(
    frame: pl.DataFrame,
    *,
    cells: Collection[str] | None = None,
    columns: Collection[str] | None = None,
) -> pl.DataFrame:
    """Rows of some cells and some columns of a table; None for all."""
    import polars as pl

    if columns is not None:
        frame = frame.select(name for name in frame.columns if name in columns or name in ORDER)
    return frame if cells is None else frame.filter(pl.col("cell").is_in(list(cells)))


def _stable(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What is the same of rows whenever they are measured, in an order of their own."""

    def place(row: Row) -> list[tuple[bool, Any]]:
        return [(row.get(name) is not None, row.get(name)) for name in ORDER]

    return [
        {k: v for k, v in row.items() if k not in VOLATILE and v is not None}
        for row in sorted(rows, key=place)
    ]


def _damaged_record(path: Path) -> bool:
    return _record(path) is None


def _record(path: Path) -> dict[str, Any] | None:
    """A failure record; None where the file is not what was written."""
    try:
        record: dict[str, Any] | None = json.loads(content_of(path))
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("cell") != path.stem:
        return None
    whole = all(isinstance(record.get(name), str) for name in ("cause", "message"))
    return record if whole else None


def _told(path: Path) -> dict[str, Any] | None:
    """A failure record, also of a damaged file; None where it was cleared just now."""
    damaged = {"cell": path.stem, "cause": "unknown", "message": f"{path} is damaged"}
    try:
        return _record(path) or damaged
    except FileNotFoundError:
        return None


class Store:
    """Rows and failures of a run directory.

    Several processes may write at a time: rows are created once, never replaced.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.paths = RunPaths(place(run_dir))
        self.parts = Parts(self.paths)

    def keys(self) -> set[str]:
        """Cells that have rows (single files by name alone; `verify` reads them)."""
        return self.single_keys() | self.parts.keys()

    def single_keys(self) -> set[str]:
        """Cells that have a file of their own."""
        return {path.stem for path in self.paths.cell_files()}

    def notice(self) -> str | None:
        """A warning of files among the cells that are none and count nothing."""
        copies = self.paths.copied_cells()
        if not copies:
            return None
        return (
            f"Warning: {len(copies)} files among the cells have no cell's name, as copies that "
            f"other programs make, and are left out: delete them ({copies[0]})"
        )

    def has(self, key: str) -> bool:
        """Whether a cell has rows."""
        return not self.missing([key])

    def missing(self, keys: Iterable[str]) -> set[str]:
        """Those of some cells that have no rows; one look at each, and one at the parts."""
        files = [self.paths.cell(key) for key in keys]
        there = over(files, lambda path: path.is_file())
        left = {path.stem for path, is_there in zip(files, there, strict=True) if not is_there}
        return left - self.parts.keys() if left else left

    def pending(self, keys: Iterable[str]) -> set[str]:
        """Those of some cells that have neither rows nor a record of a failure."""
        files = [self.paths.failure(key) for key in self.missing(keys)]
        failed = over(files, lambda path: path.is_file())
        return {path.stem for path, is_there in zip(files, failed, strict=True) if not is_there}

    def write(
        self,
        key: str,
        rows: Sequence[Row],
        *,
        types: Mapping[str, type] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write a cell's rows; False if the very same rows are there already.

        Raises StoreError if other rows are there, ValueError for no rows.
        """
        return key in self.write_all({key: rows}, types=types, metrics=metrics)

    def write_all(
        self,
        cells: Mapping[str, Sequence[Row]],
        *,
        types: Mapping[str, type] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> set[str]:
        """Write the rows of cells, each as by `write`; the keys of those that had none.

        Parts are looked at once, after all are written: a cell that another had written, and that
        was folded, is there twice until then, which counts once.
        """
        written = set()
        for key, rows in cells.items():
            if not rows:
                raise ValueError(f"cell {key}: there are no rows to write")
            if self._create(key, seal(rows, types or {}, metrics or {})):
                written.add(key)
        folded = written & self.parts.keys() if written else written
        new = written - folded
        remove(self.paths.cell(key) for key in folded)
        remove(self.paths.failure(key) for key in new)
        for key in cells.keys() - new:
            if _stable(self.rows(key)) != _stable(cells[key]):
                where = self.parts.find(key) or self.paths.cell(key)
                raise StoreError(
                    f"cell {key}: other rows are stored already in {where}; "
                    "they are kept, the new ones refused"
                )
        return new

    def _create(self, key: str, content: bytes) -> bool:
        """Write the file of a cell; False where one is there, or was and is folded by now."""
        path = self.paths.cell(key)
        while True:
            try:
                create(path, content)
            except FileExistsError:
                if not self._set_aside_if(damaged_cell, path) and path.exists():
                    return False
                if self.parts.find(key) is not None:
                    return False
            else:
                return True

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Rows of one cell."""
        return while_files_move(lambda: self._rows(key))

    def _rows(self, key: str) -> list[dict[str, Any]]:
        part = self.parts.find(key)
        with at_hand(self.paths.cell(key) if part is None else part) as file:
            table = table_of(file)
        if part is not None:
            table = table.filter(pc.field("cell") == key)
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def verify(self) -> list[Path]:
        """Set damaged files aside (into `damaged/`); returns where they lie now.

        Their cells count as not done.
        """
        return sorted([*self.verify_parts(), *self.verify_cells()])

    def verify_parts(self) -> list[Path]:
        """Set damaged parts aside."""
        return self._set_aside((damaged_file, self.parts.files()))

    def verify_cells(self) -> list[Path]:
        """Set damaged files of single cells and records of failures aside."""
        records = list(self.paths.failures.glob("[!.]*.json"))
        return self._set_aside((damaged_cell, self.paths.cell_files()), (_damaged_record, records))

    def _set_aside(self, *files: tuple[Callable[[Path], bool], list[Path]]) -> list[Path]:
        moved = [
            target
            for damaged, paths in files
            for target in over(paths, partial(self._set_aside_if, damaged))
        ]
        return sorted(target for target in moved if target is not None)

    def _set_aside_if(self, damaged: Callable[[Path], bool], path: Path) -> Path | None:
        """Move a damaged file; None if it is whole, or another launch has moved it."""
        try:
            if not damaged(path):
                return None
            self.paths.damaged.mkdir(parents=True, exist_ok=True)
            target = self.paths.damaged / f"{path.stem}.{secrets.token_hex(4)}{path.suffix}"
            path.replace(target)
        except FileNotFoundError:
            return None
        return target

    def read(
        self, keys: Iterable[str] | None = None, columns: Collection[str] | None = None
    ) -> pl.DataFrame:
        """Rows of all cells, or of `keys`, sorted by cell, epoch, layer and attack.

        A row is a cell at a checkpoint (and layer, or attack). `columns`: only these, where there
        are any, and those of the order.

        Raises StoreError where the run has no rows yet or a file is damaged.
        """
        wanted = None if keys is None else set(keys)
        frames = while_files_move(lambda: self._frames(wanted, columns))
        if not frames:
            raise StoreError(f"{self.paths.root}: there are no measured cells yet; {self._next()}")
        frame = joined(frames)
        order = [column for column in ORDER if column in frame.columns]
        return frame.sort(order, nulls_last=True)

    def _next(self) -> str:
        """What to do about a run without rows: of one that failed, why it did."""
        records = list(self.failures())
        if not records:
            return "run `collapse-study launch` first, or give the folder of a run"
        causes = ", ".join(sorted({str(record["cause"]) for record in records}))
        return (
            f"{len(records)} failed ({causes}; the first: {records[0]['message']}); "
            f"`collapse-study status {self.paths.root}` says more"
        )

    def _frames(
        self, keys: Collection[str] | None, columns: Collection[str] | None
    ) -> list[pl.DataFrame]:
        """Rows of cells, of all without `keys`, each once."""
        single, read, frames = self.single_keys(), set[str](), []
        for part in self.parts.files():
            held, rows = self.parts.opened(part)
            here = (held if keys is None else held & set(keys)) - read
            if here:
                some = None if here == held else here
                frames.append(chosen(rows(), cells=some, columns=columns))
                read |= here
        left = (single if keys is None else single & set(keys)) - read
        cells = [self.paths.cell(key) for key in sorted(left)]
        frames += (chosen(frame, columns=columns) for frame in over(cells, cell_frame))
        return frames

    def write_planned(
        self, cells: Sequence[Row], *, types: Mapping[str, type] | None = None
    ) -> None:
        """Record the cells of the study as launched last.

        A row has `cell`, `training` and the settings of the cell.
        """
        write_atomically(self.paths.planned, seal(cells, types or {}, {}))

    def planned(self) -> pl.DataFrame:
        """Cells of the study as launched last, in its order.

        A run keeps rows of earlier versions of its study too; reports leave them out.

        Raises StoreError where the record is missing or damaged; a relaunch writes it.
        """
        try:
            content = content_of(self.paths.planned)
        except FileNotFoundError:
            raise StoreError(
                f"{self.paths.root} is no run directory: it has no {self.paths.planned.name}"
            ) from None
        if not intact(content):
            raise StoreError(
                f"{self.paths.planned} is damaged; "
                f"`collapse-study launch {self.paths.root}` writes it anew"
            )
        import polars as pl

        return pl.read_parquet(BytesIO(content))

    def data(self) -> list[DataRecord]:
        """What was recorded of each data set of the run, in a fixed order.

        Raises StoreError for a damaged record.
        """
        records = []
        for path in sorted(self.paths.data("*").parent.glob("[!.]*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                settings, facts = record["settings"], record["facts"]
            except (ValueError, KeyError, TypeError):
                raise StoreError(
                    f"{path} is damaged: delete it; a relaunch writes it when it uses the data"
                ) from None
            records.append(DataRecord(settings, facts, self._classes(path.stem)))
        return records

    def _classes(self, settings: str) -> pl.DataFrame | None:
        import polars as pl

        path = self.paths.data_classes(settings)
        content = path.read_bytes() if path.exists() else b""
        return pl.read_parquet(BytesIO(content)) if intact(content) else None

    def class_tables(self) -> dict[str, pl.DataFrame]:
        """Tables of single classes that lie in the run, by the names of their files."""
        import polars as pl

        return {
            path.stem: pl.read_parquet(BytesIO(path.read_bytes()))
            for path in sorted(self.paths.class_tables.glob("[!.]*.parquet"))
        }

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Metadata of the metric columns, as stored with the rows.

        column -> family, direction, citation and so on.
        """
        return while_files_move(self._metrics)

    def _metrics(self) -> dict[str, dict[str, Any]]:
        files = [*self.paths.cell_files(), *self.parts.files()]
        newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
        return {} if newest is None else metrics_in(newest)

    def fail(self, key: str, record: Mapping[str, Any]) -> None:
        """Record why a cell has no rows. A success clears the record."""
        if not self.has(key):
            write_json(self.paths.failure(key), {"cell": key, **record})

    def failed(self, *, done: Collection[str] | None = None) -> set[str]:
        """Cells that have a failure record (by name alone) and no rows.

        `done`: the cells that have rows, where the caller has listed them already.
        """
        records = {path.stem for path in self.paths.failures.glob("[!.]*.json")}
        return records.difference(self.keys() if records and done is None else done or ())

    def failures(self) -> Iterator[dict[str, Any]]:
        """Records of the cells that failed.

        A damaged one has the cause `unknown`; a relaunch runs its cell again.
        """
        yield from filter(None, over(sorted(self.paths.failures.glob("[!.]*.json")), _told))

    def failures_of(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        """Records of those of some cells that failed and have no rows."""
        failed = self.failed().intersection(keys)
        return [record for record in self.failures() if record["cell"] in failed] if failed else []

    def forget_failure(self, key: str) -> None:
        """Let a failed cell be pending again."""
        self.paths.failure(key).unlink(missing_ok=True)
