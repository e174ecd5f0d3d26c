"""The training samples that a precision is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from study.data.base import Dataset, Ints
from study.measuring.samples import batches
from study.precision import Calibration
from study.precision.options import PrecisionOptions


def calibration_rows(rows: int, samples: int, seed: int, data_seed: int) -> Ints:
    """`samples` of the training rows in ascending order, or all of fewer."""
    generator = np.random.default_rng([seed, data_seed, rows])
    return np.sort(generator.permutation(rows)[:samples])


def calibration(
    data: Dataset, options: PrecisionOptions, data_seed: int, device: torch.device
) -> Calibration:
    """Inputs of the training rows that `options.calibration` and `data.seed` draw."""
    drawn = options.calibration
    rows = calibration_rows(len(data.train), drawn.samples, drawn.seed, data_seed)

    def inputs() -> Iterator[Tensor]:
        for batch in batches(data.train, rows, device, "calibration", None):
            yield batch.inputs

    return Calibration(inputs, options)
