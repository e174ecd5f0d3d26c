"""Images of other sources (`data.ood`), made like those of the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from study.data.base import DataError
from study.data.config import NOISE, PHOTOS, ImagesData
from study.data.image_files import Labelled, Pixels
from study.data.image_sources import image_path, open_images
from study.data.ood_sets import set_name, sources_of

MOST_NOISE = 10_000
"""Images of noise at most; else they are as many as those of the training."""


def check_ood(config: ImagesData, base: Path) -> None:
    """Raise DataError with all sources of `config.ood` that are not there."""
    faults = []
    for source in sources_of(config.ood):
        if source not in (PHOTOS, *NOISE):
            try:
                image_path(_of_source(config, source), base)
            except DataError as fault:
                faults.append(_about_ood(fault))
    if faults:
        raise DataError("; ".join(faults))


def load_ood(
    config: ImagesData,
    base: Path,
    cache: Path,
    like: Pixels,
    moments: tuple[torch.Tensor, torch.Tensor],
) -> dict[str, Labelled]:
    """Images of each set of `config.ood` by its name, made like those of the training.

    They get the channels, height, width and range of values of `like` (N, channels, height, width).

    The validation split where a source has one, else all images; labels are 0. Photographs are
    cut into patches, all others are resized (bilinear with antialiasing). Colours become their
    mean, grey becomes three equal channels. Noise is independent between pixels: uniform in the
    range of values, or Gaussian with the `moments` of each channel, rounded and cut to it.

    Args:
        config: the settings.
        base: where relative paths start.
        cache: folder of decoded images.
        like: the training images.
        moments: mean and deviation of each channel of them, (channels, 1, 1).

    Raises:
        DataError: a source cannot be read, has channels that cannot be converted, or photographs
            are smaller than an image.
    """
    sets = {}
    for source in sources_of(config.ood):
        if source in NOISE:
            pixels = _noise(source, config.seed, like, moments)
        else:
            pixels = matched(_images(config, source, base, cache, like), like, "data.ood")
        sets[set_name(source)] = Labelled(pixels, np.zeros(len(pixels), dtype=np.int64))
    return sets


def _of_source(config: ImagesData, source: str) -> ImagesData:
    return config.model_copy(update={"source": source, "label_column": None, "group": None})


def _about_ood(fault: DataError) -> str:
    return str(fault).replace("data.source:", "data.ood:", 1)


def _images(config: ImagesData, source: str, base: Path, cache: Path, like: Pixels) -> Pixels:
    """Images of a source as it has them; photographs are cut to the size of others."""
    if source == PHOTOS:
        return _patches(*like.shape[2:])
    try:
        images = open_images(_of_source(config, source), base, cache)
    except DataError as fault:
        raise DataError(_about_ood(fault)) from fault
    return (images.val or images.train).images


def matched(images: Pixels, like: Pixels, setting: str) -> Pixels:
    """Images with the channels, height, width and range of values of `like`.

    Both are (N, channels, height, width). They are resized (bilinear with antialiasing); colours
    become their mean, grey becomes three equal channels. Raises DataError, about the setting that
    asks for the images, for channels that cannot be converted.
    """
    channels, height, width = like.shape[1:]
    values = torch.from_numpy(images).float()
    if values.shape[1] != channels:
        if channels != 1 and values.shape[1] != 1:
            raise DataError(
                f"{setting}: images of {values.shape[1]} channels cannot stand beside those of "
                f"{channels}"
            )
        values = values.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    if values.shape[2:] != (height, width):
        values = F.interpolate(values, (height, width), mode="bilinear", antialias=True)
    # Black images stay black in any range.
    values = values * (float(like.max()) / max(float(images.max()), 1.0))
    return values.round().clamp(0, 255).to(torch.uint8).numpy()


def _noise(
    kind: str, seed: int, like: Pixels, moments: tuple[torch.Tensor, torch.Tensor]
) -> Pixels:
    """(N, channels, height, width) images of noise, drawn by `seed`."""
    generator = np.random.default_rng([seed, 3, NOISE.index(kind)])
    shape, largest = (min(len(like), MOST_NOISE), *like.shape[1:]), int(like.max())
    if kind == "uniform_noise":
        return generator.integers(0, largest, size=shape, dtype=np.uint8, endpoint=True)
    mean, deviation = (moment.numpy() for moment in moments)
    values = mean + deviation * generator.standard_normal(shape)
    pixels: Pixels = values.round().clip(0, largest).astype(np.uint8)
    return pixels


def _patches(height: int, width: int) -> Pixels:
    """(N, 3, height, width) patches, without overlap, of two photographs.

    The photographs are the samples of scikit-learn. Raises DataError where they are too small.
    """
    from sklearn.datasets import load_sample_images

    patches = []
    for photo in load_sample_images().images:
        rows, columns = photo.shape[0] // height, photo.shape[1] // width
        cut = photo[: rows * height, : columns * width].reshape(rows, height, columns, width, 3)
        patches.append(cut.transpose(0, 2, 4, 1, 3).reshape(-1, 3, height, width))
    if not sum(map(len, patches)):
        raise DataError(
            f"data.ood: {PHOTOS} have {photo.shape[0]} x {photo.shape[1]} pixels, of which "
            f"no image of {height} x {width} can be cut: name another source"
        )
    whole: Pixels = np.concatenate(patches)
    return whole
