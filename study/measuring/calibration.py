"""The training samples that a precision is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from study.data.base import Dataset, Ints
from study.precision.calibration import Calibration
from study.precision.options import PrecisionOptions

VALUES = 2**16
"""Numbers (tokens, pixels) that a model reads at a time."""


def calibration_rows(rows: int, samples: int, seed: int, data_seed: int) -> Ints:
    """`samples` of the training rows, or all where there are fewer, in ascending order."""
    generator = np.random.default_rng([seed, data_seed, rows])
    return np.sort(generator.permutation(rows)[:samples])


def calibration(
    data: Dataset, options: PrecisionOptions, data_seed: int, device: torch.device
) -> Calibration:
    """Inputs of the training rows that `options.calibration` and `data.seed` draw."""
    drawn = options.calibration
    rows = calibration_rows(len(data.train), drawn.samples, drawn.seed, data_seed)

    def inputs() -> Iterator[Tensor]:
        size = max(1, VALUES // int(np.prod(data.input_shape)))
        for start in range(0, len(rows), size):
            yield data.train.batch(rows[start : start + size])[0].to(device)

    return Calibration(inputs, options)
