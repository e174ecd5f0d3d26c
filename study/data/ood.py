"""Images of another source (`data.ood`), made like those of the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from study.data.base import DataError, Ints
from study.data.config import ImagesData
from study.data.image_files import Labelled, Pixels
from study.data.image_sources import open_images


def load_ood(config: ImagesData, base: Path, cache: Path, like: Pixels) -> Labelled:
    """Images of `config.ood`, made like those of the training.

    They get the channels, height, width and range of values of `like` (N, channels, height, width).

    The validation split where the source has one, else all images; labels are 0. Photographs are
    cut into patches, all others are resized (bilinear with antialiasing). Colours become their
    mean, grey becomes three equal channels.

    Raises:
        DataError: the source cannot be read, or has channels that cannot be converted.
    """
    assert config.ood is not None
    _, height, width = like.shape[1:]
    if config.ood == "photos":
        images = _patches(height, width)
    else:
        source = open_images(
            config.model_copy(update={"source": config.ood, "label_column": None, "group": None}),
            base,
            cache,
        )
        images = (source.val or source.train).images
    labels: Ints = np.zeros(len(images), dtype=np.int64)
    return Labelled(matched(images, like, "data.ood"), labels)


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
    values = values * (float(like.max()) / float(images.max()))
    return values.round().clamp(0, 255).to(torch.uint8).numpy()


def _patches(height: int, width: int) -> Pixels:
    """(N, 3, height, width) patches, without overlap, of two photographs.

    The photographs are the samples of scikit-learn.
    """
    from sklearn.datasets import load_sample_images

    patches = []
    for photo in load_sample_images().images:
        rows, columns = photo.shape[0] // height, photo.shape[1] // width
        cut = photo[: rows * height, : columns * width].reshape(rows, height, columns, width, 3)
        patches.append(cut.transpose(0, 2, 4, 1, 3).reshape(-1, 3, height, width))
    whole: Pixels = np.concatenate(patches)
    return whole
