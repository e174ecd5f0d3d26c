"""Data of probes: classes held out of training, or images of another source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from study.data.base import DataError, Dataset, ProbeData
from study.data.cache import digest
from study.data.config import DataSettings, ImagesData
from study.data.image_choice import ChosenImages, choose_images, of_classes
from study.data.image_files import Labelled
from study.settings.probe import HELD_OUT


def with_probes(
    data: Dataset, config: DataSettings, names: Iterable[str], *, base: Path, cache: Path
) -> Dataset:
    """The data with those of the probes that `names` of `measure.probe.data` ask for.

    Their images are standardised as those of the training.

    Raises:
        DataError: a source cannot be read, or does not fit the images of the training.
    """
    probes = {name: _load(data, config, name, base, cache) for name in dict.fromkeys(names)}
    return dataclasses.replace(data, probes=probes)


def choose_probe(config: ImagesData, name: str, base: Path, cache: Path) -> ChosenImages:
    """Images of a probe, all of each class; `held_out`: those of the classes held out.

    They are split as those of the training: by the source's own validation split where it has one,
    else by `val_fraction` and `seed`. So no validation image of one is a training image of the
    other.

    Raises:
        DataError: the source cannot be read.
    """
    plain = {
        "held_out_classes": None,
        "quota": None,
        "imbalance_ratio": 1.0,
        "label_noise": 0.0,
        "ood": None,
        "group": None,
    }
    if name != HELD_OUT:
        other = config.model_copy(update={**plain, "source": name, "label_column": None})
        return choose_images(other, base, cache)
    held_out = config.held_out_classes
    assert held_out is not None
    choice = choose_images(config.model_copy(update=plain), base, cache)
    train, val = (of_classes(part, held_out) for part in (choice.train, choice.val))
    names = [choice.names[number] for number in held_out]
    return dataclasses.replace(choice, train=train, val=val, names=names)


def _load(data: Dataset, config: DataSettings, name: str, base: Path, cache: Path) -> ProbeData:
    from study.data.images import Images
    from study.data.ood import matched

    assert isinstance(config, ImagesData)
    assert isinstance(data.train, Images)
    choice = choose_probe(config, name, base, cache)
    if missing := classes_without(choice):
        raise DataError(f"measure.probe.data: classes without an image: {', '.join(missing)}")
    pixels = np.concatenate([choice.train.images, choice.val.images])
    if name != HELD_OUT:  # whose images are of the same kind already
        pixels = matched(pixels, data.train.content.images, "measure.probe.data")
    cut = len(choice.train.labels)
    parts = (
        Labelled(pixels[:cut], choice.train.labels),
        Labelled(pixels[cut:], choice.val.labels),
    )
    train, val = (Images(part, data.train.mean, data.train.deviation) for part in parts)
    content = digest(*(array.tobytes() for part in parts for array in (part.images, part.labels)))
    return ProbeData(train, val, len(choice.names), content)


def classes_without(choice: ChosenImages) -> list[str]:
    """Names of classes of which one of the splits has no image."""
    parts = (choice.train.labels, choice.val.labels)
    counts = np.min([np.bincount(labels, minlength=len(choice.names)) for labels in parts], axis=0)
    return [name for name, count in zip(choice.names, counts, strict=True) if not count]
