"""Folding: the rows of many single cells become one part, which reads at once.

A part is written and checked before a file is deleted whose rows it has, so that a kill loses no
row at any point; what it leaves twice counts once, and the next fold deletes it. Several may fold
at a time: each deletes only what lies in a part that it has read or written itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.store.atomic import write_atomically
from study.store.cells import Store, chosen, joined
from study.store.errors import StoreError
from study.store.parts import cell_frame, metrics_in, while_files_move
from study.store.places import over, remove
from study.store.sealed import intact, seal_table

if TYPE_CHECKING:
    import polars as pl

PART_CELLS = 4096
"""Cells of a full part, which bounds what is damaged at once; a smaller part is folded again."""


def fold(store: Store, *, least: int = 1) -> int:
    """Fold the single cells of a run into parts; how many there were.

    Does nothing where there are fewer than `least`. Damaged files stay where they are.

    Raises OSError where a part cannot be written, StoreError where the disk does not keep it or
    another part is damaged; all cells are then as they were.
    """
    return while_files_move(lambda: _fold(store, least))


def _fold(store: Store, least: int) -> int:
    listed = {path.stem: path for path in store.paths.cell_files()}
    single = listed.keys()
    if len(single) < max(1, least):
        return 0
    files = store.parts.files()
    parts = {part: store.parts.opened(part) for part in files}
    full = {part for part, (keys, _) in parts.items() if len(keys) >= PART_CELLS}
    full.add(store.paths.packed)
    small = [part for part in files if part not in full]
    held = set().union(*(keys for part, (keys, _) in parts.items() if part in full))
    sources: list[Path] = []
    frames: list[pl.DataFrame] = []
    for part in small:
        keys, rows = parts[part]
        if here := keys - held:
            sources.append(part)
            frames.append(chosen(rows(), cells=here))
            held |= here
    folded = [listed[key] for key in sorted(single & held)]
    cells = [listed[key] for key in sorted(single - held)]
    for path, frame in zip(cells, over(cells, _whole_frame), strict=True):
        if frame is not None:
            sources.append(path)
            frames.append(frame)
            folded.append(path)
    if not folded:
        return 0
    if sources:
        newest = max(sources, key=lambda path: path.stat().st_mtime)
        write_parts(store, joined(frames), metrics_in(newest))
    remove((*small, *folded))
    for folder in {path.parent for path in folded}:
        with suppress(OSError):  # others may have written there
            folder.rmdir()
    return len(folded)


def _whole_frame(path: Path) -> pl.DataFrame | None:
    """The rows of a single cell; None where its file is damaged or has just gone."""
    try:
        return cell_frame(path)
    except (StoreError, FileNotFoundError):
        return None


def write_parts(store: Store, frame: pl.DataFrame, metrics: Mapping[str, Any]) -> None:
    """Write rows of cells that have none yet as parts, all rows of a cell in one."""
    keys = frame["cell"].unique().sort().to_list()
    for start in range(0, len(keys), PART_CELLS):
        rows = chosen(frame, cells=keys[start : start + PART_CELLS])
        # Parts are read by age, so that no fold changes the order of columns.
        path = store.paths.part(f"{time.time_ns():020d}-{secrets.token_hex(4)}")
        write_atomically(
            path, seal_table(rows.sort("cell", maintain_order=True).to_arrow(), metrics)
        )
        _check(path)


def _check(path: Path) -> None:
    """Raise StoreError where the disk does not give back what was written."""
    if not intact(path.read_bytes()):
        path.unlink()
        raise StoreError(f"{path.parent} does not keep what is written there")
