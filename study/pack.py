"""`python -m study.pack runs/NAME TARGET`: a small copy of a run to publish."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    from study.store.packing import Published


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the copy is there, 2 the request is wrong."""
    from study.launching.units import size_text
    from study.store import Store, StoreError
    from study.store.packing import pack
    from study.store.usage import folder_size

    options = _parser().parse_args(arguments)
    try:
        published = pack(options.run, options.target, with_diff=not options.without_diff)
    except (StoreError, FileExistsError) as error:
        return refused(error)
    store = Store(options.target)
    planned = set(store.planned()["cell"])
    done, size = len(store.keys() & planned), size_text(folder_size(options.target))
    print(f"{done} of {len(planned)} cells, {size}: {options.target}")
    print("\n".join(_told(published)))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.pack",
        description="Copy a run without weights and logs, with all rows in one file.",
    )
    parser.add_argument("run", type=Path, help="folder of a run, such as runs/quickstart")
    parser.add_argument("target", type=Path, help="folder to make; it may not exist yet")
    parser.add_argument(
        "--without-diff",
        action="store_true",
        help="leave out the uncommitted changes of the code that launches have recorded",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
