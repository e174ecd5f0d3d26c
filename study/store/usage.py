"""How much of the disk a run takes, and what of it may be given back."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

from study.store.leases import Leases
from study.store.parts import StoreError
from study.store.paths import RunPaths


def disk_use(paths: RunPaths) -> dict[str, int]:
    """Bytes by folder of the run."""
    return {path.name: folder_size(path) for path in sorted(paths.root.iterdir()) if path.is_dir()}


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


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
    if paths.all_checkpoints.exists():
        rmtree(paths.all_checkpoints)
    return freed
