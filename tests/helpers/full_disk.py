"""A small disk of its own, which fills up and is freed again."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNKS = (1 << 18, 1 << 12)
"""Bytes that are written until there is no room: many, then a page."""


class NoMount(RuntimeError):
    """This user may not mount a file system."""


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A file system of some MiB in memory. Raises NoMount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoMount(str(error)) from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no room."""
    with (disk / "ballast").open("ab", buffering=0) as file:
        for chunk in CHUNKS:
            with suppress(OSError):
                while file.write(bytes(chunk)) == chunk:
                    pass


def free(disk: Path) -> None:
    """Give the room back."""
    (disk / "ballast").unlink(missing_ok=True)


@contextmanager
def filling(disk: Path, chance: random.Random) -> Iterator[None]:
    """Fill the disk for seconds, and free it for seconds, until the block ends.

    A launch that finds it full at its start would not begin: most begin on one that is not.
    """
    done = threading.Event()

    def work() -> None:
        pause = chance.uniform(0.0, 25.0)
        while not done.wait(pause):
            fill(disk)
            done.wait(chance.uniform(0.1, 3.0))
            free(disk)
            pause = chance.uniform(0.0, 6.0)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        free(disk)
