"""The store: one checked parquet file per cell, written once, atomically. It alone decides what is done.

Layout of a run (`RunPaths` owns every path):

    runs/NAME/study.yaml                     the resolved study
    runs/NAME/planned.parquet                keys and settings of its cells
    runs/NAME/cells/ab/KEY.parquet           rows of one cell: one per checkpoint (and layer)
    runs/NAME/failures/KEY.json              why a cell has no rows
    runs/NAME/damaged/                       files that failed their checksum, set aside
    runs/NAME/trainings/KEY/                 provenance, loss log, console log, resume states of one training
    runs/NAME/checkpoints/KEY/epoch-00003/   kept weights
    runs/NAME/data/SETTINGS.json             fingerprint and facts of the data that the run is measured on
    runs/NAME/data/SETTINGS.parquet          their classes: name and samples of each
    runs/NAME/classes/                       tables of single classes that `python -m study.measure --classes` writes
    runs/NAME/leases/KEY.json                who works on a training, and how far it is
    runs/NAME/launches/TIME.json             provenance of each launch
    runs/NAME/search/journal.log             trials of a search (Optuna's journal), beside search.yaml, its file
    runs/NAME/best.yaml                      settings that a search found
    runs/NAME/report/                        what `python -m analysis` writes
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.atomic import create, write_atomically

if TYPE_CHECKING:
    import polars as pl  # imported by those who read tables: its threads do not survive a fork

SCHEMA_VERSION = 1
VOLATILE = ("seconds", "device", "host", "git_sha", "finished_at")
_SEAL = b"collapse-study-sha256:"
_SEALED = re.compile(_SEAL + rb"([0-9a-f]{64})")

Row = Mapping[str, Any]


class StoreError(RuntimeError):
    """The store refuses: a cell written twice with other numbers, or a run directory that is none."""


def write_json(path: Path, value: Any) -> None:
    """Atomic JSON, readable by people."""
    write_atomically(path, (json.dumps(value, indent=1, default=str) + "\n").encode())


@dataclass(frozen=True)
class RunPaths:
    """Every path of a run."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def planned(self) -> Path:
        return self.root / "planned.parquet"

    @property
    def cells(self) -> Path:
        return self.root / "cells"

    def cell(self, key: str) -> Path:
        return self.cells / key[:2] / f"{key}.parquet"

    @property
    def failures(self) -> Path:
        return self.root / "failures"

    def failure(self, key: str) -> Path:
        return self.failures / f"{key}.json"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    @property
    def trainings(self) -> Path:
        return self.root / "trainings"

    def training(self, key: str) -> Path:
        return self.trainings / key

    def stop(self, key: str) -> Path:
        """Exists once a training was asked to end and its launch was not: a search has given it up."""
        return self.training(key) / "stop"

    def checkpoints(self, key: str) -> Path:
        return self.root / "checkpoints" / key

    def checkpoint(self, key: str, epoch: int) -> Path:
        return self.checkpoints(key) / f"epoch-{epoch:05d}"

    def data(self, settings: str) -> Path:
        return self.root / "data" / f"{settings}.json"

    def data_classes(self, settings: str) -> Path:
        return self.data(settings).with_suffix(".parquet")

    @property
    def class_tables(self) -> Path:
        return self.root / "classes"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def launches(self) -> Path:
        return self.root / "launches"

    @property
    def search(self) -> Path:
        return self.root / "search"

    @property
    def journal(self) -> Path:
        """The state of a search; a run that is no search has none."""
        return self.search / "journal.log"

    def best(self, trial: int | None = None) -> Path:
        """Settings that a search found; of several objectives, those of one trial on the front."""
        return self.root / ("best.yaml" if trial is None else f"best-trial-{trial:04d}.yaml")

    @property
    def cache(self) -> Path:
        """Tokens and other derived data, shared by all runs of the folder."""
        return self.root.parent / ".cache"

    @property
    def report(self) -> Path:
        return self.root / "report"


@dataclass(frozen=True)
class DataRecord:
    """A data set of a run: the settings and facts that were recorded, and one row per class: class, name, samples.

    `classes` is None where a run was begun before they were recorded, or the file is damaged; a relaunch that trains or
    measures on the data writes it.
    """

    settings: Mapping[str, Any]
    facts: Mapping[str, str | int | float | None]
    classes: pl.DataFrame | None


def seal(rows: Sequence[Row], types: Mapping[str, type], metrics: Mapping[str, Any]) -> bytes:
    """A parquet file of `rows` that carries the SHA-256 of its own bytes (taken with the digest's place zeroed)."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    fields = []
    for column in columns:
        kind = types.get(column) or next((type(row[column]) for row in rows if row.get(column) is not None), None)
        fields.append(pa.field(column, pa.null() if kind is None else arrow[kind]))
    metadata = {b"metrics": json.dumps(metrics).encode(), b"seal": _SEAL + b"0" * 64}
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields, metadata=metadata))
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest().encode()
    if content.count(_SEAL) != 1:
        raise StoreError("a value of the rows holds the text of the store's seal")
    return content.replace(_SEAL + b"0" * 64, _SEAL + digest)


def intact(content: bytes) -> bool:
    """Whether sealed bytes are those that were written."""
    found = _SEALED.findall(content)
    if len(found) != 1:
        return False
    zeroed = content.replace(_SEAL + found[0], _SEAL + b"0" * 64)
    return bool(hashlib.sha256(zeroed).hexdigest() == found[0].decode())


def _stable(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in VOLATILE and v is not None} for row in rows]


def _damaged_cell(path: Path) -> bool:
    return not intact(path.read_bytes())


def _damaged_record(path: Path) -> bool:
    return _record(path) is None


def _record(path: Path) -> dict[str, Any] | None:
    """A failure record; None where the file is not what was written."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    whole = isinstance(record, dict) and record.get("cell") == path.stem and "cause" in record
    return record if whole else None


class Store:
    """Rows and failures of a run directory. Safe for several writers: rows are created once, never replaced."""

    def __init__(self, run_dir: str | Path) -> None:
        self.paths = RunPaths(Path(run_dir))

    def keys(self) -> set[str]:
        """Cells that have rows (by name alone; `verify` reads them)."""
        return {path.stem for path in self.paths.cells.glob("??/*.parquet") if not path.name.startswith(".")}

    def has(self, key: str) -> bool:
        """Whether a cell has rows."""
        return self.paths.cell(key).exists()

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
        while True:
            try:
                create(path, content)
            except FileExistsError:
                if self._set_aside_if(_damaged_cell, path) or not path.exists():
                    continue
                if _stable(self.rows(key)) == _stable(rows):
                    return False
                message = f"cell {key}: other rows are stored already in {path}; they are kept, the new ones refused"
                raise StoreError(message) from None
            self.forget_failure(key)
            return True

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Rows of one cell."""
        table: list[dict[str, Any]] = pq.read_table(self.paths.cell(key)).to_pylist()
        return table

    def verify(self) -> list[Path]:
        """Set damaged files aside (into `damaged/`); returns where they lie now. Their cells count as not done."""
        moved = [self._set_aside_if(_damaged_cell, path) for path in self.paths.cells.glob("??/[!.]*.parquet")]
        moved += [self._set_aside_if(_damaged_record, path) for path in self.paths.failures.glob("[!.]*.json")]
        return sorted(target for target in moved if target is not None)

    def _set_aside_if(self, damaged: Callable[[Path], bool], path: Path) -> Path | None:
        """Move a damaged file; None where it is whole, or where another launch has moved it just now."""
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
        """All rows (or those of `keys`), one per cell and checkpoint, sorted by cell, epoch and layer.

        Raises StoreError where the run has no rows yet or a file is damaged.
        """
        wanted = self.keys() if keys is None else set(keys) & self.keys()
        if not wanted:
            raise StoreError(f"{self.paths.root}: there are no measured cells yet; run `python -m study.launch` first")
        tables = []
        for key in sorted(wanted):
            content = self.paths.cell(key).read_bytes()
            if not intact(content):
                message = f"{self.paths.cell(key)} is damaged; a relaunch sets it aside and measures its cell again"
                raise StoreError(message)
            tables.append(pq.read_table(BytesIO(content)).replace_schema_metadata(None))
        import polars as pl

        frame = pl.from_arrow(pa.concat_tables(tables, promote_options="permissive"))
        assert isinstance(frame, pl.DataFrame)
        order = [column for column in ("cell", "epoch", "layer") if column in frame.columns]
        return frame.sort(order, nulls_last=True)

    def plan(self, cells: Sequence[Row], *, types: Mapping[str, type] | None = None) -> None:
        """Record what the study asks for as launched last: `cell`, `training` and the settings of each of its cells."""
        write_atomically(self.paths.planned, seal(cells, types or {}, {}))

    def planned(self) -> pl.DataFrame:
        """Cells of the study as launched last, in its order. A run keeps rows of earlier versions too; reports use these.

        Raises StoreError where the record is missing or damaged; a relaunch writes it.
        """
        try:
            content = self.paths.planned.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{self.paths.root} is no run directory: it has no {self.paths.planned.name}") from None
        if not intact(content):
            raise StoreError(
                f"{self.paths.planned} is damaged; `python -m study.launch {self.paths.root}` writes it anew"
            )
        import polars as pl

        frame = pl.from_arrow(pq.read_table(BytesIO(content)).replace_schema_metadata(None))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def data(self) -> list[DataRecord]:
        """What was recorded of each data set of the run, in a fixed order. Raises StoreError for a damaged record."""
        found = []
        for path in sorted(self.paths.data("*").parent.glob("[!.]*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                settings, facts = record["settings"], record["facts"]
            except (ValueError, KeyError, TypeError):
                raise StoreError(f"{path} is damaged: delete it; a relaunch writes it when it uses the data") from None
            found.append(DataRecord(settings, facts, self._classes(path.stem)))
        return found

    def _classes(self, settings: str) -> pl.DataFrame | None:
        import polars as pl

        path = self.paths.data_classes(settings)
        content = path.read_bytes() if path.exists() else b""
        return pl.read_parquet(BytesIO(content)) if intact(content) else None

    def class_tables(self) -> dict[str, pl.DataFrame]:
        """Tables of single classes that were measured into the run, by the names of their files."""
        import polars as pl

        return {path.stem: pl.read_parquet(path) for path in sorted(self.paths.class_tables.glob("[!.]*.parquet"))}

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Metadata of the metric columns: column -> family, direction, citation and so on, as stored with the rows."""
        newest = max(self.paths.cells.glob("??/[!.]*.parquet"), key=lambda path: path.stat().st_mtime, default=None)
        metadata = {} if newest is None else pq.read_schema(newest).metadata or {}
        found: dict[str, dict[str, Any]] = json.loads(metadata.get(b"metrics", b"{}"))
        return found

    def fail(self, key: str, record: Mapping[str, Any]) -> None:
        """Record why a cell has no rows (cause, message, traceback, ...). A success clears it."""
        if not self.has(key):
            write_json(self.paths.failure(key), {"cell": key, **record})

    def failed(self) -> set[str]:
        """Cells that have a failure record (by name alone) and no rows."""
        return {path.stem for path in self.paths.failures.glob("[!.]*.json")} - self.keys()

    def failures(self) -> Iterator[dict[str, Any]]:
        """Records of the cells that failed; a damaged one has the cause `unknown`, and a relaunch runs its cell again."""
        for path in sorted(self.paths.failures.glob("[!.]*.json")):
            try:
                record = _record(path)
            except FileNotFoundError:
                continue  # cleared just now
            yield record or {"cell": path.stem, "cause": "unknown", "message": f"{path} is damaged"}

    def forget_failure(self, key: str) -> None:
        """Let a failed cell be pending again."""
        self.paths.failure(key).unlink(missing_ok=True)
