"""Places of runs: folders of this computer, or `s3://BUCKET/PREFIX`.

What differs between the two is here, in `study.store.atomic` and `study.store.slots`; all else
takes the path of a run as it is.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import TypeGuard, TypeVar, cast

from study.store.errors import StoreError
from study.store.objects import SCHEME, ObjectPath, delete

AT_ONCE = 16
"""Requests that are under way at a time where many objects are read."""

T = TypeVar("T")


def place(target: str | Path) -> Path:
    """The path of a run, or of a folder of runs.

    An object path does what runs ask of a `Path`, so it is called one.

    Raises StoreError for other storage than S3's, for a URL that holds credentials, and where what
    S3 takes is not installed.
    """
    if not isinstance(target, str):
        return target
    scheme, found, rest = target.partition("://")
    if not found:
        return Path(target)
    if f"{scheme}://" != SCHEME:
        raise StoreError(
            f"{scheme}:// is no storage on which a run can lie: give a folder, or "
            "s3://BUCKET/PREFIX of a server that speaks S3's protocol"
        )
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or ":" in bucket or not bucket:
        raise StoreError(
            "s3:// takes s3://BUCKET/PREFIX: credentials and the address of a server come from the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
        )
    prefix = prefix.rstrip("/")
    if prefix and {"", ".", ".."} & set(prefix.split("/")):
        raise StoreError(f"{target}: a part of the path is empty, `.` or `..`: leave it out")
    if importlib.util.find_spec("boto3") is None:
        raise StoreError("s3:// needs boto3: run pip install 'collapse-study[s3]'")
    return cast(Path, ObjectPath(f"{bucket}/{prefix}"))


def is_object(path: Path | ObjectPath) -> TypeGuard[ObjectPath]:
    """Whether a path lies on object storage."""
    return isinstance(path, ObjectPath)


def own_cache() -> Path:
    """The cache of this computer for runs that lie elsewhere."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "collapse-study"


def over(paths: Sequence[Path], look: Callable[[Path], T]) -> Iterator[T]:
    """What a look gives of each path, in order; several objects at a time."""
    if not paths or not is_object(paths[0]):
        yield from map(look, paths)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(look, paths)


def files_below(folder: Path) -> Iterator[Path]:
    """All that is no folder, at any depth; of objects one listing."""
    return (path for path in folder.rglob("*") if is_object(path) or not path.is_dir())


def remove(paths: Iterable[Path]) -> None:
    """Delete files; those that are gone count as deleted."""
    several = list(paths)
    delete([path for path in several if is_object(path)])
    for path in several:
        if not is_object(path):
            path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder and all below, or a file. Nothing where it is gone."""
    if is_object(folder):
        delete([folder, *folder.rglob("*")])
    elif folder.is_dir():
        rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


@contextmanager
def at_hand(path: Path, content: bytes | None = None) -> Iterator[Path]:
    """The file of a path on this computer: itself, or a copy that goes with the block.

    `content` of an object that was read already is written there, else it is fetched.
    """
    if not is_object(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="collapse-object-") as folder:
        copy = Path(folder) / path.name
        path.download(copy) if content is None else copy.write_bytes(content)
        yield copy


@contextmanager
def folder_at_hand(folder: Path) -> Iterator[Path]:
    """The same of a folder, with all files below; a missing one is empty."""
    if not is_object(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="collapse-object-") as scratch:
        copy = Path(scratch) / folder.name
        copy.mkdir()
        home = cast(Path, folder)
        fetch(list(files_below(home)), home, copy)
        yield copy


def bring(files: Sequence[Path], folder: Path) -> None:
    """Copy files of this computer into a folder, if that is one of objects."""
    if is_object(folder):
        for file in files:
            (folder / file.name).upload(file)


def fetch(paths: Sequence[Path], folder: Path, target: Path) -> None:
    """Copy objects below a folder to the same places below a folder of this computer."""

    def one(path: Path) -> None:
        assert is_object(path) and is_object(folder)
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        path.download(copy)

    for _ in over(paths, one):
        pass
