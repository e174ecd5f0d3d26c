"""Columns of models that were measured, by the hash of all that they depend on.

One checked file each. Several processes may write at a time: they write the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.store.atomic import write_json
from study.store.leases import Leases

POLL = 0.2
"""Seconds between two looks at whether another process has measured the same."""


class Known:
    """What was measured, in a folder that runs share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.leases = Leases(folder / "leases")

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.folder / key[:2] / f"{key}.json"

    def read(self, key: str) -> dict[str, Any] | None:
        """What was written under a key; None where nothing was, or the file is damaged."""
        try:
            record = json.loads(self.path(key).read_text(encoding="utf-8"))
            content: dict[str, Any] = record["content"]
            return content if record["sha256"] == _digest(key, content) else None
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def write(self, key: str, content: dict[str, Any]) -> None:
        """Write the content of a key, in the place of a damaged file too."""
        write_json(self.path(key), {"sha256": _digest(key, content), "content": content})

    @contextmanager
    def alone(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Within, no other process is within for the same key.

        It waits for those before it; `waiting` is called meanwhile, and ends that if it raises.
        """
        while True:
            stale = None if self.leases.busy(key) else self.leases.stale_owner(key)
            with self.leases.hold(key, "measuring", stale=stale) as holding:
                if holding is not None:
                    yield
                    return
            waiting()
            time.sleep(POLL)


def _digest(key: str, content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([key, content], sort_keys=True).encode()).hexdigest()
