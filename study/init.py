"""`python -m study.init KIND [FILE]`: write a commented YAML to start from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse

NEXT = {
    "search": "tune {file} --dry-run",
    "csv": "report results.csv --columns {file}",
}
"""The command that a file is for; `launch` unless it stands here."""


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the file is written, 2 it is there already, or cannot be."""
    options = parser().parse_args(arguments)

    from study.reference.schema import schema_text

    text = templates()[options.kind].read_text(encoding="utf-8")
    file = options.file or Path("columns.yaml" if options.kind == "csv" else f"{options.kind}.yaml")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return refused(ValueError(f"error: {file} is there already: give another file"))
    except OSError as error:
        return refused(error)
    schema = file.with_name("study.schema.json")
    if options.kind != "csv" and not schema.exists():
        schema.write_text(schema_text(), encoding="utf-8")
        print(f"{schema} lets an editor complete and check it.")
    command = NEXT.get(options.kind, "launch {file} --dry-run").format(file=file)
    print(f"{file} is written. Read it, then: collapse-study {command}")
    return 0


def templates() -> dict[str, Path]:
    """The file of each kind."""
    folder = Path(__file__).parent / "templates"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.init"),
        description="Write a commented YAML to start from: a study (quickstart, text, images), a "
        "search, or the column map of a csv. No file is replaced.",
    )
    arguments.add_argument("kind", choices=list(templates()), help="which of these")
    arguments.add_argument("file", type=Path, nargs="?", help="default: KIND.yaml, columns.yaml")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
