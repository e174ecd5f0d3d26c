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
import pyarrow.parquet as pq

from study.store.atomic import create, write_atomically, write_json
from study.store.errors import StoreError
from study.store.parts import (
    Parts,
    cell_frame,
    content_of,
    damaged_cell,
    damaged_part,
    metrics_in,
    sealed_frame,
    while_files_move,
)
from study.store.paths import RunPaths
from study.store.places import at_hand, over, place
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
        return self.paths.cell(key).exists() or self.parts.find(key) is not None

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
        if not rows:
            raise ValueError(f"cell {key}: there are no rows to write")
        content = seal(rows, types or {}, metrics or {})
        path = self.paths.cell(key)
        while self.parts.find(key) is None:
            try:
                create(path, content)
            except FileExistsError:
                if self._set_aside_if(damaged_cell, path) or not path.exists():
                    continue
                break
            if self.parts.find(key) is None:
                self.forget_failure(key)
                return True
            path.unlink(missing_ok=True)  # another file was there, and has been folded just now
        if _stable(self.rows(key)) == _stable(rows):
            return False
        where = self.parts.find(key) or path
        raise StoreError(
            f"cell {key}: other rows are stored already in {where}; "
            "they are kept, the new ones refused"
        )

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Rows of one cell."""
        return while_files_move(lambda: self._rows(key))

    def _rows(self, key: str) -> list[dict[str, Any]]:
        part = self.parts.find(key)
        with at_hand(self.paths.cell(key) if part is None else part) as file:
            table = pq.read_table(file)
        rows: list[dict[str, Any]] = table.filter(pc.field("cell") == key).to_pylist()
        return rows

    def verify(self) -> list[Path]:
        """Set damaged files aside (into `damaged/`); returns where they lie now.

        Their cells count as not done.
        """
        files = (
            (damaged_cell, self.paths.cell_files()),
            (damaged_part, self.parts.files()),
            (_damaged_record, list(self.paths.failures.glob("[!.]*.json"))),
        )
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
        single = self.single_keys()
        missing = single | self.parts.keys() if keys is None else set(keys)
        frames = []
        for part in self.parts.files():
            if here := (held := self.parts.keys_of(part)) & missing:
                some = None if here == held else here
                frames.append(chosen(sealed_frame(part), cells=some, columns=columns))
                missing -= here
        cells = [self.paths.cell(key) for key in sorted(single & missing)]
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
        return records.difference(self.keys() if done is None else done)

    def failures(self) -> Iterator[dict[str, Any]]:
        """Records of the cells that failed.

        A damaged one has the cause `unknown`; a relaunch runs its cell again.
        """
        yield from filter(None, over(sorted(self.paths.failures.glob("[!.]*.json")), _told))

    def forget_failure(self, key: str) -> None:
        """Let a failed cell be pending again."""
        self.paths.failure(key).unlink(missing_ok=True)
