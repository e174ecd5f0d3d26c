"""Classes held out of training, and the data of probes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study.data import DataError, estimate, load_data
from study.data.config import ImagesData
from study.data.images import Images
from study.data.probes import with_probes

HELD_OUT = [1, 5, 8]


def split(part: object) -> tuple[np.ndarray, np.ndarray]:
    """Images and classes as they were read."""
    assert isinstance(part, Images)
    return part.content.images, part.content.labels


def keys(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_classes_held_out_are_in_neither_split_and_others_are_renumbered(tmp_path: Path) -> None:
    whole = load_data(ImagesData(), base=tmp_path, cache=tmp_path)
    config = ImagesData(held_out_classes=HELD_OUT)
    data = load_data(config, base=tmp_path, cache=tmp_path)
    kept = [number for number in range(10) if number not in HELD_OUT]
    assert data.classes == 7
    assert list(data.class_names) == [str(number) for number in kept]
    for name in ("train", "val"):
        (images, labels), (own, numbers) = split(getattr(whole, name)), split(getattr(data, name))
        chosen = np.isin(labels, kept)
        assert (images[chosen] == own).all()
        assert [kept[number] for number in numbers] == labels[chosen].tolist()
    size = estimate(config, base=tmp_path, cache=tmp_path)
    assert size is not None
    assert (size.classes, size.train_rows, size.val_samples) == (7, len(data.train), len(data.val))


def test_a_probe_of_classes_held_out_has_the_rest_of_both_splits(tmp_path: Path) -> None:
    config = ImagesData(held_out_classes=HELD_OUT, quota=30, imbalance_ratio=3.0, label_noise=0.2)
    data = load_data(config, base=tmp_path, cache=tmp_path)
    probe = with_probes(data, config, ["held_out"], base=tmp_path, cache=tmp_path).probes[
        "held_out"
    ]
    whole = load_data(ImagesData(), base=tmp_path, cache=tmp_path)
    assert probe.classes == 3
    for name in ("train", "val"):
        (images, labels), (own, numbers) = split(getattr(whole, name)), split(getattr(probe, name))
        chosen = np.isin(labels, HELD_OUT)
        assert (images[chosen] == own).all()
        assert [HELD_OUT[number] for number in numbers] == labels[chosen].tolist()
    trained = keys(split(data.train)[0]) | keys(split(data.val)[0])
    assert not trained & (keys(split(probe.train)[0]) | keys(split(probe.val)[0]))
    inputs, _ = probe.train.batch(np.arange(3))
    assert isinstance(data.train, Images)
    expected = (split(probe.train)[0][:3] - data.train.mean.numpy()) / data.train.deviation.numpy()
    assert np.allclose(inputs, expected, atol=1e-5)


def test_a_probe_of_another_source_is_made_like_the_training_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 4
    np.savez(
        tmp_path / "other.npz",
        train_images=images[:30],
        train_labels=labels[:30],
        val_images=images[30:],
        val_labels=labels[30:],
    )
    config = ImagesData()
    data = load_data(config, base=tmp_path, cache=tmp_path)
    more = with_probes(data, config, ["./other.npz"] * 2, base=tmp_path, cache=tmp_path)
    probe = more.probes["./other.npz"]
    assert (len(probe.train), len(probe.val), probe.classes) == (30, 10, 4)
    assert split(probe.train)[0].shape == (30, 1, 8, 8)
    assert split(probe.train)[0].max() <= 16
    assert split(probe.val)[1].tolist() == labels[30:].tolist()
    assert more.fingerprint == data.fingerprint != probe.fingerprint


@pytest.mark.parametrize(
    ("classes", "words"),
    [([10], "no class 10; classes are numbered from 0 to 9"), (list(range(9)), "leaves 1 of 10")],
)
def test_classes_that_cannot_be_held_out(classes: list[int], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.held_out_classes: .*{words}"):
        load_data(ImagesData(held_out_classes=classes), base=tmp_path, cache=tmp_path)


def test_held_out_classes_are_a_set() -> None:
    assert ImagesData(held_out_classes=[7, 2]).held_out_classes == [2, 7]
    with pytest.raises(ValueError, match="names a class twice"):
        ImagesData(held_out_classes=[2, 2])
