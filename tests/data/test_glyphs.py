"""Pictures of letters: what is written, and how it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study.data import glyphs
from study.data.image_files import read_idx_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glyphs")
    assert glyphs.main([str(folder), "--train", "60", "--val", "20"]) == 0
    return folder


def test_idx_reader_reads_both_splits(folder: Path) -> None:
    images = read_idx_folder(folder)
    assert images is not None
    assert images.val is not None
    assert images.train.images.shape == (60, 1, 28, 28)
    assert np.bincount(images.train.labels).tolist() == [6] * 10
    assert np.bincount(images.val.labels).tolist() == [2] * 10


def test_every_picture_shows_a_letter_within_its_edges(folder: Path) -> None:
    images = read_idx_folder(folder)
    assert images is not None
    bright = images.train.images[:, 0] > 100
    assert bright.sum(axis=(1, 2)).min() >= 10
    edge = np.ones((28, 28), dtype=bool)
    edge[1:-1, 1:-1] = False
    assert bright[:, edge].mean() < 0.001


def test_same_seed_gives_the_same_bytes_and_another_does_not(folder: Path, tmp_path: Path) -> None:
    name = "train-images-idx3-ubyte.gz"
    for seed, same in ((0, True), (1, False)):
        glyphs.write(tmp_path / str(seed), train=60, val=20, seed=seed)
        assert ((tmp_path / str(seed) / name).read_bytes() == (folder / name).read_bytes()) is same


def test_a_letter_is_told_from_others_by_its_mean() -> None:
    train, labels = glyphs.glyphs(400, np.random.default_rng(1))
    val, val_labels = glyphs.glyphs(200, np.random.default_rng(2))
    means = np.stack([train[labels == label].mean(axis=0).ravel() for label in range(10)])
    distances = ((val.reshape(200, 1, -1) - means) ** 2).sum(axis=2)
    accuracy = (distances.argmin(axis=1) == val_labels).mean()
    assert 0.2 < accuracy < 0.95


@pytest.mark.parametrize("arguments", [["--train", "55"], ["--val", "0"], ["--seed", "-1"]])
def test_wrong_requests_say_what_to_give(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert glyphs.main([str(tmp_path / "x"), *arguments]) == 2
    assert f"{arguments[0]} is {arguments[1]}: give " in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
