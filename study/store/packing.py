"""A copy of a run that is small enough to publish, and still a run.

All rows lie in one file instead of one per cell. Kept weights, logs and states of unfinished
trainings are left out; study, provenance, data records, failures, search and report are copied.
It can be analysed, and relaunched, which runs nothing that has rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from study.store.atomic import write_atomically
from study.store.cells import Store
from study.store.paths import RunPaths
from study.store.sealed import seal_table


def pack(run: Path, target: Path) -> None:
    """Copy `run` to the new folder `target`, which appears whole or not at all.

    Raises StoreError where `run` is none, has no rows or holds damaged ones, FileExistsError where
    `target` exists.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already: delete it, or name another folder")
    store = Store(run)
    store.planned()  # refuses what is no run
    content = seal_table(store.table(), store.metrics())
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        copied = RunPaths(Path(scratch) / target.name)
        shutil.copytree(run, copied.root, ignore=_left_out(store.paths))
        write_atomically(copied.packed, content)
        copied.root.rename(target)


def _left_out(paths: RunPaths) -> Callable[[str, list[str]], set[str]]:
    """What `shutil.copytree` ignores."""
    of_run = {
        path.name
        for path in (paths.cells, paths.packed, paths.all_checkpoints, paths.damaged, paths.leases)
    }

    def ignore(folder: str, names: list[str]) -> set[str]:
        if Path(folder) == paths.root:
            return of_run
        if Path(folder).parent == paths.trainings:
            return set(names) - {paths.provenance("").name}
        return {name for name in names if name.startswith(".")}  # files that were being written

    return ignore
