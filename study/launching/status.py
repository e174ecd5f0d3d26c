"""The status of a study's run: done, running, failed and left."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from study.config import SHORT_NAMES, StudyConfig
from study.grid import Cell, expand
from study.launching.progress import Progress, Watch, render
from study.launching.units import size_text
from study.settings.schema import Scalar
from study.store import RunPaths
from study.store.usage import disk_use

MESSAGES = 5
"""Different messages shown of the failures of a cause."""


class StudyStatus:
    """Looks at the run of a study again and again; changes nothing."""

    def __init__(self, study: StudyConfig, run_dir: Path) -> None:
        self.study = study
        self.watch = Watch(run_dir, expand(study))

    @property
    def goes_on(self) -> bool:
        """Whether cells are left that may still be done."""
        return self.watch.look().left > 0

    @property
    def failed(self) -> bool:
        """Whether a cell failed."""
        return bool(self.failures())

    def progress(self) -> Progress:
        """How far the study is."""
        now = self.watch.look()
        return Progress(
            units="cells",
            total=now.total,
            done=now.done,
            failed=now.failed,
            left=now.left,
            running=len(now.running),
            stored=now.done,
            seconds_left=self.watch.seconds_left(now),
        )

    def live(self) -> Group:
        """The state for a display that is drawn again and again."""
        return render(self.watch, self.watch.look())

    def failures(self) -> list[dict[str, Any]]:
        """Failure records of the cells of the study that have no rows."""
        return self.watch.store.failures_of(cell.key for cell in self.watch.cells)

    def by_axis(self) -> dict[str, dict[str, Counter[str]]]:
        """axis -> value -> number of cells done, failed, left.

        Axes with one value are left out.
        """
        keys = self.watch.store.keys()
        failed = self.watch.store.failed(done=keys)
        named = dict.fromkeys(axis for grid in self.study.grid for axis in grid)
        cells = self.watch.cells
        axes = [axis for axis in named if len({str(_value(cell, axis)) for cell in cells}) > 1]
        counts: dict[str, dict[str, Counter[str]]] = {axis: {} for axis in axes}
        for cell in cells:
            state = "done" if cell.key in keys else "failed" if cell.key in failed else "left"
            for axis in axes:
                counts[axis].setdefault(str(_value(cell, axis)), Counter())[state] += 1
        return counts

    def as_json(self) -> dict[str, Any]:
        """The whole status as plain values."""
        now = self.watch.look()
        return {
            "study": self.study.name,
            "cells": {"total": now.total, "done": now.done, "failed": now.failed, "left": now.left},
            "by_axis": self.by_axis(),
            "running": [asdict(lease) for lease in now.running],
            "failures": self.failures(),
            "disk_bytes": disk_use(self.watch.store.paths),
        }

    def tables(self) -> Group:
        """The whole status for a terminal."""
        parts: list[Any] = [self.live(), Text(), self._axes()]
        by_cause: dict[str, list[dict[str, Any]]] = {}
        for record in self.failures():
            by_cause.setdefault(record["cause"], []).append(record)
        for cause, records in by_cause.items():
            parts.append(Text(f"\n{len(records)} cells failed: {cause}", style="red"))
            parts.append(Text("\n".join(_messages(records))))
        if (notice := self.watch.store.notice()) is not None:
            parts.append(Text(f"\n{notice}", style="yellow"))
        return Group(*parts, disk_line(self.watch.store.paths))

    def _axes(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("axis", "value", "done", "failed", "left"):
            table.add_column(column, justify="left" if column in ("axis", "value") else "right")
        for axis, values in self.by_axis().items():
            for value, counts in values.items():
                numbers = (str(counts[state]) for state in ("done", "failed", "left"))
                table.add_row(axis, escape(value), *numbers)
        return table


def _value(cell: Cell, axis: str) -> Scalar:
    value: Any = cell.config
    for part in SHORT_NAMES.get(axis, axis).split("."):
        value = getattr(value, part, None)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _messages(records: list[dict[str, Any]]) -> list[str]:
    """The messages of failures, most frequent first, and for the first where to look."""
    counts = Counter(record["message"].strip().partition("\n")[0] for record in records)
    lines = [f"  {count} x {message}" for message, count in counts.most_common(MESSAGES)]
    if len(counts) > MESSAGES:
        lines.append(f"  and {len(counts) - MESSAGES} other messages (--json has all)")
    first = counts.most_common(1)[0][0]
    example = next(record for record in records if record["message"].strip().startswith(first))
    places = [f"  {name} {example[name]}" for name in ("cell", "host", "log") if name in example]
    return [*lines, *places]


def disk_line(paths: RunPaths) -> Text:
    """Bytes in all and by folder."""
    disk = disk_use(paths)
    sizes = ", ".join(f"{name} {size_text(size)}" for name, size in disk.items() if size)
    return Text(f"\ndisk: {size_text(sum(disk.values()))} ({sizes})")
