"""`kind: images`: labelled images, standardised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from study.data.base import Dataset, Groups, Ints, class_facts
from study.data.cache import digest
from study.data.config import ImagesData
from study.data.groups import row_groups
from study.data.image_choice import ChosenImages, choose_images
from study.data.image_files import Labelled
from study.data.ood import load_ood


@dataclass(frozen=True)
class Images:
    """Images with one class each.

    A batch is standardised per channel: (x - mean) / deviation.
    """

    content: Labelled
    mean: torch.Tensor
    """(channels, 1, 1)"""
    deviation: torch.Tensor
    """(channels, 1, 1)"""

    def __len__(self) -> int:
        return len(self.content.labels)

    @property
    def samples(self) -> int:
        return len(self)

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs, float32 (B, channels, height, width), and targets, int64 (B,)."""
        pixels = torch.from_numpy(self.content.images[rows]).float()
        return (pixels - self.mean) / self.deviation, torch.from_numpy(self.content.labels[rows])


def load_images(config: ImagesData, base: Path, cache: Path) -> Dataset:
    """Read, choose and standardise images.

    Raises:
        DataError: the source cannot be read, or a class has fewer images than asked for.
    """
    choice = choose_images(config, base, cache)
    mean, deviation = _channel_moments(choice.train)
    train, val = (Images(part, mean, deviation) for part in (choice.train, choice.val))
    counts = np.bincount(choice.train.labels, minlength=len(choice.names))
    ood = load_ood(config, base, cache, choice.train.images, (mean, deviation))
    groups = _groups(config, choice)
    pixels = choice.train.images
    input_range = tuple((int(end) - mean) / deviation for end in (pixels.min(), pixels.max()))
    original = [choice.source.train, choice.source.val, *ood.values()]
    return Dataset(
        train=train,
        val=val,
        classes=len(counts),
        input_shape=choice.train.images.shape[1:],
        fingerprint=digest(
            *(
                array.tobytes()
                for part in original
                if part is not None
                for array in (part.images, part.labels)
            ),
            *(() if groups is None else groups.content),
        ),
        class_counts=counts,
        class_names=choice.names,
        facts={
            "train_images": len(train),
            "val_images": len(val),
            "wrong_labels": choice.wrong,
            **class_facts(counts),
        },
        ood={name: Images(content, mean, deviation) for name, content in ood.items()},
        groups=groups,
        input_range=(input_range[0], input_range[1]),
    )


def _groups(config: ImagesData, choice: ChosenImages) -> Groups | None:
    train, val = choice.train.groups, choice.val.groups
    if config.group is None or train is None or val is None:
        return None
    return row_groups({"train": train, "val": val}, choice.source.group_names, config.group)


def _channel_moments(images: Labelled) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel, (channels, 1, 1).

    A constant channel has deviation 1, so it becomes 0.
    """
    values = np.arange(256)
    channels = images.images.shape[1]
    counts = np.stack(
        [np.bincount(images.images[:, c].ravel(), minlength=256) for c in range(channels)]
    )
    mean = counts @ values / counts.sum(axis=1)
    deviation = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1))
    deviation[deviation == 0] = 1
    return tuple(torch.from_numpy(moment).float()[:, None, None] for moment in (mean, deviation))  # type: ignore[return-value]
