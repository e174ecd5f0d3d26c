"""Sources of images: digits of scikit-learn, the hub, and folders."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.archives import ENDINGS, is_archive, unpacked
from study.data.base import DataError, Ints
from study.data.cache import Entry, cached, digest, file_digest
from study.data.config import HUB_IMAGES, ImagesData
from study.data.groups import numbered
from study.data.image_files import (
    ImageSet,
    Labelled,
    Pixels,
    read_binary_batches,
    read_idx_folder,
    read_npz,
    read_python_batches,
)
from study.data.splits import folder_digest, load_splits, no_path, train_and_val
from study.settings.faults import some_of
from study.settings.yaml_files import is_file, is_folder

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
Columns = tuple[str | None, str | None]
"""The column of classes, None for the customary one, and that of groups, None for none."""
_FORMAT = 1  # rises when the same images would be stored otherwise

_INSTEAD = (
    "a folder with the original idx files or python batches, or one with parquet files of the "
    "splits train and test"
)


def open_images(config: ImagesData, base: Path, cache: Path) -> ImageSet:
    """Read the images of `config.source`.

    Those of tables and archives are decoded once and kept in `cache`.

    Raises:
        DataError: the source is missing, cannot be read, or lacks the column or split asked for.
    """
    images = _opened(config, base, cache)
    if config.group is not None and images.train.groups is None:
        raise DataError(
            f"data.group: {config.source} has no columns beside its labels: give a folder of "
            "parquet files, or of pictures with a metadata.csv, that has one of groups"
        )
    return images


def _opened(config: ImagesData, base: Path, cache: Path) -> ImageSet:
    if config.source == "digits":
        return _digits()
    path, columns = image_path(config, base), (config.label_column, config.group)
    if path is None:
        name = HUB_IMAGES.get(config.source, config.source)
        splits = load_splits(name, streaming=False, instead=_INSTEAD)
        return _from_tables(splits, name, _content_of(splits), columns, cache)
    if is_folder(path):
        images = _in_folder(path, columns, cache)
    elif path.suffix == ".npz":
        images = read_npz(path)
    else:
        images = _in_archive(path, columns, cache)
    for split in (images.train, images.val):
        if split is not None:
            _check_split(split, path)
    return images


def _check_split(split: Labelled, path: Path) -> None:
    if not len(split.labels):
        raise DataError(f"data.source: a split of {path} has no images; fetch its files again")
    if split.labels.min() < 0:
        raise DataError(
            f"data.label_column: the label {split.labels.min()} in {path} is no class; classes are "
            "numbered from 0"
        )


def _in_folder(folder: Path, columns: Columns, cache: Path) -> ImageSet:
    for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        images = (
            read_idx_folder(place)
            or read_python_batches(place, columns[0])
            or read_binary_batches(place, columns[0])
        )
        if images is not None:
            return images
    suffixes = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()}
    if ".npz" in suffixes and not suffixes & {".parquet", *PICTURES}:
        return read_npz(sorted(folder.rglob("*.npz"))[0])
    if not suffixes & {".parquet", *PICTURES}:
        raise DataError(
            f"data.source: {folder} has no idx files, python or binary batches, parquet files, npz "
            "files or pictures in a folder for each class"
        )
    splits = load_splits(str(folder), streaming=True, instead=_INSTEAD)
    return _from_tables(splits, str(folder), folder_digest(folder), columns, cache)


def _in_archive(path: Path, columns: Columns, cache: Path) -> ImageSet:
    """Images of an archive, kept as arrays."""

    def build(folder: Path) -> dict[str, Any]:
        with unpacked(path) as content:
            try:
                images = _in_folder(content, columns, content / ".cache")
            except DataError as fault:  # of a folder that the user does not know
                raise DataError(str(fault).replace(str(content), str(path))) from fault
        for name, split in (("train", images.train), ("val", images.val)):
            if split is not None:
                np.save(folder / f"{name}_images.npy", split.images)
                np.save(folder / f"{name}_labels.npy", split.labels)
                if split.groups is not None:
                    np.save(folder / f"{name}_groups.npy", split.groups)
        return {"names": images.names, "group_names": images.group_names}

    label, group = columns
    request = ("archive", str(_FORMAT), file_digest(path), repr(label), *_named(group))
    return _of_entry(cached(cache, digest(*request)[:32], build))


def _named(group: str | None) -> tuple[str, ...]:
    """What a key of the cache takes from the column of groups."""
    return () if group is None else (f"group {group}",)


def image_path(config: ImagesData, base: Path) -> Path | None:
    """The folder, the archive or the npz file that holds the images.

    None if they come with a library or from the hub.

    Raises:
        DataError: there is none.
    """
    if config.source == "digits" or config.source in HUB_IMAGES or config.source.startswith("hub:"):
        return None
    path = base / Path(config.source).expanduser()
    if not (is_folder(path) or is_file(path)):
        raise DataError(no_path(path))
    if not is_folder(path) and not is_archive(path) and path.suffix != ".npz":
        raise DataError(
            f"data.source: {path} is neither a folder, an archive ({', '.join(ENDINGS)}) nor npz"
        )
    return path


def _digits() -> ImageSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, None]
    return ImageSet(
        Labelled(images, digits.target.astype(np.int64)),
        None,
        [str(name) for name in digits.target_names],
    )


def _content_of(splits: dict[str, Any]) -> str:
    """Hash of the encoded images and all other columns of a table."""
    total = hashlib.sha256()
    for name in sorted(splits):
        total.update(name.encode())
        for batch in splits[name].with_format("arrow").iter(batch_size=1000):
            for row in batch.to_pylist():
                for value in row.values():
                    encoded = value.get("bytes") if isinstance(value, dict) else None
                    total.update(encoded or repr(value).encode())
    return total.hexdigest()


def _from_tables(
    splits: dict[str, Any], name: str, content: str, columns: Columns, cache: Path
) -> ImageSet:
    train, val = train_and_val(splits, name)
    features = train.features or {}
    image = _column(features, ("img", "image"), None, name)
    label = _column(features, ("label", "labels", "fine_label"), columns[0], name)
    group = columns[1]
    if group is not None and group not in features:
        known = some_of(features, group)
        raise DataError(f"data.group: {name} has no column {group}; its columns: {known}")
    key = digest("images", str(_FORMAT), content, image, label, *_named(group))[:32]

    def build(folder: Path) -> dict[str, Any]:
        tables = {"train": train} if val is None else {"train": train, "val": val}
        for split, table in tables.items():
            images, labels = _decoded(table, image, label, name)
            np.save(folder / f"{split}_images.npy", images)
            np.save(folder / f"{split}_labels.npy", labels)
        notes = {"names": getattr(features[label], "names", None)}
        if group is None:
            return notes
        values = {
            split: [row[group] for row in _rows(table.select_columns([group]), name)]
            for split, table in tables.items()
        }
        numbers, names = numbered(values, getattr(features[group], "names", None), group)
        for split, own in numbers.items():
            np.save(folder / f"{split}_groups.npy", own)
        return {**notes, "group_names": names}

    return _of_entry(cached(cache, key, build))


def _of_entry(entry: Entry) -> ImageSet:
    parts = [
        Labelled(
            np.load(entry.folder / f"{split}_images.npy"),
            np.load(entry.folder / f"{split}_labels.npy"),
            np.load(entry.folder / f"{split}_groups.npy")
            if f"{split}_groups.npy" in entry.digests
            else None,
        )
        for split in ("train", "val")
        if f"{split}_images.npy" in entry.digests
    ]
    classes = 1 + max(int(part.labels.max()) for part in parts)
    return ImageSet(
        parts[0],
        parts[1] if len(parts) > 1 else None,
        entry.notes["names"] or [str(number) for number in range(classes)],
        entry.notes.get("group_names", []),
    )


def _column(
    features: dict[str, Any], customary: tuple[str, ...], choice: str | None, name: str
) -> str:
    for column in (choice,) if choice else customary:
        if column in features:
            return column
    setting = "data.label_column" if "label" in customary else "data.source"
    if not choice and list(features) == ["image"]:  # a folder of pictures without classes
        raise DataError(
            f"data.source: {name} has pictures, but no classes: put them into train/CLASS/, "
            "two classes or more, none deeper than another"
        )
    names = choice or " or ".join(customary)
    known = some_of(features, choice or customary[0])
    raise DataError(f"{setting}: {name} has no column {names}; its columns: {known}")


def _rows(table: Any, name: str) -> Iterator[dict[str, Any]]:
    # The library raises errors of its own, of every file format and of pictures.
    try:
        yield from table
    except Exception as fault:
        raise DataError(
            f"data.source: {name} cannot be read: {type(fault).__name__}: {fault}; look for a file "
            "of it that is damaged"
        ) from fault


def _pixels(value: Any) -> npt.NDArray[Any]:
    """Pixels of a table's value: an image, an array, or the bytes of an image file."""
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if hasattr(value, "convert"):
        return _plain(value)
    if not isinstance(encoded, bytes):
        return np.asarray(value)
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as picture:
        return _plain(picture)


def _plain(picture: Any) -> npt.NDArray[Any]:
    """Pixels of a picture: colours, not numbers of a palette; grey, not bits."""
    mode = {"P": "RGB", "1": "L"}.get(picture.mode, picture.mode)
    return np.asarray(picture.convert(mode))


def _decoded(table: Any, image: str, label: str, name: str) -> tuple[Pixels, Ints]:
    images: list[Pixels] = []
    labels: list[int] = []
    for row in _rows(table.select_columns([image, label]), name):
        pixels = _pixels(row[image])
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise DataError(
                f"data.source: column {image!r} of {name} holds {pixels.dtype} {pixels.shape}, "
                "not an image"
            )
        if images and pixels.shape != images[0].shape:
            raise DataError(
                f"data.source: images of {name} differ in size: {images[0].shape} and "
                f"{pixels.shape} at {len(images)}"
            )
        if not isinstance(row[label], int) or row[label] < 0:  # -1 stands for a missing label
            raise DataError(
                f"data.label_column: column {label!r} of {name} holds {row[label]!r}, which is no "
                "class"
            )
        images.append(pixels)
        labels.append(row[label])
    if not images:
        raise DataError(f"data.source: a split of {name} has no images")
    stacked = np.stack(images)
    channels_first = stacked[:, None] if stacked.ndim == 3 else stacked.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(channels_first), np.array(labels, dtype=np.int64)
