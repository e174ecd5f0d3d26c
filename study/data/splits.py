"""Tables of the `datasets` library.

They come from the hub, or from a folder of parquet files laid out like it.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from study.data.base import DataError
from study.data.cache import digest, file_digest
from study.settings.yaml_files import is_folder

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval"),
}
"""Split -> words in names of files that mean it."""


def load_splits(name: str, *, streaming: bool, instead: str) -> dict[str, Any]:
    """The splits of `hub:NAME[@REVISION]` or of a folder.

    Args:
        name: hub name or path of a folder.
        streaming: read the files where they lie rather than copy them into the library's cache.
        instead: what to give when the hub cannot be reached, for the message.

    Raises:
        DataError: the library cannot load it.
    """
    import datasets

    path, revision = name, None
    _check_rows(name)
    if name.startswith("hub:"):
        path, _, revision = name.removeprefix("hub:").partition("@")
    try:
        loaded: dict[str, Any] = datasets.load_dataset(
            path, revision=revision or None, streaming=streaming
        )
    # The library raises errors of its own, of the hub client, of the HTTP client and of file
    # formats.
    except Exception as fault:
        raise DataError(
            f"data.source: `datasets` cannot load {path!r}: {type(fault).__name__}: {fault}; "
            f"without a network, give {instead}"
        ) from fault
    return loaded


def _check_rows(name: str) -> None:
    """Raise DataError where a parquet file of a folder has no rows.

    `datasets` breaks at such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in sorted(Path(name).rglob("*.parquet")) if not name.startswith("hub:") else ():
        try:
            rows = pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError) as fault:
            raise DataError(
                f"data.source: {path} cannot be read as parquet: {fault}; write it again"
            ) from fault
        if not rows:
            raise DataError(f"data.source: {path} has no rows; fill the split, or delete the file")


def train_and_val(splits: dict[str, Any], name: str) -> tuple[Any, Any | None]:
    """The training split and the one for validation, if there is one.

    Raises:
        DataError: there is no training split.
    """
    if "train" not in splits:
        raise DataError(f"data.source: {name} has no split train; its splits: {', '.join(splits)}")
    return splits["train"], next(
        (splits[split] for split in ("validation", "valid", "test") if split in splits), None
    )


def split_of(path: Path) -> str | None:
    """The split that a file's name or its folders name, or None.

    Such as that of `corpus-train.txt`.
    """
    for part in reversed(path.parts):
        words = re.split(r"[^a-z]+", part.lower())
        for split, names in SPLITS.items():
            if any(name in words for name in names):
                return split
    return None


def folder_digest(path: Path) -> str:
    """Hash of all files below a folder and their names.

    Raises:
        DataError: there is none.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise DataError(f"data.source: the folder {path} is empty")
    return digest(*(f"{file.relative_to(path)} {file_digest(file)}" for file in files))


def no_path(path: Path) -> str:
    """Message for a path at which there is nothing, with the nearest name beside it."""
    if not is_folder(path.parent):
        return f"data.source: no file or folder {path} (there is no folder {path.parent} either)"
    if path.is_symlink():
        return f"data.source: the link {path} leads nowhere; give what it should lead to"
    near = difflib.get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    return f"data.source: no file or folder {path}" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )
