"""`kind: free`: samples that are nothing but a number and a class.

They are for the unconstrained-features model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from study.data.base import Dataset, Ints, class_facts
from study.data.cache import digest
from study.data.config import FreeData
from study.data.imbalance import class_sizes


@dataclass(frozen=True)
class Numbered:
    """Samples by number; the input of a sample is its number."""

    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def samples(self) -> int:
        return len(self)

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs, int64 (B,), and targets, int64 (B,)."""
        return torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(self.labels[rows])


def load_free(config: FreeData, base: Path, cache: Path) -> Dataset:
    """Samples in the order of their classes.

    Features exist for training samples alone, so validation uses the same. Nothing is read.
    """
    counts = class_sizes(config, config.quota, config.classes)
    samples = Numbered(np.repeat(np.arange(config.classes), counts))
    return Dataset(
        train=samples,
        val=samples,
        classes=config.classes,
        input_shape=(len(samples),),
        fingerprint=digest(samples.labels.tobytes()),
        class_counts=counts,
        class_names=[str(number) for number in range(config.classes)],
        facts=class_facts(counts),
    )
