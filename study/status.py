"""`python -m study.status runs/NAME`: what is done, running, failed (grouped by cause) and left, of a study or a search."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.config import SHORT_NAMES, StudyConfig
from study.grid import Cell, expand
from study.launch import open_study
from study.launching.plan_report import size_text
from study.launching.progress import Watch, render
from study.search.status import SearchLook
from study.settings.faults import StudyError
from study.settings.schema import Scalar
from study.store import RunPaths, StoreError
from study.tune import open_search

MESSAGES = 5
"""Different messages shown of the failures of a cause."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 nothing failed, 1 some cells failed, 2 the request is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m study.status",
        description="What is done, running, failed and left in a run.",
    )
    parser.add_argument("run", help="folder of a run, such as runs/quickstart")
    parser.add_argument(
        "--watch", action="store_true", help="look again every two seconds until nothing is left"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    parser.add_argument(
        "--delete-checkpoints",
        action="store_true",
        help="delete the kept weights; a later precision then trains again",
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        if RunPaths(Path(options.run)).journal.exists():
            return show_search(options, console)
        study, run_dir = open_study(options.run, Path())
        watch = Watch(run_dir, expand(study))
    except (StudyError, StoreError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        return 2
    if options.delete_checkpoints and not deleted(
        watch.store.paths, bool(watch.look().running), console
    ):
        return 2
    if options.json:
        print(json.dumps(as_json(watch, study), indent=1))
    elif options.watch:
        with Live(console=console, refresh_per_second=1) as live:
            while (now := watch.look()).left:
                live.update(render(watch, now))
                time.sleep(2)
        console.print(tables(watch, study))
    else:
        console.print(tables(watch, study))
    return 1 if failure_records(watch) else 0


def show_search(options: argparse.Namespace, console: Console) -> int:
    """The same for a search; exit code 1 where cells of its confirmation failed. Raises StudyError."""
    search, run_dir = open_search(options.run, Path())
    look = SearchLook(search, run_dir)
    if options.delete_checkpoints and not deleted(look.store.paths, bool(look.running), console):
        return 2
    if options.json:
        print(json.dumps(look.as_json() | {"disk_bytes": disk_use(look.store.paths)}, indent=1))
    else:
        if options.watch:
            with Live(console=console, refresh_per_second=1) as live:
                while look.works:
                    live.update(look.tables())
                    time.sleep(2)
        console.print(look.tables(), disk_line(look.store.paths), sep="\n")
    confirmed = look.confirmation()
    return 1 if confirmed is not None and confirmed["failed"] else 0


def failure_records(watch: Watch) -> list[dict[str, Any]]:
    """Failures of the cells of the study."""
    keys = {cell.key for cell in watch.cells}
    return [record for record in watch.store.failures() if record["cell"] in keys]


def state_by_axis(watch: Watch, study: StudyConfig) -> dict[str, dict[str, Counter[str]]]:
    """axis -> value -> how many cells are done, failed, left; axes with one value alone are left out."""
    keys = watch.store.keys()
    failed = {record["cell"] for record in failure_records(watch)}
    named = dict.fromkeys(axis for grid in study.grid for axis in grid)
    axes = [axis for axis in named if len({str(_value(cell, axis)) for cell in watch.cells}) > 1]
    found: dict[str, dict[str, Counter[str]]] = {axis: {} for axis in axes}
    for cell in watch.cells:
        state = "done" if cell.key in keys else "failed" if cell.key in failed else "left"
        for axis in axes:
            found[axis].setdefault(str(_value(cell, axis)), Counter())[state] += 1
    return found


def _value(cell: Cell, axis: str) -> Scalar:
    value: Any = cell.config
    for part in SHORT_NAMES.get(axis, axis).split("."):
        value = getattr(value, part, None)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def disk_use(paths: RunPaths) -> dict[str, int]:
    """Bytes by folder of the run."""
    return {path.name: folder_size(path) for path in sorted(paths.root.iterdir()) if path.is_dir()}


def disk_line(paths: RunPaths) -> Text:
    """Bytes in all and by folder."""
    disk = disk_use(paths)
    sizes = ", ".join(f"{name} {size_text(size)}" for name, size in disk.items() if size)
    return Text(f"\ndisk: {size_text(sum(disk.values()))} ({sizes})")


def deleted(paths: RunPaths, runs: bool, console: Console) -> bool:
    """Delete the kept weights of a run on which nobody works; whether that was so."""
    if runs:
        Console(stderr=True).print(
            "Trainings of this run are running: stop their launch before deleting checkpoints."
        )
        return False
    console.print(f"Deleted {size_text(delete_checkpoints(paths))} of checkpoints.")
    return True


def delete_checkpoints(paths: RunPaths) -> int:
    """Delete the kept weights of a run; the bytes that were freed."""
    folder = paths.root / "checkpoints"
    freed = folder_size(folder)
    if folder.exists():
        rmtree(folder)
    return freed


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def as_json(watch: Watch, study: StudyConfig) -> dict[str, Any]:
    """The whole status as plain values."""
    now = watch.look()
    return {
        "study": study.name,
        "cells": {"total": now.total, "done": now.done, "failed": now.failed, "left": now.left},
        "by_axis": state_by_axis(watch, study),
        "running": [asdict(lease) for lease in now.running],
        "failures": failure_records(watch),
        "disk_bytes": disk_use(watch.store.paths),
    }


def _told(records: list[dict[str, Any]]) -> list[str]:
    """The messages of failures, most frequent first, and for the first where to look."""
    counts = Counter(record["message"].strip().partition("\n")[0] for record in records)
    lines = [f"  {count} x {message}" for message, count in counts.most_common(MESSAGES)]
    if len(counts) > MESSAGES:
        lines.append(f"  and {len(counts) - MESSAGES} other messages (--json has all)")
    first = counts.most_common(1)[0][0]
    example = next(record for record in records if record["message"].strip().startswith(first))
    return [
        *lines,
        *(f"  {name} {example[name]}" for name in ("cell", "host", "log") if name in example),
    ]


def tables(watch: Watch, study: StudyConfig) -> Group:
    """The whole status for a terminal."""
    parts: list[Any] = [render(watch, watch.look()), Text()]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("axis", "value", "done", "failed", "left"):
        table.add_column(column, justify="left" if column in ("axis", "value") else "right")
    for axis, values in state_by_axis(watch, study).items():
        for value, counts in values.items():
            table.add_row(
                axis, value, *(str(counts[state]) for state in ("done", "failed", "left"))
            )
    parts.append(table)
    by_cause: dict[str, list[dict[str, Any]]] = {}
    for record in failure_records(watch):
        by_cause.setdefault(record["cause"], []).append(record)
    for cause, records in by_cause.items():
        parts.append(Text(f"\n{len(records)} cells failed: {cause}", style="red"))
        parts.append(Text("\n".join(_told(records))))
    parts.append(disk_line(watch.store.paths))
    return Group(*parts)


if __name__ == "__main__":
    sys.exit(main())
