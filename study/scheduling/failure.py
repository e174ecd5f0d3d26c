"""Failures as data: the cause of an error, and the record of a failed cell."""

from __future__ import annotations

import errno
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from study.store import Store
from study.store.partial import Partial
from study.store.paths import TrainingPaths
from study.store.provenance import now

Cause = Literal[
    "config",
    "data",
    "diverged",
    "out_of_memory",
    "node_lost",
    "timeout",
    "disk_full",
    "storage",
    "bug",
]
RETRIED: tuple[Cause, ...] = ("node_lost", "out_of_memory", "timeout", "storage")
"""Causes that another attempt may cure; all others are deterministic."""

_BY_TYPE: dict[str, Cause] = {
    "study.scheduling.watchdog.Hung": "timeout",
    "study.training.train.Diverged": "diverged",
    "study.data.base.DataError": "data",
    "study.store.errors.StorageError": "storage",
    "study.models.config.ModelError": "config",
    "study.precision.names.PrecisionError": "config",
    "study.training.train.TrainingError": "config",
    "builtins.MemoryError": "out_of_memory",
    "torch.OutOfMemoryError": "out_of_memory",
}
"""Names instead of classes: an error is named even where what is broken is the import of torch."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_SPACE_TEXT = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
_NO_MEMORY_TEXT = (
    "can't allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "ALLOC_FAILED",
)

HEADER = "--- "
"""Begins the line that opens each attempt in the log of a training."""


def cause_of(error: BaseException) -> Cause:
    """The cause of an error: by its type or its number.

    Where a library gives neither, by its text.
    """
    for link in chain(error):
        if isinstance(link, OSError) and link.errno in _NO_SPACE:
            return "disk_full"
        if any(text in str(link) for text in _NO_SPACE_TEXT):
            return "disk_full"
    for kind in type(error).__mro__:
        if (cause := _BY_TYPE.get(f"{kind.__module__}.{kind.__qualname__}")) is not None:
            return cause
    return "out_of_memory" if any(text in str(error) for text in _NO_MEMORY_TEXT) else "bug"


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def record_failure(
    store: Store,
    training: str,
    cell: str,
    error: BaseException | str,
    cause: Cause,
    *,
    host: str | None = None,
) -> None:
    """Record why a cell has no rows.

    With the traceback, the end of the attempt's log and the rows that were measured before.
    """
    paths = TrainingPaths(store.paths.training(training))
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    trace = None if isinstance(error, str) else "".join(traceback.format_exception(error))
    partial = Partial(paths.folder)
    store.fail(
        cell,
        {
            "training": training,
            "cause": cause,
            "message": text,
            "traceback": trace,
            "host": host or socket.gethostname(),
            "failed_at": now(),
            "log": str(paths.console_log),
            "log_tail": _last_attempt(paths.console_log),
            "rows_measured_before": [
                row for epoch in partial.epochs() for row in partial.read(epoch).get(cell, [])
            ],
        },
    )


def _last_attempt(log: Path, length: int = 4000) -> str:
    """The end of what the last attempt wrote to the log."""
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")
    return text[max(text.rfind(f"\n{HEADER}") + 1, len(text) - length) :]
