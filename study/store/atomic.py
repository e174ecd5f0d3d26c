"""Files that appear whole or not at all.

A temporary file is written and synchronized, then renamed, and its folder synchronized. File
systems without hard links, or that cannot synchronize a folder, do as well. An object is written
with one request, which is whole by itself.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.store.places import is_object

UNSUPPORTED = (errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Numbers of the errors of what a file system cannot do, whatever room it has."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which replaces `path` in the end.

    If the block raises, `path` stays as it was. Readers see the old file or the new one, never
    half.
    """
    if is_object(path):
        with tempfile.TemporaryDirectory(prefix="collapse-object-") as folder:
            yield (file := Path(folder) / path.name)
            path.upload(file)
        return
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
    if is_object(path):
        path.write_bytes(content)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def create(path: Path, content: bytes) -> None:
    """Write `content` to a `path` that must not exist.

    Of several writers one wins, the others get FileExistsError.
    """
    if is_object(path):
        path.create(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        give_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def give_name(temporary: Path, path: Path) -> None:
    """Let a whole file appear under a name; `temporary` may be left.

    Raises FileExistsError where the name is taken, as a rename does not. Without hard links the
    name is taken by an empty file first, which counts as damaged should this process end there.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary.replace(path)


def _sync(path: Path) -> None:
    """Bring a file or a folder to the disk, as far as its file system can."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Atomic JSON, readable by people."""
    write_atomically(path, (json.dumps(value, indent=1, default=str) + "\n").encode())
