"""The store: one checked parquet file per cell, written once, atomically.

It alone decides what is done.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.store.atomic import create, write_atomically, write_json
from study.store.paths import RunPaths
from study.store.sealed import intact, metrics_of, seal

if TYPE_CHECKING:
    import polars as pl  # imported by those who read tables: its threads do not survive a fork

SCHEMA_VERSION = 1
VOLATILE = ("seconds", "device", "host", "git_sha", "finished_at")

Row = Mapping[str, Any]


class StoreError(RuntimeError):
    """The store refuses to take rows, or to read what is no run."""


@dataclass(frozen=True)
class DataRecord:
    """A data set of a run: recorded settings and facts, and a row per class.

    `classes` has the columns class, name, samples. It is None where a run was begun before they
    were recorded, or the file is damaged; a relaunch that trains or measures on the data writes it.
    """

    settings: Mapping[str, Any]
    facts: Mapping[str, str | int | float | None]
    classes: pl.DataFrame | None


def _sealed_table(path: Path) -> pa.Table:
    """Raises StoreError for a damaged file, FileNotFoundError for none."""
    content = path.read_bytes()
    if not intact(content):
        raise StoreError(
            f"{path} is damaged; a relaunch sets it aside and measures its cells again"
        )
    # From memory, a thread of pyarrow's aborts a process that ends at once.
    return pq.read_table(path)


def _stable(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in VOLATILE and v is not None} for row in rows]


def _damaged_rows(path: Path) -> bool:
    return not intact(path.read_bytes())


def _damaged_record(path: Path) -> bool:
    return _record(path) is None


def _record(path: Path) -> dict[str, Any] | None:
    """A failure record; None where the file is not what was written."""
    try:
        record: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    whole = isinstance(record, dict) and record.get("cell") == path.stem and "cause" in record
    return record if whole else None


class Store:
    """Rows and failures of a run directory.

    Several processes may write at a time: rows are created once, never replaced.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.paths = RunPaths(Path(run_dir))

    @cached_property
    def _packed(self) -> pa.Table | None:
        """Rows that were packed into one file, which nothing changes."""
        try:
            return _sealed_table(self.paths.packed)
        except FileNotFoundError:
            return None

    @cached_property
    def _packed_keys(self) -> frozenset[str]:
        return (
            frozenset()
            if self._packed is None
            else frozenset(self._packed["cell"].unique().to_pylist())
        )

    def keys(self) -> set[str]:
        """Cells that have rows (single files by name alone; `verify` reads them)."""
        return self._single_keys() | self._packed_keys

    def _single_keys(self) -> set[str]:
        return {
            path.stem
            for path in self.paths.cells.glob("??/*.parquet")
            if not path.name.startswith(".")
        }

    def has(self, key: str) -> bool:
        """Whether a cell has rows."""
        return key in self._packed_keys or self.paths.cell(key).exists()

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
        while key not in self._packed_keys:
            try:
                create(path, content)
            except FileExistsError:
                if self._set_aside_if(_damaged_rows, path) or not path.exists():
                    continue
                break
            self.forget_failure(key)
            return True
        if _stable(self.rows(key)) == _stable(rows):
            return False
        where = self.paths.packed if key in self._packed_keys else path
        raise StoreError(
            f"cell {key}: other rows are stored already in {where}; "
            "they are kept, the new ones refused"
        )

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Rows of one cell."""
        if self._packed is not None and key in self._packed_keys:
            table = self._packed.filter(pc.field("cell") == key)
        else:
            table = pq.read_table(self.paths.cell(key))
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def verify(self) -> list[Path]:
        """Set damaged files aside (into `damaged/`); returns where they lie now.

        Their cells count as not done.
        """
        moved = [
            self._set_aside_if(_damaged_rows, path)
            for path in self.paths.cells.glob("??/[!.]*.parquet")
        ]
        moved.append(self._set_aside_if(_damaged_rows, self.paths.packed))
        moved += [
            self._set_aside_if(_damaged_record, path)
            for path in self.paths.failures.glob("[!.]*.json")
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

    def read(self, keys: Iterable[str] | None = None) -> pl.DataFrame:
        """Rows of all cells, or of `keys`, sorted by cell, epoch and layer.

        A row is a cell at a checkpoint (and layer).

        Raises StoreError where the run has no rows yet or a file is damaged.
        """
        import polars as pl

        frame = pl.from_arrow(self.table(keys))
        assert isinstance(frame, pl.DataFrame)
        order = [column for column in ("cell", "epoch", "layer") if column in frame.columns]
        return frame.sort(order, nulls_last=True)

    def table(self, keys: Iterable[str] | None = None) -> pa.Table:
        """What `read` returns, unsorted, as an Arrow table."""
        chosen = self.keys() if keys is None else set(keys) & self.keys()
        if not chosen:
            raise StoreError(
                f"{self.paths.root}: there are no measured cells yet; "
                "run `python -m study.launch` first"
            )
        tables = [_sealed_table(self.paths.cell(key)) for key in sorted(chosen - self._packed_keys)]
        if self._packed is not None:
            tables.append(self._packed.filter(pc.field("cell").isin(chosen & self._packed_keys)))
        return pa.concat_tables(
            [each.replace_schema_metadata(None) for each in tables], promote_options="permissive"
        )

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
            content = self.paths.planned.read_bytes()
        except FileNotFoundError:
            raise StoreError(
                f"{self.paths.root} is no run directory: it has no {self.paths.planned.name}"
            ) from None
        if not intact(content):
            raise StoreError(
                f"{self.paths.planned} is damaged; "
                f"`python -m study.launch {self.paths.root}` writes it anew"
            )
        import polars as pl

        frame = pl.from_arrow(pq.read_table(self.paths.planned).replace_schema_metadata(None))
        assert isinstance(frame, pl.DataFrame)
        return frame

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
            path.stem: pl.read_parquet(path)
            for path in sorted(self.paths.class_tables.glob("[!.]*.parquet"))
        }

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Metadata of the metric columns, as stored with the rows.

        column -> family, direction, citation and so on.
        """
        files = [
            *self.paths.cells.glob("??/[!.]*.parquet"),
            *self.paths.root.glob(self.paths.packed.name),
        ]
        newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
        return {} if newest is None else metrics_of(pq.read_schema(newest))

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
        for path in sorted(self.paths.failures.glob("[!.]*.json")):
            try:
                record = _record(path)
            except FileNotFoundError:
                continue  # cleared just now
            yield record or {"cell": path.stem, "cause": "unknown", "message": f"{path} is damaged"}

    def forget_failure(self, key: str) -> None:
        """Let a failed cell be pending again."""
        self.paths.failure(key).unlink(missing_ok=True)
