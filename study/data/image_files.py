"""Image files as their authors published them.

These are idx (MNIST, Fashion-MNIST, EMNIST), python and binary batches (CIFAR-10, CIFAR-100), and
npz (MedMNIST, Keras).
"""

from __future__ import annotations

import codecs
import gzip
import io
import math
import pickle
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy._core.multiarray import _reconstruct

from study.data.base import DataError, Ints
from study.data.compressed import utf8
from study.settings.faults import some_of

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """Images (N, channels, height, width), their classes (N,), groups (N,) if any."""

    images: Pixels
    labels: Ints
    groups: Ints | None = None

    def take(self, rows: Ints) -> Labelled:
        """Some of the images."""
        groups = None if self.groups is None else self.groups[rows]
        return Labelled(self.images[rows], self.labels[rows], groups)


@dataclass(frozen=True)
class ImageSet:
    """Images of a source; `val` is None where it has no split of its own."""

    train: Labelled
    val: Labelled | None
    names: list[str]
    group_names: list[str] = field(default_factory=list)


def read_idx_folder(folder: Path) -> ImageSet | None:
    """The four files of MNIST's layout, plain or .gz.

    Also with a name before it (EMNIST).

    None where the folder has no such files.

    Raises:
        DataError: a file is missing or not in the idx format, or there are several sets.
    """
    sets = sorted(
        {file.name.partition("train-images")[0] for file in folder.glob("*train-images*")}
    )
    if not sets:
        return None
    if len(sets) > 1:
        raise DataError(
            f"data.source: {folder} holds {len(sets)} sets ({', '.join(sets)}): give each a folder"
        )

    def read(splits: tuple[str, ...], what: str, dimensions: int) -> npt.NDArray[np.uint8]:
        for split in splits:
            stem = f"{sets[0]}{split}-{what}"
            for separator in ("-", "."):  # both spellings are in circulation
                for ending in ("", ".gz"):
                    path = folder / f"{stem}{separator}idx{dimensions}-ubyte{ending}"
                    if path.is_file():
                        return read_idx(path, dimensions)
        stem = f"{sets[0]}{splits[0]}-{what}"
        raise DataError(f"data.source: {folder} lacks {stem}-idx{dimensions}-ubyte (or .gz)")

    splits = []
    for names in (("train",), ("t10k", "test")):
        images, labels = read(names, "images", 3), read(names, "labels", 1)
        if len(images) != len(labels):
            raise DataError(
                f"data.source: {folder} has {len(images)} {names[0]} images but {len(labels)} "
                "labels; fetch its files again"
            )
        splits.append(Labelled(images[:, None], labels.astype(np.int64)))
    classes = 1 + max(int(split.labels.max(initial=0)) for split in splits)
    return ImageSet(splits[0], splits[1], [str(number) for number in range(classes)])


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An idx file of unsigned bytes.

    It holds 0, 0, type 8, the number of dimensions, sizes as big-endian int32, then the data.

    Raises:
        DataError: the file is of another format, or of another length than it says.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as fault:
        raise DataError(f"data.source: {path} cannot be read: {fault}; unpack it") from fault
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"data.source: {path} is no idx file of bytes in {dimensions} dimensions")
    shape = tuple(np.frombuffer(data[4:start], dtype=">u4").tolist())
    values = np.frombuffer(data, dtype=np.uint8, offset=start)
    if values.size != math.prod(shape):
        raise DataError(
            f"data.source: {path} says {shape} but holds {values.size} bytes; fetch it again"
        )
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
        int(split.labels.max(initial=0)) >= len(names) for split in splits
    ):
        raise DataError(f"data.source: {meta} has no {names_key!r} for all labels")
    return ImageSet(splits[0], splits[1], [str(name) for name in names])


BINARY_CLASSES = {"labels": 10, "coarse_labels": 20, "fine_labels": 100}
"""Classes of CIFAR-10 and CIFAR-100; a label of -1 reads as 255."""


def read_binary_batches(folder: Path, label_column: str | None) -> ImageSet | None:
    """CIFAR's binary files; None where the folder has none.

    A record is the label (CIFAR-100: the coarse and the fine label) and 3,072 bytes.

    Raises:
        DataError: a file is missing or of another length, or the labels asked for are not there.
    """
    if (folder / "data_batch_1.bin").is_file():
        files = (sorted(folder.glob("data_batch_*.bin")), [folder / "test_batch.bin"])
        columns: tuple[str, ...] = ("labels",)
        meta = "batches.meta.txt"
    elif (folder / "train.bin").is_file() and (folder / "test.bin").is_file():
        files = ([folder / "train.bin"], [folder / "test.bin"])
        columns, meta = ("coarse_labels", "fine_labels"), ""
    else:
        return None
    column = label_column or columns[-1]
    if column not in columns:
        raise DataError(f"data.label_column: {folder} has no {column!r}; it has {columns}")
    meta = meta or f"{column.removesuffix('s')}_names.txt"
    splits = [_binary_records(part, columns.index(column), len(columns)) for part in files]
    classes = 1 + max(int(split.labels.max(initial=0)) for split in splits)
    if classes > (most := BINARY_CLASSES[column]):
        raise DataError(
            f"data.label_column: {folder} has the label {classes - 1}, but its layout has {most} "
            f"classes, from 0: write other images as npz, or as pictures in train/CLASS/"
        )
    names = [str(number) for number in range(classes)]
    if (folder / meta).is_file():
        names = utf8((folder / meta).read_bytes(), folder / meta).split()
    if classes > len(names):
        raise DataError(f"data.source: {folder / meta} names {len(names)} of {classes} classes")
    return ImageSet(splits[0], splits[1], names)


def _binary_records(files: list[Path], column: int, columns: int) -> Labelled:
    length = columns + 3 * 32 * 32
    parts = []
    for path in files:
        try:
            content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        except OSError as fault:
            raise DataError(f"data.source: {path} cannot be read: {fault.strerror}") from fault
        if content.size % length:
            raise DataError(f"data.source: {path} is no multiple of {length} bytes")
        parts.append(content.reshape(-1, length))
    records = np.concatenate(parts)
    images = np.ascontiguousarray(records[:, columns:]).reshape(-1, 3, 32, 32)
    return Labelled(images, records[:, column].astype(np.int64))


NPZ_NAMES = (("train_images", "train_labels"), ("x_train", "y_train"))
"""Arrays of the training split, as MedMNIST and Keras call them."""


def read_npz(path: Path) -> ImageSet:
    """Arrays of images and labels, by their names.

    `train_images`, `train_labels` or `x_train`, `y_train`.

    Those of the validation split have `val`, `valid` or `test` in place of `train`.

    Raises:
        DataError: the file is damaged, holds objects, or lacks an array.
    """
    # numpy raises errors of its own, of zip files and of compression.
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except Exception as fault:
        raise DataError(
            f"data.source: {path} cannot be read as npz: {fault}; save it again"
        ) from fault
    for images, labels in NPZ_NAMES:
        if images in arrays and labels in arrays:
            train = _labelled(arrays, images, labels, path)
            others = (
                (images.replace("train", split), labels.replace("train", split))
                for split in ("val", "valid", "validation", "test")
            )
            pair = next((pair for pair in others if all(name in arrays for name in pair)), None)
            val = None if pair is None else _labelled(arrays, *pair, path)
            parts = [train] if val is None else [train, val]
            classes = 1 + max(int(part.labels.max(initial=0)) for part in parts)
            return ImageSet(train, val, [str(number) for number in range(classes)])
    raise DataError(
        f"data.source: {path} has neither {' nor '.join(map(' and '.join, NPZ_NAMES))}; "
        f"it has {', '.join(arrays)}"
    )


def _labelled(
    arrays: dict[str, npt.NDArray[Any]], name: str, label_name: str, path: Path
) -> Labelled:
    """Images (N, H, W) in one of three layouts, with labels (N,) or (N, 1).

    The others are (N, H, W, channels) and (N, channels, H, W).
    """
    images, labels = arrays[name], arrays[label_name]
    if labels.ndim == 0:
        raise DataError(f"data.source: {label_name} of {path} is one value, not one an image")
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"data.source: {name} of {path} is {images.dtype} {images.shape}, no images: these "
            "are uint8 (N, height, width), with channels or not"
        )
    if labels.dtype.kind not in "iu" or labels.size != len(labels) or len(labels) != len(images):
        raise DataError(
            f"data.source: {path} has {len(images)} images in {name}, but its labels are "
            f"{labels.dtype} {labels.shape}"
        )
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return Labelled(np.ascontiguousarray(images), labels.reshape(-1).astype(np.int64))


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
            f"data.label_column: {path} has no {key!r}; it has {some_of(sorted(batch), key)}"
        )
    labels = np.asarray(batch[key])
    if labels.ndim != 1 or not (labels.dtype.kind in "iu" or labels.size == 0):
        raise DataError(f"data.label_column: {key!r} of {path} is no list of whole numbers")
    return labels.astype(np.int64)


def _unpickle(path: Path) -> dict[str, Any]:
    """A pickled dictionary of data, read without running any code it may name."""
    try:
        content = _DataOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        if isinstance(content, dict):
            content = {_text(key): _plain(value) for key, value in content.items()}
    except FileNotFoundError as fault:
        raise DataError(f"data.source: no file {path}") from fault
    # A damaged pickle can raise nearly any error.
    except Exception as fault:
        raise DataError(f"data.source: {path} cannot be read as a python batch: {fault}") from fault
    if not isinstance(content, dict):
        raise DataError(f"data.source: {path} holds a {type(content).__name__}, not a dictionary")
    return content


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
