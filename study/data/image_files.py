"""Image files as their authors published them.

These are idx (MNIST, Fashion-MNIST) and python batches (CIFAR-10, CIFAR-100).
"""

from __future__ import annotations

import codecs
import gzip
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy._core.multiarray import _reconstruct

from study.data.base import DataError, Ints

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """Images (N, channels, height, width) and their classes (N,)."""

    images: Pixels
    labels: Ints


@dataclass(frozen=True)
class ImageSet:
    """Images of a source; `val` is None where it has no split of its own."""

    train: Labelled
    val: Labelled | None
    names: list[str]


def read_idx_folder(folder: Path) -> ImageSet | None:
    """The four files of MNIST's layout, plain or .gz.

    None where the folder has no such files.

    Raises:
        DataError: a file is missing or not in the idx format.
    """
    if not any(folder.glob("train-images*")):
        return None

    def read(split: str, what: str, dimensions: int) -> npt.NDArray[np.uint8]:
        stem = f"{split}-{what}"
        for separator in ("-", "."):  # both spellings are in circulation
            for ending in ("", ".gz"):
                path = folder / f"{stem}{separator}idx{dimensions}-ubyte{ending}"
                if path.is_file():
                    return read_idx(path, dimensions)
        raise DataError(f"data.source: {folder} lacks {stem}-idx{dimensions}-ubyte (or .gz)")

    splits = []
    for split in ("train", "t10k"):
        images, labels = read(split, "images", 3), read(split, "labels", 1)
        if len(images) != len(labels):
            raise DataError(
                f"data.source: {folder} has {len(images)} {split} images but {len(labels)} labels"
            )
        splits.append(Labelled(images[:, None], labels.astype(np.int64)))
    classes = 1 + max(int(split.labels.max()) for split in splits)
    return ImageSet(splits[0], splits[1], [str(number) for number in range(classes)])


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An idx file of unsigned bytes.

    It holds 0, 0, type 8, the number of dimensions, sizes as big-endian int32, then the data.

    Raises:
        DataError: the file is of another format, or of another length than it says.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as fault:
        raise DataError(f"data.source: {path} cannot be read: {fault}") from fault
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"data.source: {path} is no idx file of bytes in {dimensions} dimensions")
    shape = tuple(np.frombuffer(data[4:start], dtype=">i4").tolist())
    values = np.frombuffer(data, dtype=np.uint8, offset=start)
    if values.size != np.prod(shape):
        raise DataError(f"data.source: {path} says {shape} but holds {values.size} bytes")
    return values.reshape(shape)


def read_python_batches(folder: Path, label_column: str | None) -> ImageSet | None:
    """CIFAR's python batches; None where the folder has no such files.

    Raises:
        DataError: a file is missing, holds something else than data, or lacks the labels asked for.
    """
    if (folder / "data_batch_1").is_file():
        train = sorted(folder.glob("data_batch_*"))
        files, meta, default = (train, [folder / "test_batch"]), folder / "batches.meta", "labels"
    elif (folder / "train").is_file() and (folder / "meta").is_file():
        files, meta, default = (
            ([folder / "train"], [folder / "test"]),
            folder / "meta",
            "fine_labels",
        )
    else:
        return None
    key = label_column or default
    splits = []
    for part in files:
        batches = [_unpickle(path) for path in part]
        images = np.concatenate(
            [_batch_images(batch, path) for batch, path in zip(batches, part, strict=True)]
        )
        labels = np.concatenate(
            [_batch_labels(batch, key, path) for batch, path in zip(batches, part, strict=True)]
        )
        if len(images) != len(labels):
            raise DataError(
                f"data.source: {part[0]} has {len(images)} images but {len(labels)} labels"
            )
        splits.append(Labelled(images, labels))
    names_key = {"labels": "label_names"}.get(key, key.removesuffix("s") + "_names")
    names = _unpickle(meta).get(names_key)
    if not isinstance(names, list) or any(
        int(split.labels.max()) >= len(names) for split in splits
    ):
        raise DataError(f"data.source: {meta} has no {names_key!r} for all labels")
    return ImageSet(splits[0], splits[1], [str(name) for name in names])


def _batch_images(batch: dict[str, Any], path: Path) -> Pixels:
    data = batch.get("data")
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != 3 * 32 * 32
    ):
        raise DataError(f"data.source: {path} has no 'data' of (N, 3072) bytes")
    return data.reshape(-1, 3, 32, 32)


def _batch_labels(batch: dict[str, Any], key: str, path: Path) -> Ints:
    if key not in batch:
        raise DataError(
            f"data.label_column: {path} has no {key!r}; it has {', '.join(sorted(batch))}"
        )
    return np.array(batch[key], dtype=np.int64)


def _unpickle(path: Path) -> dict[str, Any]:
    """A pickled dictionary of data, read without running any code it may name."""
    try:
        content = _DataOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except FileNotFoundError as fault:
        raise DataError(f"data.source: no file {path}") from fault
    # A damaged pickle can raise nearly any error.
    except Exception as fault:
        raise DataError(f"data.source: {path} cannot be read as a python batch: {fault}") from fault
    if not isinstance(content, dict):
        raise DataError(f"data.source: {path} holds a {type(content).__name__}, not a dictionary")
    return {_text(key): _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    return [_text(part) for part in value] if isinstance(value, list) else value


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _latin1(text: str, encoding: str) -> bytes:
    """How pickles of older protocols spell bytes.

    No other codec is allowed, some of them run much more than this.
    """
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return codecs.latin_1_encode(text)[0]


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _DataOnly(pickle.Unpickler):
    """Dictionaries, lists, text, numbers and arrays.

    Anything else, which could be code, is refused.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not data") from None
