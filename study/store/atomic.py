"""Files that appear whole or not at all.

A temporary file is written and synchronized, then renamed, and its folder synchronized.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which replaces `path` in the end.

    If the block raises, `path` stays as it was. Readers see the old file or the new one, never
    half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` through `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def create(path: Path, content: bytes) -> None:
    """Write `content` to a `path` that must not exist.

    Of several writers one wins, the others get FileExistsError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        os.link(temporary, path)  # unlike rename, fails where the name is taken
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Atomic JSON, readable by people."""
    write_atomically(path, (json.dumps(value, indent=1, default=str) + "\n").encode())
