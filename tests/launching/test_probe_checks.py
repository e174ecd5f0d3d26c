"""Probes that cannot be had are refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_study import launch

from study.config import study_from
from study.grid import expand
from study.launching.data_sizes import DataSizes

BASE: dict[str, Any] = {
    "name": "probes",
    "data": {"kind": "images"},
    "model": {"kind": "mlp", "width": 8, "depth": 1},
    "train": {"lr": 0.05, "batch_size": 64},
    "grid": {"epochs": [1]},
}
HELD_OUT = {"kind": "images", "held_out_classes": [5, 6]}


def refused(folder: Path, images: dict[str, Any], **probe: Any) -> None:
    study = {**BASE, "data": images, "measure": {"probe": probe}}
    assert launch(folder, study, "--dry-run") == 2


@pytest.mark.parametrize(
    ("data", "probe", "words"),
    [
        ({"kind": "images"}, {"data": "held_out"}, "no class is: list some in"),
        ({"kind": "images"}, {"data": "digits"}, "on which the model is trained"),
        (HELD_OUT, {"data": "digits"}, "on which the model is trained"),
        (
            {"kind": "images", "source": "cifar10"},
            {"data": "hub:uoft-cs/cifar10@main"},
            "on which the model is trained",
        ),
        ({"kind": "images"}, {"data": "photo"}, "neither held_out nor a source"),
        ({"kind": "images"}, {"data": "./nowhere"}, "no file or folder"),
        (HELD_OUT, {"data": "held_out", "shots": [1, 3]}, "is 3"),
        (HELD_OUT, {"data": "held_out", "shots": []}, "names no number of shots"),
        (HELD_OUT, {"data": "held_out", "draws": 1}, "is 1"),
        (HELD_OUT, {"data": "held_out", "layers": "all"}, "only the last layer is measured"),
        (HELD_OUT, {"data": "held_out", "pca": 9}, "have 8 principal directions"),
        ({"kind": "images", "held_out_classes": [5]}, {"data": "held_out"}, "has one class"),
        ({"kind": "images", "held_out_classes": [12, 13]}, {"data": "held_out"}, "no class 13"),
        ({"kind": "text"}, {"data": "held_out"}, "which data.kind text has not"),
    ],
    ids=str,
)
def test_a_probe_that_says_nothing_is_refused(
    data: dict[str, Any],
    probe: dict[str, Any],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused(tmp_path, data, **probe)
    output = capsys.readouterr()
    assert words in " ".join((output.out + output.err).split())


def test_what_a_source_lacks_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 256, size=(60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", train_images=images, train_labels=labels)
    refused(tmp_path, {"kind": "images"}, data="./few.npz", shots=[5, 50], pca=9)
    output = " ".join(capsys.readouterr().err.split())
    assert "asks for 50 images of a class, but class" in output
    assert "principal directions" in output


def test_the_same_images_under_another_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)
    np.savez(tmp_path / "copy.npz", train_images=images, train_labels=digits.target)
    refused(tmp_path, {"kind": "images"}, data="./copy.npz")
    assert "under another name" in " ".join(capsys.readouterr().err.split())


def test_a_sound_probe_is_planned_with_its_images(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    study = {**BASE, "data": HELD_OUT, "measure": {"probe": {"data": "held_out", "pca": 8}}}
    assert launch(tmp_path, study, "--dry-run") == 0
    cell = expand(study_from(study, folder=tmp_path, source="test"))[0]
    size = DataSizes(tmp_path).size(cell)
    assert size is not None
    counts = np.bincount(load_digits().target)
    assert size.probe_samples == counts[[5, 6]].sum()
    assert sum(size.class_counts) == size.train_samples
    assert len(size.class_counts) == 8
