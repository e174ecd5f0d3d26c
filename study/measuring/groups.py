"""Which samples of a batch belong to which group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from study.data.base import Groups
from study.measuring.samples import Batch


def members(
    groups: Groups | None, split: Literal["train", "val"], batch: Batch, part: slice = slice(None)
) -> Iterator[tuple[str, Tensor]]:
    """Names of groups with the places of their samples in a part of a batch."""
    if groups is None:
        return
    numbers = groups.of(split, batch.rows[part].numpy(), batch.labels[part].numpy())
    for number, name in enumerate(groups.names):
        places = torch.from_numpy(np.flatnonzero(numbers == number))
        if len(places):
            yield name, places
