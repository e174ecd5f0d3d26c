"""Random images in memory, for tests of training and measuring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from study.data.base import Dataset, Ints


@dataclass
class ImageRows:
    """Images (N, channels, height, width) with one class each."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def samples(self) -> int:
        return len(self)

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[torch.from_numpy(rows)], self.labels[torch.from_numpy(rows)]


def random_rows(classes: int, each: int, shape: tuple[int, ...], seed: int) -> ImageRows:
    """So many images of each class: a pattern of the class in noise of the same size."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(classes, *shape, generator=torch.Generator().manual_seed(classes))
    labels = torch.arange(classes).repeat(each)
    return ImageRows(
        patterns[labels] + torch.randn(len(labels), *shape, generator=generator), labels
    )


def image_dataset(
    classes: int, each: int, shape: tuple[int, ...] = (3, 32, 32), ood: int = 0
) -> Dataset:
    """Training and validation images, and `ood` images of pure noise."""
    train = random_rows(classes, each, shape, seed=1)
    ends = [end(train.images, dim=(0, 2, 3), keepdim=True)[0] for end in (torch.amin, torch.amax)]
    return Dataset(
        train=train,
        val=random_rows(classes, 1, shape, seed=2),
        classes=classes,
        input_shape=shape,
        fingerprint=f"{classes} x {each} random images",
        class_counts=np.full(classes, each),
        class_names=[str(number) for number in range(classes)],
        facts={},
        ood={"noise": random_rows(1, ood, shape, seed=3)} if ood else {},
        input_range=(ends[0], ends[1]),
    )
