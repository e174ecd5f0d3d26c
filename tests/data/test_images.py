"""Images: the original file layouts written here byte by byte.

Also the choice of images, noise and standardising.
"""

from __future__ import annotations

import collections
import datetime
import gzip
import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_digits

from study.data import DataError, check_data, estimate, load_data
from study.data.base import Dataset, Split
from study.data.config import ImagesData


def load(base: Path, **settings: Any) -> Dataset:
    return load_data(ImagesData(**settings), base=base, cache=base / "cache")


def everything(split: Split) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = split.batch(np.arange(len(split)))
    return inputs.numpy(), targets.numpy()


def standardised(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(N, channels, height, width), standardised in float64.

    That is less the mean of the training images, over their deviation.
    """
    axes = (0, 2, 3)
    mean = train.astype(np.float64).mean(axes, keepdims=True)
    return (images - mean) / train.astype(np.float64).std(axes, keepdims=True)


def random_images(count: int, *shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, *shape), dtype=np.uint8), generator.permutation(
        count
    ) % 10


def write_idx(
    folder: Path, *, compressed: bool = False, separator: str = "-"
) -> tuple[np.ndarray, ...]:
    """MNIST's four files: big-endian magic number and sizes, then bytes."""
    folder.mkdir(parents=True)
    written = []
    for split, count in (("train", 60), ("t10k", 20)):
        images, labels = random_images(count, 5, 4, seed=count)
        for name, values in (("images", images), ("labels", labels.astype(np.uint8))):
            header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(
                f">{values.ndim}i", *values.shape
            )
            path = folder / f"{split}-{name}{separator}idx{values.ndim}-ubyte"
            data = header + values.tobytes()
            if compressed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
            else:
                path.write_bytes(data)
        written += [images, labels]
    return tuple(written)


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, which is what CIFAR's files hold."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self: Any, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_string


def dumps(content: Any) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue()


def old_array(values: np.ndarray) -> Any:
    """An array as numpy of that time pickled it.

    Made empty by a function, then given its state.
    """

    class Old:
        def __reduce__(self) -> Any:
            return (
                values.__reduce__()[0],
                (np.ndarray, (0,), b"b"),
                (1, values.shape, values.dtype, False, values.tobytes()),
            )

    return Old()


def write_cifar10(folder: Path) -> tuple[np.ndarray, ...]:
    folder.mkdir(parents=True)
    images, labels = random_images(60, 3, 32, 32)
    test_images, test_labels = random_images(20, 3, 32, 32, seed=1)
    for number in range(5):
        part = slice(12 * number, 12 * (number + 1))
        write_batch(folder / f"data_batch_{number + 1}", images[part], labels[part])
    write_batch(folder / "test_batch", test_images, test_labels)
    names = [
        b"airplane",
        b"automobile",
        b"bird",
        b"cat",
        b"deer",
        b"dog",
        b"frog",
        b"horse",
        b"ship",
        b"truck",
    ]
    (folder / "batches.meta").write_bytes(dumps({b"label_names": names, b"num_vis": 3072}))
    return images, labels, test_images, test_labels


def write_batch(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    content = {
        b"batch_label": b"training batch",
        b"labels": labels.tolist(),
        b"data": old_array(images.reshape(len(images), -1)),
        b"filenames": [b"x.png"] * len(images),
    }
    data = dumps(content).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(data)


def test_digits_are_split_by_seed_and_standardised(tmp_path: Path) -> None:
    data = load(tmp_path)
    digits = load_digits()
    assert (data.classes, data.input_shape) == (10, (1, 8, 8))
    assert (len(data.train), len(data.val)) == (round(0.8 * 1797), 1797 - round(0.8 * 1797))
    inputs, targets = everything(data.train)
    val_inputs, val_targets = everything(data.val)
    assert inputs.dtype == np.float32
    assert inputs.mean() == pytest.approx(0, abs=1e-5)
    assert inputs.std() == pytest.approx(1, abs=1e-5)
    assert np.bincount(targets, minlength=10).tolist() == data.class_counts.tolist()
    # Undone, both splits together are the digits of scikit-learn.
    flat = np.concatenate([inputs, val_inputs]).reshape(1797, 64)
    scale = 16 / (flat.max() - flat.min())
    pixels = np.rint((flat - flat.min()) * scale)
    counts = collections.Counter(
        zip(map(bytes, pixels.astype(np.uint8)), [*targets, *val_targets], strict=True)
    )
    assert counts == collections.Counter(
        zip(map(bytes, digits.data.astype(np.uint8)), digits.target, strict=True)
    )
    other = load(tmp_path, seed=1)
    assert not np.array_equal(everything(other.train)[1], targets)
    assert other.fingerprint == data.fingerprint


@pytest.mark.parametrize(("compressed", "separator"), [(False, "-"), (True, "-"), (False, ".")])
def test_idx_files(tmp_path: Path, compressed: bool, separator: str) -> None:
    images, labels, val_images, val_labels = write_idx(
        tmp_path / "MNIST" / "raw", compressed=compressed, separator=separator
    )
    data = load(tmp_path, source="./MNIST")
    assert (data.classes, data.input_shape, list(data.class_names)) == (
        10,
        (1, 5, 4),
        list("0123456789"),
    )
    for split, pixels, classes in (
        (data.train, images, labels),
        (data.val, val_images, val_labels),
    ):
        inputs, targets = everything(split)
        np.testing.assert_allclose(
            inputs, standardised(pixels[:, None], images[:, None]), atol=1e-5
        )
        assert targets.tolist() == classes.tolist()


def test_cifar10_python_batches(tmp_path: Path) -> None:
    images, labels, val_images, val_labels = write_cifar10(tmp_path / "cifar-10-batches-py")
    data = load(tmp_path, source="./cifar-10-batches-py")
    assert (data.classes, data.input_shape, data.class_names[3]) == (10, (3, 32, 32), "cat")
    for split, pixels, classes in (
        (data.train, images, labels),
        (data.val, val_images, val_labels),
    ):
        inputs, targets = everything(split)
        np.testing.assert_allclose(inputs, standardised(pixels, images), atol=1e-5)
        assert targets.tolist() == classes.tolist()


@pytest.mark.parametrize("column", [None, "coarse_labels"])
def test_cifar100_python_batches(tmp_path: Path, column: str | None) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    images, labels = random_images(40, 3, 32, 32)
    for name in ("train", "test"):
        content = {b"fine_labels": (labels * 9).tolist(), b"coarse_labels": labels.tolist()}
        (folder / name).write_bytes(dumps({**content, b"data": old_array(images.reshape(40, -1))}))
    names = {
        b"fine_label_names": [b"f%d" % n for n in range(100)],
        b"coarse_label_names": [b"c%d" % n for n in range(20)],
    }
    (folder / "meta").write_bytes(dumps(names))
    data = load(tmp_path, source="./cifar-100-python", label_column=column)
    assert data.classes == (100 if column is None else 20)
    assert everything(data.val)[1].tolist() == (labels * 9 if column is None else labels).tolist()
    assert data.class_names[7] == ("f7" if column is None else "c7")


def test_python_batches_run_no_code(tmp_path: Path) -> None:
    folder = tmp_path / "batches"
    write_cifar10(folder)

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "pwned",)

    for content in ({b"data": Evil()}, {b"labels": datetime.date(2020, 1, 1)}):
        (folder / "data_batch_3").write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(
            DataError,
            match=r"data_batch_3 cannot be read as a python batch: it names .*, which is not data",
        ):
            load(tmp_path, source="./batches")
    assert not (tmp_path / "pwned").exists()


def encoded(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    """Images as the hub stores them.

    Encoded files in a struct, their type in the metadata of the schema.
    """
    folder = tmp_path / "mnist"
    folder.mkdir()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list("abcdefghij"))}
    )
    stored = {}
    for split, count in (("train", 30), ("test", 10)):
        pixels, labels = random_images(count, 6, 7, seed=count)
        rows = {
            "image": [{"bytes": encoded(p), "path": None} for p in pixels],
            "label": labels.tolist(),
        }
        table = pa.table(rows, schema=features.arrow_schema)
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
        stored[split] = pixels[:, None], labels
    data = load(tmp_path, source="./mnist")
    again = load(tmp_path, source="./mnist")
    assert (data.classes, data.input_shape, list(data.class_names)) == (
        10,
        (1, 6, 7),
        list("abcdefghij"),
    )
    for part, name in ((data.train, "train"), (data.val, "test")):
        inputs, targets = everything(part)
        np.testing.assert_allclose(
            inputs, standardised(stored[name][0], stored["train"][0]), atol=1e-5
        )
        assert targets.tolist() == stored[name][1].tolist()
    assert again.fingerprint == data.fingerprint
    with pytest.raises(
        DataError, match=r"data.label_column: .* has no column fine; its columns: image, label"
    ):
        load(tmp_path, source="./mnist", label_column="fine")


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    """Tables of the hub mark a missing label by -1.

    Such as those of a hidden test split.
    """
    (tmp_path / "hidden").mkdir()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    pixels, _ = random_images(2, 6, 7)
    for split, labels in (("train", [0, 1]), ("test", [-1, -1])):
        rows = {"image": [{"bytes": encoded(p), "path": None} for p in pixels], "label": labels}
        table = pa.table(rows, schema=features.arrow_schema)
        pq.write_table(table, tmp_path / "hidden" / f"{split}-00000-of-00001.parquet")
    with pytest.raises(
        DataError,
        match=r"data.label_column: column 'label' of .*hidden holds -1, which is no class",
    ):
        load(tmp_path, source="./hidden")


def test_known_names_are_fetched_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is played by a function; the tables it returns are those of the library."""
    pixels, labels = random_images(20, 32, 32, 3)
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    rows = {"img": [Image.fromarray(p) for p in pixels], "label": labels.tolist()}
    table = datasets.Dataset.from_dict(rows, features=features)
    requests = []

    def load_dataset(name: str, **options: Any) -> datasets.DatasetDict:
        requests.append((name, options["revision"]))
        return datasets.DatasetDict({"train": table, "test": table})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load(tmp_path, source="cifar10")
    assert requests == [("uoft-cs/cifar10", None)]
    inputs, targets = everything(data.val)
    expected = pixels.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(inputs, standardised(expected, expected), atol=1e-5)
    assert targets.tolist() == labels.tolist()
    assert estimate(ImagesData(source="cifar10"), base=tmp_path, cache=tmp_path / "cache") is None


def test_imbalance_and_quota_act_on_training_images_alone(tmp_path: Path) -> None:
    plain = load(tmp_path)
    step = load(tmp_path, quota=100, imbalance_ratio=10, minority_fraction=0.3)
    assert step.class_counts.tolist() == [100] * 7 + [10] * 3
    assert len(step.val) == len(plain.val)
    slope = load(tmp_path, imbalance="exponential", imbalance_ratio=100)
    smallest = int(plain.class_counts.min())
    assert slope.class_counts.tolist() == [round(smallest * 100 ** (-k / 9)) for k in range(10)]
    assert slope.facts["samples"] == len(slope.train) == slope.train.samples
    whole = {image.tobytes() for image in undone(plain)}
    images_used = [image.tobytes() for image in undone(step)]
    assert len(set(images_used)) == len(images_used)
    assert set(images_used) <= whole
    with pytest.raises(
        DataError, match=r"data.quota: class \d has \d+ training images, 170 are asked for"
    ):
        load(tmp_path, quota=170)


def undone(data: Dataset) -> np.ndarray:
    """Pixels of the training digits, from their standardised values.

    0 and 16 occur in any large set of them.
    """
    inputs, _ = everything(data.train)
    return np.rint((inputs - inputs.min()) * 16 / (inputs.max() - inputs.min())).astype(np.uint8)


def test_label_noise_changes_the_share_asked_for_and_no_image(tmp_path: Path) -> None:
    plain, noisy = load(tmp_path), load(tmp_path, label_noise=0.25)
    inputs, targets = everything(plain.train)
    noisy_inputs, noisy_targets = everything(noisy.train)
    assert np.array_equal(inputs, noisy_inputs)
    changed = noisy_targets != targets
    assert changed.sum() == round(0.25 * len(targets)) == noisy.facts["wrong_labels"]
    moved = (noisy_targets[changed] - targets[changed]) % 10
    assert set(moved) == set(range(1, 10))  # every other class is reached, from wherever
    assert np.array_equal(everything(plain.val)[1], everything(noisy.val)[1])


def test_estimate_of_images(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"quota": 50, "imbalance_ratio": 5}
    size = estimate(ImagesData(**settings), base=tmp_path, cache=tmp_path)
    data = load(tmp_path, **settings)
    assert size is not None
    assert (size.train_rows, size.val_samples, size.classes) == (
        len(data.train),
        len(data.val),
        data.classes,
    )
    assert size.input_shape == data.input_shape


def damage_idx(folder: Path, case: str) -> None:
    if case == "missing":
        (folder / "t10k-labels-idx1-ubyte").unlink()
    elif case == "short":
        path = folder / "train-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:-1])
    elif case == "magic":
        path = folder / "train-images-idx3-ubyte"
        path.write_bytes(b"\x00\x00\x0d\x03" + path.read_bytes()[4:])
    else:
        labels = folder / "train-labels-idx1-ubyte"
        labels.write_bytes((folder / "t10k-labels-idx1-ubyte").read_bytes())


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "lacks t10k-labels-idx1-ubyte"),
        ("short", r"says \(60, 5, 4\) but holds 1199 bytes"),
        ("magic", "is no idx file of bytes in 3 dimensions"),
        ("swapped", "has 60 train images but 20 labels"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, case: str, message: str) -> None:
    write_idx(tmp_path / "idx")
    damage_idx(tmp_path / "idx", case)
    with pytest.raises(DataError, match=message):
        load(tmp_path, source="./idx")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./missing", "no file or folder"),
        ("./empty", "has no idx files, python or binary batches, parquet"),
    ],
)
def test_missing_images_are_reported(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        load(tmp_path, source=source)


def test_check_data_finds_missing_image_folders(tmp_path: Path) -> None:
    for source in ("digits", "cifar10", "hub:owner/name"):
        check_data(ImagesData(source=source), base=tmp_path)  # nothing to look for here
    with pytest.raises(DataError, match="no file or folder"):
        check_data(ImagesData(source="./missing"), base=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "cifar"}, "'cifar' is no known source of images: use digits, cifar10"),
        ({"label_noise": 1.0}, "less than 1"),
        ({"imbalance": "linear"}, "'step' or 'exponential'"),
    ],
)
def test_faults_of_image_settings_are_readable(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImagesData(**settings)


def test_black_images_of_another_source_stay_black(tmp_path: Path) -> None:
    labels = np.arange(12) % 3
    np.savez(tmp_path / "black.npz", x_train=np.zeros((12, 5, 5), np.uint8), y_train=labels)
    data = load_data(ImagesData(ood="./black.npz"), base=tmp_path, cache=tmp_path / "cache")
    inputs, _ = data.ood["black"].batch(np.arange(len(data.ood["black"])))
    assert data.input_range is not None
    torch.testing.assert_close(inputs, data.input_range[0].expand_as(inputs))
