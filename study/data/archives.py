"""Archives of images, unpacked where nothing of them can escape."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from study.data.base import DataError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_BYTES = 16 * 2**30
"""What an archive may hold: a small file can stand for more than fits a disk."""
MOST_FILES = 2_000_000


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.endswith(ENDINGS)


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """A temporary folder with the files of an archive.

    Raises:
        DataError: the archive is damaged, holds too much, or files outside of it.
    """
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        try:
            unpack = _unzip if archive.suffix == ".zip" else _untar
            unpack(archive, Path(folder))
        except (
            OSError,
            EOFError,
            RuntimeError,  # a zip file with a password
            NotImplementedError,
            zlib.error,
            tarfile.TarError,
            zipfile.BadZipFile,
        ) as fault:
            raise DataError(
                f"data.source: {archive} cannot be unpacked: {fault}; unpack it and give the folder"
            ) from fault
        yield Path(folder)


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        files, size = 0, 0
        for member in content.infolist():
            if member.is_dir():
                continue
            files, size = files + 1, size + member.file_size
            _check(archive, member.filename, files, size)
            # `open` reads no more of a member than the archive says it has.
            with content.open(member) as packed:
                path = folder / member.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(packed, file)


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as content:
        files, size = 0, 0
        for member in content:
            if not member.isfile():  # links and devices are left out
                continue
            files, size = files + 1, size + member.size
            _check(archive, member.name, files, size)
            packed = content.extractfile(member)
            assert packed is not None
            (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / member.name).open("wb") as file:
                shutil.copyfileobj(packed, file)


def _check(archive: Path, name: str, files: int, size: int) -> None:
    """Refuse a member that lies outside, and what is too much with it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(f"data.source: {archive} holds {name!r}, which lies outside of it")
    if size > MOST_BYTES or files > MOST_FILES:
        raise DataError(
            f"data.source: {archive} holds more than {MOST_BYTES:,} bytes or {MOST_FILES:,} "
            "files; unpack it and give the folder"
        )
