"""Sources of images: digits of scikit-learn, the hub, and folders."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.base import DataError, Ints
from study.data.cache import cached, digest
from study.data.config import HUB_IMAGES, ImagesData
from study.data.image_files import ImageSet, Labelled, Pixels, read_idx_folder, read_python_batches
from study.data.splits import folder_digest, load_splits, no_path, train_and_val
from study.settings.yaml_files import is_folder

_FORMAT = 1  # rises when the same images would be stored otherwise

_INSTEAD = (
    "a folder with the original idx files or python batches, or one with parquet files of the "
    "splits train and test"
)


def open_images(config: ImagesData, base: Path, cache: Path) -> ImageSet:
    """Read the images of `config.source`.

    Those of tables are decoded once and kept in `cache`.

    Raises:
        DataError: the source is missing, cannot be read, or lacks the column or split asked for.
    """
    if config.source == "digits":
        return _digits()
    folder = image_folder(config, base)
    if folder is None:
        name = HUB_IMAGES.get(config.source, config.source)
        splits = load_splits(name, streaming=False, instead=_INSTEAD)
        return _from_tables(splits, name, _content_of(splits), config.label_column, cache)
    for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        images = read_idx_folder(place) or read_python_batches(place, config.label_column)
        if images is not None:
            return images
    if not any(folder.rglob("*.parquet")):
        raise DataError(f"data.source: {folder} has no idx files, python batches or parquet files")
    splits = load_splits(str(folder), streaming=True, instead=_INSTEAD)
    return _from_tables(splits, str(folder), folder_digest(folder), config.label_column, cache)


def image_folder(config: ImagesData, base: Path) -> Path | None:
    """The folder that holds the images.

    None if they come with a library or from the hub.

    Raises:
        DataError: there is no such folder.
    """
    if config.source == "digits" or config.source in HUB_IMAGES or config.source.startswith("hub:"):
        return None
    folder = base / Path(config.source).expanduser()
    if not is_folder(folder):
        raise DataError(no_path(folder))
    return folder


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
    splits: dict[str, Any], name: str, content: str, label_column: str | None, cache: Path
) -> ImageSet:
    train, val = train_and_val(splits, name)
    features = train.features or {}
    image = _column(features, ("img", "image"), None, name)
    label = _column(features, ("label", "labels", "fine_label"), label_column, name)
    key = digest("images", str(_FORMAT), content, image, label)[:32]

    def build(folder: Path) -> dict[str, Any]:
        for split, table in (("train", train), ("val", val)):
            if table is not None:
                images, labels = _decoded(table, image, label, name)
                np.save(folder / f"{split}_images.npy", images)
                np.save(folder / f"{split}_labels.npy", labels)
        return {"names": getattr(features[label], "names", None)}

    entry = cached(cache, key, build)
    parts = [
        Labelled(
            np.load(entry.folder / f"{split}_images.npy"),
            np.load(entry.folder / f"{split}_labels.npy"),
        )
        for split in ("train", "val")
        if f"{split}_images.npy" in entry.digests
    ]
    classes = 1 + max(int(part.labels.max()) for part in parts)
    return ImageSet(
        parts[0],
        parts[1] if len(parts) > 1 else None,
        entry.notes["names"] or [str(number) for number in range(classes)],
    )


def _column(
    features: dict[str, Any], customary: tuple[str, ...], choice: str | None, name: str
) -> str:
    for column in (choice,) if choice else customary:
        if column in features:
            return column
    setting = "data.label_column" if "label" in customary else "data.source"
    names = choice or " or ".join(customary)
    raise DataError(f"{setting}: {name} has no column {names}; its columns: {', '.join(features)}")


def _pixels(value: Any) -> npt.NDArray[Any]:
    """Pixels of a table's value: an image, an array, or the bytes of an image file."""
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(encoded, bytes):
        return np.asarray(value)
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as picture:
        return np.asarray(picture)


def _decoded(table: Any, image: str, label: str, name: str) -> tuple[Pixels, Ints]:
    images: list[Pixels] = []
    labels: list[int] = []
    for row in table.select_columns([image, label]):
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
    stacked = np.stack(images)
    channels_first = stacked[:, None] if stacked.ndim == 3 else stacked.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(channels_first), np.array(labels, dtype=np.int64)
