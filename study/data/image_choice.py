"""Which images of a source are used, and with which labels.

Split, balance and noise; without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from study.data.base import DataError, Ints
from study.data.config import ImagesData
from study.data.image_files import ImageSet, Labelled
from study.data.image_sources import open_images
from study.data.imbalance import class_sizes


@dataclasses.dataclass(frozen=True)
class ChosenImages:
    """Training and validation images of a configuration, and names of their classes."""

    source: ImageSet
    train: Labelled
    val: Labelled
    names: list[str]
    wrong: int
    """Training images that were given a wrong class."""


def choose_images(config: ImagesData, base: Path, cache: Path) -> ChosenImages:
    """Split the images of a source, choose those to train on, add label noise.

    Classes held out are left out of both parts, and the others are numbered anew in their order;
    which image is in which part does not depend on them. The training part keeps what quota and
    imbalance ask for.

    Class 0 is the largest and the last class the smallest under imbalance, as is usual for images.

    Raises:
        DataError: the source cannot be read, lacks a class that is held out, or has fewer images
            of a class than asked for.
    """
    source = open_images(config, base, cache)
    train, val = (
        (source.train, source.val)
        if source.val
        else _split(source.train, config.val_fraction, config.seed)
    )
    names = source.names
    if config.held_out_classes is not None:
        kept = _kept_classes(config.held_out_classes, len(names))
        train, val = of_classes(train, kept), of_classes(val, kept)
        names = [names[number] for number in kept]
    chosen = train.take(_chosen_rows(config, train.labels, names))
    noisy = _with_noise(
        chosen.labels, config.label_noise, len(names), np.random.default_rng([config.seed, 2])
    )
    wrong = int((noisy != chosen.labels).sum())
    return ChosenImages(source, dataclasses.replace(chosen, labels=noisy), val, names, wrong)


def _kept_classes(held_out: Sequence[int], classes: int) -> list[int]:
    """The classes that are not held out.

    Raises DataError where fewer than two are left.
    """
    if held_out[-1] >= classes:
        raise DataError(
            f"data.held_out_classes: there is no class {held_out[-1]}; classes are numbered from 0 "
            f"to {classes - 1}"
        )
    kept = [number for number in range(classes) if number not in held_out]
    if len(kept) < 2:
        raise DataError(
            f"data.held_out_classes: leaves {len(kept)} of {classes} classes to train on; hold out "
            f"at most {classes - 2}"
        )
    return kept


def of_classes(images: Labelled, classes: Sequence[int]) -> Labelled:
    """The images of some classes, which are numbered in this order from 0."""
    numbers = np.full(1 + max(int(images.labels.max()), *classes), -1)
    numbers[list(classes)] = np.arange(len(classes))
    labels = numbers[images.labels]
    chosen = np.flatnonzero(labels >= 0)
    return dataclasses.replace(images.take(chosen), labels=labels[chosen])


def _split(images: Labelled, val_fraction: float, seed: int) -> tuple[Labelled, Labelled]:
    order = np.random.default_rng([seed, 0]).permutation(len(images.labels))
    cut = round((1 - val_fraction) * len(order))
    if not 0 < cut < len(order):
        raise DataError(
            f"data.val_fraction: {val_fraction} of {len(order)} images leaves one side empty"
        )
    return images.take(np.sort(order[:cut])), images.take(np.sort(order[cut:]))


def _chosen_rows(config: ImagesData, labels: Ints, names: list[str]) -> Ints:
    """Ascending rows: of each class as many as it should have, chosen at random."""
    counts = np.bincount(labels, minlength=len(names))
    if config.quota is None and config.imbalance_ratio == 1:
        return np.arange(len(labels))
    sizes = class_sizes(config, config.quota or int(counts.min()), len(names))
    for name, available, size in zip(names, counts, sizes, strict=True):
        if available < size:
            raise DataError(
                f"data.quota: class {name} has {available} training images, {size} are asked for"
            )
    order = np.random.default_rng([config.seed, 1]).permutation(len(labels))
    return np.sort(
        np.concatenate([order[labels[order] == c][:size] for c, size in enumerate(sizes)])
    )


def _with_noise(labels: Ints, share: float, classes: int, generator: np.random.Generator) -> Ints:
    """Labels of which exactly the share, rounded, is replaced by another class.

    Any other class is equally likely.
    """
    wrong = generator.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[wrong] = (labels[wrong] + generator.integers(1, classes, size=len(wrong))) % classes
    return noisy
