"""Parts: sealed files with the rows of many cells each, which nothing changes.

While cells are folded into parts, and where that was killed, a cell may lie in a part and in a
file of its own, or in two parts. Its rows are the same there; those of the first part count. What
goes from one file to another is written there before it is deleted here, so whoever looks for files
in the order of that way (single cells, then parts) misses none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from study.store.errors import StoreError
from study.store.paths import RunPaths
from study.store.places import at_hand, is_object
from study.store.sealed import intact, metrics_of

if TYPE_CHECKING:
    import polars as pl  # imported by those who read tables: its threads do not survive a fork

TRIES = 100
"""Looks at files that others delete meanwhile, as their rows lie elsewhere."""

T = TypeVar("T")


def while_files_move(look: Callable[[], T]) -> T:
    """What a look gives that finds each file that it has listed.

    Raises StoreError where one is listed again and again and never found, as a link to nothing is.
    """
    for _ in range(TRIES - 1):
        try:
            return look()
        except FileNotFoundError:
            continue
    try:
        return look()
    except FileNotFoundError as error:
        raise StoreError(_damaged(error.filename)) from error


def _damaged(path: object) -> str:
    return f"{path} is damaged; a relaunch sets it aside and measures its cells again"


def damaged_file(path: Path) -> bool:
    """Whether what lies at a path is not the file that was written there."""
    try:
        return not intact(content_of(path))
    except FileNotFoundError:  # a link to nothing, unless it has just gone
        return True


def damaged_cell(path: Path) -> bool:
    """The same of a single cell, whose file holds its rows and no other's."""
    try:
        content = content_of(path)
        return not intact(content) or cells_in(path, content) != {path.stem}
    except FileNotFoundError:
        return True


def content_of(path: Path) -> bytes:
    """Bytes of a file, none of a folder or a pipe; FileNotFoundError for nothing."""
    special = not is_object(path) and path.exists() and not path.is_file()
    return b"" if special else path.read_bytes()


def cells_in(path: Path, content: bytes) -> frozenset[str]:
    """The cells whose rows a sealed file holds, of which the content was read already."""
    # From memory, a thread of pyarrow's aborts a process that ends at once.
    with at_hand(path, content) as whole:
        table = table_of(whole, columns=["cell"])
    return frozenset(table["cell"].unique().to_pylist() if table.num_columns else ())


def table_of(file: Path, columns: list[str] | None = None) -> pa.Table:
    """The table of a parquet file of this computer, or some columns that it may have."""
    # `pyarrow.parquet.read_table` takes half a second to import what it needs for folders.
    with pq.ParquetFile(file) as parquet:
        return parquet.read(columns=columns)


def metrics_in(path: Path) -> dict[str, dict[str, Any]]:
    """Metadata of the metric columns of a sealed file."""
    with at_hand(path) as whole:
        return metrics_of(pq.read_schema(whole))


def sealed_content(path: Path) -> bytes:
    """Bytes of a file; StoreError for a damaged one, FileNotFoundError for none."""
    content = content_of(path)
    if not intact(content):
        raise StoreError(_damaged(path))
    return content


def sealed_frame(path: Path) -> pl.DataFrame:
    """Rows of a file, checked as by `sealed_content`."""
    return _frame(sealed_content(path))


def _frame(content: bytes) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(BytesIO(content))


def cell_frame(path: Path) -> pl.DataFrame:
    """Rows of a single cell; StoreError where the file holds those of another."""
    frame = sealed_frame(path)
    if "cell" not in frame.columns or frame["cell"].unique().to_list() != [path.stem]:
        raise StoreError(_damaged(path))
    return frame


class Parts:
    """The parts of a run, and which cells they hold."""

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths
        self._keys: dict[Path, frozenset[str]] = {}
        self._packed: list[Path] | None = None

    def files(self) -> list[Path]:
        """All parts, in the order in which they count.

        A folder is listed until nothing changes, as a list misses what comes and goes meanwhile.
        Objects are listed in the order of their names, and a part is written before those go whose
        rows it has, and has a later name.
        """
        if is_object(self.paths.root):
            if self._packed is None:  # nothing that runs writes it
                self._packed = self.paths.packed_files()
            return [*self._packed, *self.paths.folded_files()]
        files = self._listed()
        while files != (again := self._listed()):
            files = again
        return files

    def _listed(self) -> list[Path]:
        return [*self.paths.packed_files(), *self.paths.folded_files()]

    def keys_of(self, part: Path) -> frozenset[str]:
        """The cells of a part, which is checked once.

        Raises StoreError where it is damaged, FileNotFoundError where it is gone.
        """
        return self.opened(part)[0]

    def opened(self, part: Path) -> tuple[frozenset[str], Callable[[], pl.DataFrame]]:
        """The cells of a part, and what gives its rows; a file that is new is read once."""
        if part in self._keys:
            return self._keys[part], partial(sealed_frame, part)
        content = sealed_content(part)
        self._keys[part] = cells_in(part, content)
        return self._keys[part], partial(_frame, content)

    def keys(self) -> set[str]:
        """The cells of all parts."""
        return while_files_move(lambda: set().union(*map(self.keys_of, self.files())))

    def find(self, key: str) -> Path | None:
        """The part that has a cell."""
        return while_files_move(
            lambda: next((part for part in self.files() if key in self.keys_of(part)), None)
        )
