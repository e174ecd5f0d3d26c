"""Rows of measured checkpoints, until the cells of a training are complete."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.store.atomic import write_json
from study.store.paths import TrainingPaths
from study.store.places import remove_tree

Rows = dict[str, list[dict[str, Any]]]


class Partial:
    """One checked file per epoch, in the folder of the training.

    Each is read once, as whoever writes there has the lease of the training.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = TrainingPaths(folder)
        self._known: dict[int, Rows] = {}

    def epochs(self) -> list[int]:
        """Epochs that have rows."""
        return self.paths.partial_epochs()

    def read(self, epoch: int) -> Rows:
        """Rows by cell.

        Empty for an epoch that is not measured, or whose file is damaged: it is then measured
        again.
        """
        if epoch not in self._known:
            self._known[epoch] = self._read(epoch)
        return self._known[epoch]

    def _read(self, epoch: int) -> Rows:
        try:
            content = json.loads(self.paths.partial_rows(epoch).read_text(encoding="utf-8"))
            rows: Rows = content["rows"]
            return rows if content["sha256"] == _digest(rows) else {}
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return {}

    def write(self, epoch: int, rows: Rows) -> None:
        """Add rows of some cells at an epoch."""
        merged = self.read(epoch) | rows
        write_json(self.paths.partial_rows(epoch), {"sha256": _digest(merged), "rows": merged})
        self._known[epoch] = json.loads(json.dumps(merged))  # as it is read again

    def delete(self) -> None:
        """Delete all rows, once they are stored."""
        self._known.clear()
        with suppress(OSError):
            remove_tree(self.paths.partial)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
