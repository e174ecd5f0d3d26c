"""How much of the disk a run takes, and what of it may be given back."""

from __future__ import annotations

from pathlib import Path

from study.store.errors import StoreError
from study.store.leases import Leases
from study.store.paths import RunPaths
from study.store.places import files_below, remove_tree


def disk_use(paths: RunPaths) -> dict[str, int]:
    """Bytes by folder of the run."""
    sizes: dict[str, int] = {}
    for path in files_below(paths.root):
        folder, *rest = path.relative_to(paths.root).parts
        if rest:
            sizes[folder] = sizes.get(folder, 0) + _size(path)
    return dict(sorted(sizes.items()))


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
    return sum(map(_size, files_below(folder)))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def delete_checkpoints(run: Path) -> int:
    """Delete the kept weights of a run; the bytes that were freed.

    A precision that is added later trains again. Raises StoreError where the folder holds no run,
    or trainings of it are running.
    """
    paths = RunPaths(run)
    if not (paths.study.exists() or paths.search_file.exists()):
        raise StoreError(f"{run}: this folder holds no run")
    leases = Leases(paths.leases)
    if any(leases.busy(lease.training) for lease in leases.all()):
        raise StoreError(
            "Trainings of this run are running: stop their launch before deleting checkpoints."
        )
    freed = folder_size(paths.all_checkpoints)
    remove_tree(paths.all_checkpoints)
    return freed
