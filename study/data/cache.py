"""A folder of files that are built once, keyed by content.

Files are checked at every opening and safe without locks.

Several processes may build one entry at once, also on a shared file system: each builds in a
folder of its own and renames it into place; the first rename wins and the others take its
result.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_EXISTS = (errno.ENOTEMPTY, errno.EEXIST)
_ABANDONED_SECONDS = 86_400


@dataclass(frozen=True)
class Entry:
    """A finished entry of the cache.

    Its folder, what the builder noted, and the hash of each of its files.
    """

    folder: Path
    notes: dict[str, Any]
    digests: dict[str, str]


class _CorruptError(Exception):
    pass


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts with their lengths.

    So moving text from one part to the next changes it.
    """
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_verified(folder: Path, name: str) -> bytes | None:
    """The bytes of one file of an entry.

    None where they are not those that were written.
    """
    try:
        content = (folder / name).read_bytes()
        expected = _read_manifest(folder / _MANIFEST)["digests"].get(name)
    except (OSError, _CorruptError):
        return None  # whoever opens the entry repairs it
    return content if hashlib.sha256(content).hexdigest() == expected else None


def cached(cache: Path, key: str, build: Callable[[Path], dict[str, Any]]) -> Entry:
    """The entry `key`, built by `build` if it is missing or damaged.

    Args:
        cache: folder of all entries; made if needed.
        key: name of the entry; must change whenever the result of `build` would.
        build: writes files into the folder it is given and returns notes (JSON) about them.
    """
    folder = cache / key
    while True:
        if folder.exists():
            try:
                return _verified(folder)
            except _CorruptError as fault:
                _log.warning("%s is damaged (%s): building it again", folder, fault)
                _discard(folder)
        _publish(folder, build)


def notes_of_entries(cache: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and notes of all entries, newest first.

    Their files are not checked: `read_verified` reads them.
    """
    entries = []
    for path in cache.glob(f"[!.]*/{_MANIFEST}"):
        try:
            entries.append((path.stat().st_mtime, path.parent, _read_manifest(path)["notes"]))
        except (_CorruptError, FileNotFoundError):
            continue  # whoever opens the entry repairs it; an overview has no use for it
    return [
        (folder, notes)
        for _, folder, notes in sorted(entries, key=lambda entry: entry[0], reverse=True)
    ]


def _verified(folder: Path) -> Entry:
    manifest = _read_manifest(folder / _MANIFEST)
    for name, expected in manifest["digests"].items():
        try:
            content_digest = file_digest(folder / name)
        except OSError as fault:
            raise _CorruptError(f"{name}: {fault}") from fault
        if content_digest != expected:
            raise _CorruptError(f"{name} does not have the content it was written with")
    return Entry(folder, manifest["notes"], manifest["digests"])


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as fault:
        raise _CorruptError(f"{path.name}: {fault}") from fault
    # Entries of earlier versions have no seal.
    if not isinstance(manifest, dict) or set(manifest) | {"seal"} != {"notes", "digests", "seal"}:
        raise _CorruptError(f"{path.name} has other contents than a manifest")
    if "seal" in manifest and manifest["seal"] != _seal(manifest["notes"], manifest["digests"]):
        raise _CorruptError(f"{path.name} does not have the content it was written with")
    if not isinstance(manifest["digests"], dict):
        raise _CorruptError(f"{path.name} names no files")
    return manifest


def _seal(notes: Any, digests: Any) -> str:
    return digest(json.dumps([notes, digests], sort_keys=True))


def _publish(folder: Path, build: Callable[[Path], dict[str, Any]]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    own = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        notes = build(own)
        digests = {path.name: file_digest(path) for path in sorted(own.iterdir())}
        manifest = {"notes": notes, "digests": digests, "seal": _seal(notes, digests)}
        (own / _MANIFEST).write_text(json.dumps(manifest))
        for path in own.iterdir():
            _sync(path)
        own.chmod(0o755)  # mkdtemp makes it private; others who share the cache read it
        try:
            own.rename(folder)
        except OSError as fault:
            if fault.errno not in _EXISTS:
                raise
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Move a damaged entry out of the way and delete it.

    Another process may do the same at the same time.
    """
    aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
    try:
        folder.rename(aside / "entry")
    except FileNotFoundError:
        _log.info("%s was removed by another process", folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Delete what builders left behind that were killed more than a day ago."""
    for path in [*cache.glob(".building-*"), *cache.glob(".damaged-*")]:
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            continue  # its owner has just finished with it
        if age > _ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
