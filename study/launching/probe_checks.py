"""Probes that their data cannot give, known before a training starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from study.data.base import DataError
from study.data.config import ImagesData
from study.data.image_choice import ChosenImages, choose_images
from study.data.probes import choose_probe, classes_without
from study.grid import Cell, Training
from study.launching.data_sizes import DataSizes, is_fetched_for_probe
from study.models.vision_config import ImageModel
from study.settings.faults import Fault
from study.settings.probe import HELD_OUT, ProbeConfig

SHOTS, SOURCE, PCA = "measure.probe.shots", "measure.probe.data", "measure.probe.pca"


def probe_faults(trainings: Iterable[Training], sizes: DataSizes) -> Iterator[Fault]:
    """Probes of data that cannot be read, are trained on, or are too few.

    Those of the hub are not fetched for it.
    """
    seen = set[tuple[str, str, str, Path]]()
    for cell in (cell for training in trainings for cell in training.cells):
        data, probe = cell.config.data, cell.config.measure.probe
        if probe is None or not isinstance(data, ImagesData):
            continue
        model = cell.config.model.model_dump_json()
        identity = (data.model_dump_json(), probe.model_dump_json(), model, cell.folder)
        if identity in seen or not is_fetched_for_probe(data, probe.data):
            continue
        seen.add(identity)
        try:
            choice = choose_probe(data, probe.data, cell.folder, sizes.cache)
        except DataError as error:
            yield Fault(SOURCE, str(error).removeprefix("data.source: "))
            continue
        yield from _faults_of(choice, probe)
        yield from _faults_beside(choice, probe, cell, sizes)


def _faults_of(choice: ChosenImages, probe: ProbeConfig) -> Iterator[Fault]:
    """What the images of a probe lack."""
    if len(choice.names) < 2:
        yield Fault(SOURCE, "has one class: nothing can be told apart", "Take two classes or more")
        return
    if missing := classes_without(choice):
        text = f"has classes without a training or a validation image: {', '.join(missing)}"
        yield Fault(SOURCE, text, "Leave them out of the source, or change data.val_fraction")
        return
    counts = np.bincount(choice.train.labels, minlength=len(choice.names))
    least = int(counts.min())
    for shots in probe.shots:
        if shots != "all" and shots > least:
            name = choice.names[int(counts.argmin())]
            text = f"asks for {shots} images of a class, but class {name} has {least} to learn from"
            yield Fault(SHOTS, text, f"Take at most {least}, or all")


def _faults_beside(
    choice: ChosenImages, probe: ProbeConfig, cell: Cell, sizes: DataSizes
) -> Iterator[Fault]:
    """What of a probe does not go with the images and the model that are trained."""
    size, model = sizes.size(cell), cell.config.model
    if size is None:
        return
    channels = choice.train.images.shape[1]
    if channels != size.input_shape[0] and 1 not in (channels, size.input_shape[0]):
        text = f"has images of {channels} channels, the training those of {size.input_shape[0]}"
        yield Fault(SOURCE, text, "Take images in colour, or grey ones")
    if probe.pca is not None and isinstance(model, ImageModel):
        most = min(len(choice.train.labels) - 1, model.body_size(*size.input_shape)[1])
        if probe.pca > most:
            text = f"is {probe.pca}, but the probe's features have {most} principal directions"
            yield Fault(PCA, text, f"Take at most {most}, or null")
    if probe.data != HELD_OUT and _same_images(choice, cell, sizes):
        text = f"{probe.data} holds the images on which the model is trained under another name"
        yield Fault(SOURCE, text, "Hold classes out by data.held_out_classes and probe held_out")


def _same_images(choice: ChosenImages, cell: Cell, sizes: DataSizes) -> bool:
    """Whether a probe's source has the very images of the training's source."""
    data = cell.config.data
    assert isinstance(data, ImagesData)
    own = choose_images(data, cell.folder, sizes.cache).source.train.images
    other = choice.source.train.images
    return own.shape == other.shape and bool((own == other).all())
