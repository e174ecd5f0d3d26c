"""Kept checkpoints: weights and what a row says of them.

They are checked by hash before they are measured.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.grid import Training
from study.store import RunPaths
from study.store.atomic import write_json
from study.store.paths import CHECKPOINT_RECORD as RECORD
from study.store.places import bring, folder_at_hand

if TYPE_CHECKING:
    import torch

    from study.training.train import Checkpoint

log = logging.getLogger(__name__)


def keep_checkpoint(paths: RunPaths, training: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's weights and record.

    One that is kept and whole already is left alone.
    """
    from study.models import save_checkpoint

    kept = paths.checkpoint(training, checkpoint.epoch)
    with folder_at_hand(kept) as folder:
        if _record(folder) is not None:
            return
        save_checkpoint(checkpoint.model, folder)
        own = [path for path in folder.glob("[!.]*") if path.name != RECORD]
        files = {path.name: _file_digest(path) for path in own}
        facts = {field.name: getattr(checkpoint, field.name) for field in _fields()}
        record = {"sha256": _digest(files, facts), "files": files, "facts": facts}
        bring(own, kept)
        write_json(kept / RECORD, record)


def has_checkpoints(paths: RunPaths, training: str, epochs: Iterable[int]) -> bool:
    """Whether all these epochs are kept, by name alone.

    A plan need not read gigabytes.
    """
    return all((paths.checkpoint(training, epoch) / RECORD).is_file() for epoch in epochs)


def kept_checkpoints(
    paths: RunPaths, training: Training, epochs: Iterable[int], device: torch.device
) -> Iterator[Checkpoint] | None:
    """The kept checkpoints of these epochs, or None where one is missing or damaged."""
    with ExitStack() as stack:
        folders = [
            stack.enter_context(folder_at_hand(paths.checkpoint(training.key, epoch)))
            for epoch in epochs
        ]
        records = [_record(folder) for folder in folders]
        if not folders or any(record is None for record in records):
            return None
        whole = [record for record in records if record is not None]
        return _load(folders, whole, device, stack.pop_all())


def _load(
    folders: list[Path], records: list[dict[str, Any]], device: torch.device, stack: ExitStack
) -> Iterator[Checkpoint]:
    """Load one after another; what `stack` holds are the folders, which end with it."""
    from study.models import load_checkpoint
    from study.training.train import Checkpoint

    with stack:
        for folder, record in zip(folders, records, strict=True):
            yield Checkpoint(model=load_checkpoint(folder).to(device).eval(), **record)


def _record(folder: Path) -> dict[str, Any] | None:
    """What was noted of a checkpoint.

    None where it, or any of its files, is not as it was written.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files, facts = record["files"], record["facts"]
        whole = record["sha256"] == _digest(files, facts)
        damaged = [name for name, digest in files.items() if _file_digest(folder / name) != digest]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        log.warning("%s is damaged (%s): the training runs again", folder / RECORD, error)
        return None
    if damaged or not whole:
        log.warning(
            "%s is damaged (%s): the training runs again", folder, ", ".join(damaged) or RECORD
        )
        return None
    if facts.keys() != {field.name for field in _fields()}:
        log.warning("%s was kept by another version of this code: the training runs again", folder)
        return None
    noted: dict[str, Any] = facts
    return noted


def _fields() -> list[Field[Any]]:
    """What is noted of a checkpoint besides its model."""
    from study.training.train import Checkpoint

    return [field for field in fields(Checkpoint) if field.name != "model"]


def _digest(files: dict[str, str], facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([files, facts], sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
