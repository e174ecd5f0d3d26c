"""Layouts in which images are passed on: pictures by class, npz, binary batches, archives."""

from __future__ import annotations

import gzip
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.data import DataError, estimate, load_data
from study.data.base import Dataset
from study.data.config import ImagesData
from study.data.image_sources import open_images


def load(base: Path, source: str, **settings: Any) -> Dataset:
    return load_data(ImagesData(source=source, **settings), base=base, cache=base / "cache")


def pictures(folder: Path, mode: str = "L", splits: tuple[str, ...] = ("train", "test")) -> None:
    """Pictures of two classes: each of one value, 10 times its number and 100 times its class."""
    for split in splits:
        for label, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for number in range(4 if split == "train" else 2):
                value = 10 * number + 100 * label
                pixels = np.full((4, 5), value, np.uint8)
                picture = Image.fromarray(pixels).convert("RGB" if mode == "P" else mode)
                if mode == "P":
                    picture = picture.quantize()
                picture.save(folder / split / name / f"{number}.png")


def values(data: Dataset) -> set[tuple[int, str]]:
    """Value of the first pixel and name of the class of all training images."""
    images = data.train.content  # type: ignore[attr-defined]
    firsts = images.images[:, 0, 0, 0].tolist()
    return set(zip(firsts, (data.class_names[c] for c in images.labels), strict=True))


EXPECTED = {(0, "cat"), (10, "cat"), (20, "cat"), (30, "cat")} | {
    (100, "dog"),
    (110, "dog"),
    (120, "dog"),
    (130, "dog"),
}


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 3)])
def test_pictures_in_a_folder_for_each_class(tmp_path: Path, mode: str, channels: int) -> None:
    pictures(tmp_path / "animals", mode)
    data = load(tmp_path, "./animals")
    assert data.input_shape == (channels, 4, 5)
    assert list(data.class_names) == ["cat", "dog"]
    assert values(data) == EXPECTED
    assert (len(data.train), len(data.val)) == (8, 4)
    size = estimate(ImagesData(source="./animals"), base=tmp_path, cache=tmp_path / "cache")
    assert size is not None and (size.train_rows, size.classes) == (8, 2)


def test_pictures_without_splits_are_split_here(tmp_path: Path) -> None:
    pictures(tmp_path / "animals", splits=("train",))
    shutil.move(tmp_path / "animals" / "train", tmp_path / "classes")
    data = load(tmp_path, "./classes", val_fraction=0.25)
    assert (len(data.train), len(data.val), data.classes) == (6, 2, 2)


def _zip(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        for path in sorted(folder.rglob("*")):
            content.write(path, Path(folder.name) / path.relative_to(folder))


def _tar(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as content:
        content.add(folder, folder.name)


@pytest.mark.parametrize(
    ("name", "pack"), [("a.zip", _zip), ("a.tar", _tar), ("a.tar.gz", _tar), ("a.tgz", _tar)]
)
def test_archives_hold_what_their_folder_holds(
    tmp_path: Path, name: str, pack: Callable[[Path, Path], None]
) -> None:
    pictures(tmp_path / "animals")
    folder = load(tmp_path, "./animals")
    pack(tmp_path / "animals", tmp_path / name)
    shutil.rmtree(tmp_path / "animals")
    for source in (name, f"./{name}"):
        data = load(tmp_path, source)
        assert data.fingerprint == folder.fingerprint
        assert list(data.class_names) == ["cat", "dog"]


@pytest.mark.parametrize("member", ["../evil.png", "/tmp/evil.png", "a/../../evil.png", "..\\e"])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_nothing_of_an_archive_escapes(tmp_path: Path, member: str, ending: str) -> None:
    archive = tmp_path / "inner" / f"a.{ending}"
    archive.parent.mkdir()
    if ending == "zip":
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr(member, b"evil")
    else:
        with tarfile.open(archive, "w") as content:
            info = tarfile.TarInfo(member)
            info.size = 4
            content.addfile(info, io.BytesIO(b"evil"))
    with pytest.raises(DataError, match="lies outside of it"):
        load(archive.parent, archive.name)
    assert not list(tmp_path.rglob("*evil*"))


def test_links_of_an_archive_are_left_out(tmp_path: Path) -> None:
    pictures(tmp_path / "animals")
    (tmp_path / "secret.png").write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as content:
        content.add(tmp_path / "animals", "animals")
        link = tarfile.TarInfo("animals/train/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.png")
        content.addfile(link)
    assert values(load(tmp_path, "a.tar")) == EXPECTED


def test_an_archive_of_absurd_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.data.archives.MOST_BYTES", 10**6)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("zeros", bytes(10**7))
    with pytest.raises(DataError, match="holds more than 1,000,000 bytes"):
        load(tmp_path, "a.zip")


@pytest.mark.parametrize("names", ["{}_images {}_labels", "x_{} y_{}"])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (3, 5, 4)])
def test_arrays_in_npz(tmp_path: Path, names: str, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 12), ("test", 6)):
        images, labels = (name.format(split) for name in names.split())
        arrays[images] = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[labels] = (np.arange(count) % 3)[:, None]
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    source = open_images(ImagesData(source="x.npz"), tmp_path, tmp_path / "cache")
    train = arrays[names.split(maxsplit=1)[0].format("train")]
    expected = {2: lambda: train[:, None], 3: lambda: train}[len(shape)]()
    if shape[-1] == 3:
        expected = train.transpose(0, 3, 1, 2)
    assert np.array_equal(source.train.images, expected)
    assert source.train.labels.tolist() == [0, 1, 2] * 4
    assert source.val is not None and len(source.val.labels) == 6


@pytest.mark.parametrize("columns", [1, 2])
def test_binary_batches(tmp_path: Path, columns: int) -> None:
    generator = np.random.default_rng(0)
    records = generator.integers(0, 256, (10, columns + 3072), dtype=np.uint8)
    records[:, :columns] = generator.integers(0, 3, (10, columns))
    records[0, :columns] = 2
    train, test = (
        ("data_batch_1.bin", "test_batch.bin")
        if columns == 1
        else (
            "train.bin",
            "test.bin",
        )
    )
    (tmp_path / train).write_bytes(records[:6].tobytes())
    (tmp_path / test).write_bytes(records[6:].tobytes())
    meta = "batches.meta.txt" if columns == 1 else "fine_label_names.txt"
    (tmp_path / meta).write_text("ape\nbee\ncow\n\n")
    source = open_images(ImagesData(source="."), tmp_path, tmp_path / "cache")
    assert source.names == ["ape", "bee", "cow"]
    assert np.array_equal(source.train.labels, records[:6, columns - 1])
    assert np.array_equal(source.train.images.reshape(6, -1), records[:6, columns:])
    if columns == 2:
        coarse = ImagesData(source=".", label_column="coarse_labels")
        other = open_images(coarse, tmp_path, tmp_path / "cache")
        assert np.array_equal(other.train.labels, records[:6, 0])


def idx(values: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    sizes = shape or values.shape
    return struct.pack(f">HBB{len(sizes)}i", 0, 8, len(sizes), *sizes) + values.tobytes()


def write_idx(folder: Path, count: int, prefix: str = "", test: str = "t10k") -> None:
    for split in ("train", test):
        images = np.arange(count * 20, dtype=np.uint8).reshape(count, 5, 4)
        labels = (np.arange(count) % 3).astype(np.uint8)
        (folder / f"{prefix}{split}-images-idx3-ubyte").write_bytes(idx(images))
        packed = gzip.compress(idx(labels))
        (folder / f"{prefix}{split}-labels-idx1-ubyte.gz").write_bytes(packed)


def test_idx_files_of_emnist(tmp_path: Path) -> None:
    write_idx(tmp_path, 6, "emnist-letters-", "test")
    data = load(tmp_path, "./")
    assert (len(data.train), len(data.val), data.classes) == (6, 6, 3)
    write_idx(tmp_path, 6, "emnist-digits-", "test")
    with pytest.raises(DataError, match=r"2 sets \(emnist-digits-, emnist-letters-\)"):
        load(tmp_path, "./")


def _cifar(folder: Path, labels: Any) -> None:
    batch = {"data": np.zeros((4, 3072), np.uint8), "labels": labels}
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b"]}))


def _npz(folder: Path, **arrays: Any) -> None:
    np.savez(folder / "x.npz", **arrays)


IMAGES = np.zeros((4, 5, 5), np.uint8)
MALFORMED: list[tuple[Callable[[Path], Any], str]] = [
    (lambda folder: write_idx(folder, 0), "has no images"),
    (lambda folder: _cifar(folder, [0, 1, -1, 0]), "the label -1"),
    (lambda folder: _cifar(folder, [0, 1, 1.5, 0]), "no list of whole numbers"),
    (lambda folder: _cifar(folder, [[0], [1], [0], [1]]), "no list of whole numbers"),
    (lambda folder: _cifar(folder, [0, 1, 2, 0]), "label_names"),
    (lambda folder: _cifar(folder, ["a", "b", "a", "b"]), "no list of whole numbers"),
    (lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(b""), "no idx file"),
    (
        lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(
            idx(IMAGES, (2**31 - 1, 2**31 - 1, 4))
        ),
        "but holds 100 bytes",
    ),
    (
        lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(idx(IMAGES, (-4, -5, 5))),
        "but holds 100 bytes; fetch it again",
    ),
    (lambda folder: _binary(folder, 255), "has the label 255, but its layout has 10 classes"),
    (lambda folder: _pictures(folder, "a"), "put them into train/CLASS/, two classes or more"),
    (lambda folder: _pictures(folder, "a", "b/deeper"), "none deeper than another"),
    (lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(b"no"), "cannot be read"),
    (lambda folder: (folder / "x.npz").write_bytes(b"no"), "cannot be read as npz"),
    (lambda folder: _npz(folder, a=IMAGES), "has neither"),
    (lambda folder: _npz(folder, x_train=IMAGES, y_train=np.array(3)), "one value"),
    (lambda folder: _npz(folder, x_train=IMAGES, y_train=np.zeros(3, int)), "has 4 images"),
    (lambda folder: _npz(folder, x_train=IMAGES / 2.0, y_train=np.zeros(4, int)), "no images"),
    (lambda folder: _npz(folder, x_train=IMAGES, y_train=-np.ones(4, int)), "the label -1"),
    (lambda folder: _npz(folder, x_train=IMAGES, y_train=np.array([{}] * 4)), "npz"),
    (lambda folder: (folder / "train.bin").write_bytes(b""), "has no idx files"),
    (lambda folder: [(folder / n).write_bytes(b"x") for n in ("train.bin", "test.bin")], "3074"),
    (lambda folder: (folder / "a.zip").write_bytes(b"no"), "has no idx files"),
]


def _binary(folder: Path, label: int) -> None:
    """Binary batches of one image each."""
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (folder / name).write_bytes(bytes([label]) + bytes(3072))


def _pictures(folder: Path, *classes: str) -> None:
    """Two pictures a class."""
    for name in classes:
        (folder / "train" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(IMAGES[number]).save(folder / "train" / name / f"{number}.png")


@pytest.mark.parametrize(("write", "said"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_images_are_told(tmp_path: Path, write: Callable[[Path], Any], said: str) -> None:
    (tmp_path / "images").mkdir()
    write(tmp_path / "images")
    with pytest.raises(DataError) as caught:
        load(tmp_path, "./images")
    assert said in str(caught.value)
    assert len(str(caught.value)) <= 500


def _one_picture(folder: Path, content: bytes) -> None:
    pictures(folder)
    (folder / "train" / "cat" / "1.png").write_bytes(content)


def test_malformed_pictures_and_archives_are_told(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(buffer, format="PNG")
    for name, content, said in (
        ("a", b"no picture", "cannot be read"),
        ("b", buffer.getvalue(), "differ in size"),
        ("c", b"", "cannot be read"),
    ):
        _one_picture(tmp_path / name, content)
        with pytest.raises(DataError, match=said):
            load(tmp_path, f"./{name}")
    for name in ("x.zip", "x.tar", "x.tar.gz"):
        (tmp_path / name).write_bytes(b"no archive")
        with pytest.raises(DataError, match="cannot be unpacked"):
            load(tmp_path, name)
    (tmp_path / "x.dat").write_bytes(b"")
    with pytest.raises(DataError, match="neither a folder, an archive"):
        load(tmp_path, "./x.dat")
    with pytest.raises(DataError, match="leaves one side empty"):
        (tmp_path / "few").mkdir()
        _npz(tmp_path / "few", x_train=IMAGES[:1], y_train=np.zeros(1, int))
        load(tmp_path, "./few")
