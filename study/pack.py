"""`python -m study.pack runs/NAME TARGET`: a small copy of a run to publish.

`--push` sends it to the Hub, `--in-place` folds the cells of the run where it lies.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the copy is there, or the cells are folded; 2 the request is wrong."""
    options = parser().parse_args(arguments)

    from study.hub.arguments import wrong_packing
    from study.store import StoreError

    if problem := wrong_packing(options):
        return refused(ValueError(f"error: {problem}"))
    try:
        if options.in_place:
            return _fold(options.run)
        with TemporaryDirectory(prefix="study-pack-") as scratch:
            return _pack(options, Path(scratch))
    except (StoreError, FileExistsError) as error:
        return refused(error)


def _fold(run: str) -> int:
    """Fold the cells of a run; the exit code."""
    from study.hub.names import refuse_hub
    from study.store import Store
    from study.store.folding import fold

    refuse_hub(run, "nothing is folded")
    store = Store(run)
    store.planned()  # refuses what is no run
    count, done, parts = fold(store), len(store.keys()), len(store.parts.files())
    print(f"{count} single cells folded, {done} cells in {parts} parts: {store.paths.root}")
    return 0


def _pack(options: argparse.Namespace, scratch: Path) -> int:
    """Pack a run, of the Hub too, and push it if that is asked for; the exit code."""
    from study.hub.fetching import fetch_whole
    from study.hub.names import is_hub, parse_name
    from study.hub.pushing import check_target, push, unpublished
    from study.launching.units import size_text
    from study.store import Store
    from study.store.packing import pack
    from study.store.usage import folder_size

    to = None if options.push is None else check_target(options.push)
    run: str | Path = options.run
    if is_hub(options.run):
        run = fetch_whole(name := parse_name(options.run), scratch / name.short).path
    target = options.target or scratch / "packed"
    published = pack(run, target, with_diff=not options.without_diff)
    store, where = Store(target), f": {target}" if options.target else ""
    if (notice := Store(run).notice()) is not None:
        print(notice)
    planned = set(store.planned()["cell"])
    done, size = len(store.keys() & planned), size_text(folder_size(target))
    print(f"{done} of {len(planned)} cells, {size}{where}")
    print(*published.lines(), sep="\n", flush=True)
    if to is not None:
        if others := unpublished(target):
            print(f"It does not push what is no file of a run: {', '.join(others)}")
        pushed = push(target, to, public=options.public, license=options.license)
        print(*pushed.lines(), sep="\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.hub.arguments import add_pack_arguments
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.pack"),
        description="Copy a run without weights, logs and what trackers show, with all rows in one "
        "file; or fold its cells into few files where it lies.",
    )
    add_pack_arguments(arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
