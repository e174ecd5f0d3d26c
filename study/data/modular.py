"""`kind: modular`: sums of two residues, the task of grokking.

Shapes: B rows of a batch, S sums of a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from study.data.base import IGNORE, Dataset, Ints, class_facts
from study.data.cache import digest
from study.data.modular_config import INPUTS, ModularData


@dataclass(frozen=True)
class Sums:
    """Sums a + b mod p; sum number n has a = n // p and b = n mod p.

    numbers  (S,) the sums of the split
    p        the modulus, and the token =
    """

    numbers: Ints
    p: int

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def samples(self) -> int:
        return len(self)

    @property
    def classes(self) -> Ints:
        """(S,) a + b mod p."""
        first, second = np.divmod(self.numbers, self.p)
        residues: Ints = (first + second) % self.p
        return residues

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens a, b, = and targets, int64 (B, 3) each; the first two are ignored."""
        part = Sums(self.numbers[rows], self.p)
        first, second = np.divmod(part.numbers, self.p)
        equals = np.full_like(first, self.p)
        targets = torch.full((len(part), INPUTS), IGNORE)
        targets[:, -1] = torch.from_numpy(part.classes)
        return torch.from_numpy(np.stack([first, second, equals], axis=1)), targets


def load_modular(config: ModularData, base: Path, cache: Path) -> Dataset:
    """A seeded split of all p^2 sums. Nothing is read.

    a + b and b + a are two sums and may lie in different splits, as in Power et al. 2022.
    """
    order = np.random.default_rng(config.seed).permutation(config.p**2)
    train = Sums(np.sort(order[: config.train_rows]), config.p)
    val = Sums(np.sort(order[config.train_rows :]), config.p)
    counts = np.bincount(train.classes, minlength=config.p + 1)
    return Dataset(
        train=train,
        val=val,
        classes=config.p + 1,
        input_shape=(INPUTS,),
        fingerprint=digest(train.numbers.tobytes(), val.numbers.tobytes()),
        class_counts=counts,
        class_names=[*(str(residue) for residue in range(config.p)), "="],
        facts={**class_facts(counts), "val_samples": len(val)},
    )
