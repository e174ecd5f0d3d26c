"""The loss of every optimizer step, one JSON object a line.

Such as {"step": 1, "epoch": 0.01, "lr": 0.001, "loss": 4.2}.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NotRequired, TypedDict

from study.store.atomic import write_atomically
from study.store.paths import TrainingPaths


class LossRow(TypedDict):
    """One optimizer step.

    Its number from 1, epochs done after it, learning rate, mean loss over its samples in nats;
    what penalties added to that, where a training has any.
    """

    step: int
    epoch: float
    lr: float
    loss: float
    penalty: NotRequired[float]


class LossLog:
    """Appends rows to `folder/loss_log.jsonl`.

    What a killed training wrote after step `keep` is cut off first.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.path = TrainingPaths(folder).loss_log
        folder.mkdir(parents=True, exist_ok=True)
        rows = (
            [row for row in _whole_rows(self.path) if row["step"] <= keep]
            if self.path.exists()
            else []
        )
        write_atomically(self.path, _lines(rows))

    def append(self, rows: list[LossRow]) -> None:
        """Write `rows`, which outlive this process, and the computer once `sync` returned."""
        with self.path.open("ab") as stream:
            stream.write(_lines(rows))

    def sync(self) -> None:
        """Bring all rows to the disk, before a state is written that follows them."""
        with self.path.open("ab") as stream:
            os.fsync(stream.fileno())


def read_losses(path: Path) -> list[LossRow]:
    """Rows of a loss log; a last line that a kill left unfinished is no row."""
    return [
        json.loads(line)
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def _whole_rows(path: Path) -> list[LossRow]:
    """Rows of a log that may be damaged.

    A training does not fail over what it once wrote about itself.
    """
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            own = LossRow(step=int(row["step"]), epoch=row["epoch"], lr=row["lr"], loss=row["loss"])
            if "penalty" in row:
                own["penalty"] = row["penalty"]
            rows.append(own)
        except (ValueError, TypeError, KeyError):
            continue
    return rows


def _lines(rows: list[LossRow]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
