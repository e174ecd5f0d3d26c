"""Files as bytes, those that are compressed too."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from study.data.base import DataError

COMPRESSIONS = (".gz", ".zst")
_AT_ONCE = 1 << 24
MOST_BYTES = 4 * 2**30
"""What a compressed file may hold: a small file can stand for more than fits a disk."""


def plain_suffix(path: Path) -> str:
    """The ending of a file's name without that of its compression."""
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed, as a stream.

    Raises:
        DataError: the file cannot be read, or is damaged.
    """
    import pyarrow as pa

    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                yield file  # type: ignore[misc]
        elif path.suffix == ".zst":
            with pa.input_stream(str(path), compression="zstd") as stream:
                yield io.BufferedReader(stream)  # which can be read by lines
        else:
            with path.open("rb") as file:
                yield file
    except (OSError, EOFError, zlib.error, pa.ArrowException) as fault:
        raise DataError(
            f"data.source: {path} cannot be read: {_one_line(fault)}; unpack it, or write it again"
        ) from fault


def content_of(path: Path) -> bytes:
    """All bytes of a file, decompressed.

    Raises:
        DataError: the file cannot be read, is damaged, or holds more than any memory.
    """
    if path.suffix not in COMPRESSIONS:
        with opened(path) as file:
            return file.read()
    content = bytearray()
    with opened(path) as file:
        while piece := file.read(_AT_ONCE):
            content += piece
            if len(content) > MOST_BYTES:
                raise DataError(
                    f"data.source: {path} holds more than {MOST_BYTES:,} bytes; unpack it"
                )
    return bytes(content)


def utf8(content: bytes, path: Path, *, line: int = 1) -> str:
    """Text without the mark that some programs put first.

    Raises:
        DataError: the bytes are no text in UTF-8; names the line, `line` being the first.
    """
    try:
        return content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as fault:
        number = line + content.count(b"\n", 0, fault.start)
        raise DataError(
            f"data.source: line {number} of {path} is not UTF-8 text (byte {fault.start}: "
            f"{fault.reason}); save the file in UTF-8"
        ) from fault


def _one_line(fault: Any) -> str:
    return " ".join(str(fault).split()) or type(fault).__name__
