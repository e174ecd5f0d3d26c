"""What the folder of a run holds of a training, as points of curves.

Losses of steps and rows of checkpoints, null columns left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from study.columns import metric_of
from study.store.cells import SUBJECTS
from study.tracking.base import Point

Row = dict[str, Any]

CHUNK = 2**20
"""Bytes of a log that are read at a time: some thousand steps."""
AT_END = "forgetting"
"""The one column that rows gain when they are stored: it compares checkpoints."""


class Tail:
    """New whole lines of a log of losses.

    It grows, and is replaced where a training resumes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.position, self.file = path, 0, 0

    def read(self) -> list[Row]:
        """Rows of the next lines; empty where there are none yet.

        A damaged line is no row.
        """
        try:
            with self.path.open("rb") as stream:
                file = self.path.stat().st_ino
                if file != self.file:
                    self.file, self.position = file, 0
                stream.seek(self.position)
                lines = stream.read(CHUNK).rpartition(b"\n")
        except FileNotFoundError:
            return []
        self.position += len(lines[0]) + len(lines[1])
        return list(_rows(lines[0].splitlines()))


def _rows(lines: Iterable[bytes]) -> Iterator[Row]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        numbers = isinstance(row, dict) and all(isinstance(v, int | float) for v in row.values())
        if numbers and "step" in row:
            yield row


def loss_points(rows: Iterable[Row], after: int) -> list[Point]:
    """Points of the steps behind one.

    They have `train/loss`, `train/lr` and what else the log has.
    """
    return [
        (row["step"], {f"train/{name}": float(row[name]) for name in row if name != "step"})
        for row in rows
        if row["step"] > after
    ]


def row_points(label: str, rows: Iterable[Row], after: int, *, at_end: bool) -> list[Point]:
    """Points of the rows of a cell behind an epoch, such as `int4/nc1_ratio`.

    Rows of layers and attacks have theirs between the two. `at_end`: also the column that rows
    up to that epoch have gained since.
    """
    points = []
    for row in rows:
        names = list(row) if row["epoch"] > after else [AT_END] if at_end else []
        about = [str(row[name]) for name in SUBJECTS if row.get(name) is not None]
        values = {
            re.sub(r"[^\w./: -]", "_", "/".join([label, *about, name])): float(row[name])
            for name in names
            if metric_of(name) is not None and isinstance(row.get(name), int | float)
        }
        if values:
            points.append((row["step"], values))
    return points
