"""`python -m study.pack runs/NAME TARGET`: a small copy of a run to publish.

`--in-place` copies nothing, but folds the cells of the run into few files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse

    from study.store import Store
    from study.store.packing import Published


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the copy is there, or the cells are folded; 2 the request is wrong."""
    options = parser().parse_args(arguments)

    from study.launching.units import size_text
    from study.store import Store, StoreError
    from study.store.packing import pack
    from study.store.usage import folder_size

    if options.in_place == (options.target is not None):
        return refused(ValueError("give either the folder TARGET to make, or --in-place"))
    try:
        if options.in_place:
            return _fold(Store(options.run))
        published = pack(options.run, options.target, with_diff=not options.without_diff)
    except (StoreError, FileExistsError) as error:
        return refused(error)
    store = Store(options.target)
    planned = set(store.planned()["cell"])
    done, size = len(store.keys() & planned), size_text(folder_size(options.target))
    if (notice := Store(options.run).notice()) is not None:
        print(notice)
    print(f"{done} of {len(planned)} cells, {size}: {options.target}")
    print("\n".join(_told(published)))
    return 0


def _fold(store: Store) -> int:
    """Fold the cells of a run; the exit code."""
    from study.store.folding import fold

    store.planned()  # refuses what is no run
    count, done, parts = fold(store), len(store.keys()), len(store.parts.files())
    print(f"{count} single cells folded, {done} cells in {parts} parts: {store.paths.root}")
    return 0


def _told(published: Published) -> list[str]:
    """What the copy tells of those who ran the study, a line each."""
    lines = ["It publishes, in launches/:"]
    for name in ("command", "user", "host", "folder"):
        lines += [f"  {name}: {value}" for value in getattr(published, f"{name}s")]
    if published.diffs:
        count = sum(published.diffs.values())
        lines.append(
            f"  uncommitted changes of the code: {count} lines in {len(published.diffs)} launches "
            "(--without-diff leaves them out)"
        )
    return lines


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.pack"),
        description="Copy a run without weights and logs, with all rows in one file; or fold its "
        "cells into few files where it lies.",
    )
    add = arguments.add_argument
    add("run", type=Path, help="folder of a run, such as runs/quickstart")
    add("target", type=Path, nargs="?", help="folder to make; it may not exist yet")
    into = "copy nothing: fold the cells of the run itself, which then reads at once"
    add("--in-place", action="store_true", help=into)
    add(
        "--without-diff",
        action="store_true",
        help="leave out the uncommitted changes of the code that launches have recorded",
    )
    return arguments


if __name__ == "__main__":
    sys.exit(main())
