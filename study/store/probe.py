"""Whether a folder can hold a run.

What a launch does there is tried before it does anything.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from study.store.atomic import create, write_atomically
from study.store.errors import StoreError
from study.store.objects import ObjectPath
from study.store.places import is_object

LITTLE = 100 * 2**20
"""Free bytes below which the user is warned."""


def check_place(folder: Path) -> None:
    """Raise StoreError where a folder could not even be made, as it lies below a file."""
    if is_object(folder):
        return
    above = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not above.is_dir():
        raise StoreError(f"{above} is no folder: give another place with --runs")


def check_target(name: str) -> Path:
    """Make the folder of a file to be written, and try to write there; its path.

    Raises StoreError where that fails, or where a folder or a device would be replaced.
    """
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # first, as `new/../x` is x only then
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "a device or a pipe"
            raise StoreError(f"{path} is {what}: give the path of a file")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = f"{path} cannot be written ({error.strerror})"
        raise StoreError(f"{reason}: give another path") from error
    return path


def probe(folder: Path) -> str | None:
    """Make a folder, and write, name, replace and read a file in it.

    Returns a warning, or None.

    Raises StoreError where one of these fails, with what to do.
    """
    if is_object(folder):
        _probe_objects(folder)
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be made ({error.strerror}): give another place with --runs"
        ) from error
    file = folder / f".probe-{secrets.token_hex(4)}"
    content = secrets.token_bytes(4096)
    try:
        try:
            create(file, content)
            write_atomically(file, content)
            whole = file.read_bytes() == content
        finally:
            file.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise StoreError(
            f"{folder} takes no files ({error.strerror}): mend that, "
            "or give another place with --runs"
        ) from error
    if not whole:
        raise StoreError(f"{folder} does not keep what is written there: --runs names another")
    if free < LITTLE:
        return f"Warning: {folder} has only {free / 2**20:.0f} MiB left"
    return None


def _probe_objects(folder: ObjectPath) -> None:
    """Write, replace, list, read and delete an object, on conditions true and false."""
    name = f".probe-{secrets.token_hex(4)}"
    path = folder / name
    first, second, third = (secrets.token_bytes(64) for _ in range(3))
    try:
        try:
            tag = path.create(first)
            if _is_accepted(lambda: path.create(second)):
                raise StoreError(_unconditional(folder, "If-None-Match"))
            newer = path.exchange(second, tag)
            if _is_accepted(lambda: path.exchange(third, tag)):
                raise StoreError(_unconditional(folder, "If-Match"))
            content, read = path.read_tagged()
            whole = content == second and read == newer
            listed = name in {each.name for each in folder.glob(f"{name}*")}
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder} takes no objects ({error.strerror}): mend that, or give another place with "
            "--runs. Credentials, region and server are those of the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL) or of "
            "~/.aws"
        ) from error
    if not (whole and listed):
        raise StoreError(
            f"{folder} does not at once give back what is written there: --runs names another place"
        )


def _is_accepted(write: Callable[[], object]) -> bool:
    try:
        write()
    except FileExistsError:
        return False
    return True


def _unconditional(folder: ObjectPath, header: str) -> str:
    return (
        f"{folder}: this server ignores {header}, so that two trainings could take one cell: give "
        "a folder, or a server with conditional writes, such as Amazon S3 or MinIO, with --runs"
    )
