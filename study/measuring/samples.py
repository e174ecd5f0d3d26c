"""Which samples are measured, and how many at a time.

Shapes: N samples of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from study.data.base import IGNORE, Dataset, Ints, Split
from study.precision import Inputs

LOGITS = 2**21
"""Logits held at a time: 8 MB stay in cache and are not given back to the system each time."""
HEAD_SAMPLES = 256
"""Least samples at a time: with fewer, reading the head takes longer than the product."""
BATCH_SAMPLES = 8_192
"""Samples read at a time."""
IMAGE_VALUES = 2**19
"""Pixels that a model sees at a time, because what it computes from them is many times larger."""
TOKENS = 2**16
"""Tokens that a model sees at a time, where few tokens of a row are samples."""

Beat = Callable[[str, float], None]


def measured_rows(split: Split, samples: int | None, seed: int) -> Ints:
    """A seeded subset of rows with at most `samples` samples, in ascending order.

    It has at least one row; None takes all.

    The order of preference depends on the seed and the split's size alone, so a smaller subset is
    part of a larger one.
    """
    total = len(split)
    if samples is None or samples >= split.samples:
        return np.arange(total)
    take = max(1, samples * total // split.samples)
    return np.sort(np.random.default_rng([seed, total]).permutation(total)[:take])


def batches(
    split: Split, rows: Ints, device: torch.device, doing: str, beat: Beat | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Inputs of some rows at a time, with the targets of their samples.

    Targets are (N,); the third tensor says which of the flattened positions are samples.
    """
    if not len(rows):
        raise ValueError(f"{doing}: the split has no rows")
    at_once = max(1, BATCH_SAMPLES * len(split) // split.samples)
    for start in range(0, len(rows), at_once):
        inputs, targets = split.batch(rows[start : start + at_once])
        largest = IMAGE_VALUES if inputs.is_floating_point() else TOKENS
        size = max(1, largest * len(inputs) // inputs.numel())
        for part, part_targets in zip(
            torch.split(inputs, size), torch.split(targets, size), strict=True
        ):
            flat = part_targets.reshape(-1)
            positions = (flat != IGNORE).nonzero().squeeze(1)
            yield part.to(device), flat[positions].to(device), positions.to(device)
        if beat is not None:
            beat(doing, min(1.0, (start + at_once) / len(rows)))


def blocks(samples: int, classes: int) -> Iterator[slice]:
    """Slices of samples whose logits fit `LOGITS`, or of `HEAD_SAMPLES`."""
    size = max(HEAD_SAMPLES, LOGITS // classes)
    for start in range(0, samples, size):
        yield slice(start, start + size)


def calibration_inputs(data: Dataset, samples: int, *, seed: int, device: torch.device) -> Inputs:
    """Inputs of at most `samples` training samples, to calibrate a precision.

    They depend on the seed of the data alone, and are among the measured ones where as many are
    measured.
    """
    rows = measured_rows(data.train, samples, seed)

    def inputs() -> Iterator[Tensor]:
        for part, _, _ in batches(data.train, rows, device, "calibration", None):
            yield part

    return inputs
