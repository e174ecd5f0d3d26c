"""`python -m study.pack runs/NAME TARGET`: a copy of a run that is small enough to publish, and still a run.

All rows lie in one file instead of one per cell. Kept weights, logs and states of unfinished trainings are left out; study,
provenance, data records, failures, search and report are copied. It can be analysed, and relaunched, which runs nothing
that has rows.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from study.launching.plan_report import size_text
from study.store import RunPaths, Store, StoreError
from study.store.atomic import write_atomically
from study.store.sealed import seal_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the copy is there, 2 the request is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m study.pack",
        description="Copy a run without weights and logs, with all rows in one file.",
    )
    parser.add_argument("run", type=Path, help="folder of a run, such as runs/quickstart")
    parser.add_argument("target", type=Path, help="folder to make; it may not exist yet")
    options = parser.parse_args(arguments)
    try:
        pack(options.run, options.target)
    except (StoreError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    store = Store(options.target)
    planned = set(store.planned()["cell"])
    size = sum(path.stat().st_size for path in options.target.rglob("*") if path.is_file())
    print(
        f"{len(store.keys() & planned)} of {len(planned)} cells, {size_text(size)}: {options.target}"
    )
    return 0


def pack(run: Path, target: Path) -> None:
    """Copy `run` to the new folder `target`, which appears whole or not at all.

    Raises StoreError where `run` is none, has no rows or holds damaged ones, FileExistsError where `target` exists.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already: delete it, or name another folder")
    store = Store(run)
    store.planned()  # refuses what is no run
    content = seal_table(store.table(), store.metrics())
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        made = RunPaths(Path(scratch) / target.name)
        shutil.copytree(run, made.root, ignore=_left_out(store.paths))
        write_atomically(made.packed, content)
        made.root.rename(target)


def _left_out(paths: RunPaths) -> Callable[[str, list[str]], set[str]]:
    """What `shutil.copytree` ignores."""
    of_run = {
        path.name
        for path in (paths.cells, paths.packed, paths.checkpoints(""), paths.damaged, paths.leases)
    }

    def ignore(folder: str, names: list[str]) -> set[str]:
        if Path(folder) == paths.root:
            return of_run
        if Path(folder).parent == paths.trainings:
            return set(names) - {paths.provenance("").name}
        return {name for name in names if name.startswith(".")}  # files that were being written

    return ignore


if __name__ == "__main__":
    sys.exit(main())
