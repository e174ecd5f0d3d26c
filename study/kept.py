"""Kept checkpoints: weights in a known layout with what a row says of them, checked by hash before they are measured."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.data.base import Dataset
from study.grid import Training
from study.store import RunPaths, write_json

if TYPE_CHECKING:
    import torch

    from study.train import Checkpoint

RECORD = "checkpoint.json"
WEIGHTS = "model.safetensors"

log = logging.getLogger(__name__)


def keep_checkpoint(paths: RunPaths, training: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's weights and record; one that is kept and whole already is left alone."""
    from study.models import save_checkpoint

    folder = paths.checkpoint(training, checkpoint.epoch)
    if _record(folder) is not None:
        return
    save_checkpoint(checkpoint.model, folder)
    record = {
        "sha256": _digest(folder / WEIGHTS),
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "tokens": checkpoint.tokens,
        "train_loss_running": checkpoint.train_loss_running,
        "train_accuracy_running": checkpoint.train_accuracy_running,
        "last": checkpoint.last,
    }
    write_json(folder / RECORD, record)


def has_checkpoints(paths: RunPaths, training: str, epochs: Iterable[int]) -> bool:
    """Whether all these epochs are kept, by name alone: a plan need not read gigabytes."""
    return all((paths.checkpoint(training, epoch) / RECORD).exists() for epoch in epochs)


def kept_checkpoints(
    paths: RunPaths, training: Training, epochs: Iterable[int], data: Dataset, device: torch.device
) -> Iterator[Checkpoint] | None:
    """The kept checkpoints of these epochs, or None where one is missing or damaged."""
    folders = [paths.checkpoint(training.key, epoch) for epoch in epochs]
    records = [_record(folder) for folder in folders]
    if not folders or any(record is None for record in records):
        return None
    return _load(folders, [record for record in records if record is not None], device)


def _load(folders: list[Path], records: list[dict[str, Any]], device: torch.device) -> Iterator[Checkpoint]:
    from study.models import load_checkpoint
    from study.train import Checkpoint

    for folder, record in zip(folders, records, strict=True):
        fields = {name: value for name, value in record.items() if name != "sha256"}
        yield Checkpoint(model=load_checkpoint(folder).to(device).eval(), **fields)


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = _digest(folder / WEIGHTS) == record["sha256"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        log.warning("%s is damaged (%s): the training runs again", folder / RECORD, error)
        return None
    if not whole:
        log.warning("%s is damaged: the training runs again", folder / WEIGHTS)
        return None
    return record


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
