"""The pass that takes derivatives of features by inputs."""

from __future__ import annotations

from typing import Protocol

import torch

from study.config import MeasureConfig
from study.data.base import Dataset
from study.measuring.arithmetic import arithmetic
from study.measuring.samples import Beat, batches, measured_rows
from study.metrics.complexity import squared_jacobians
from study.models.base import FeatureModel

VALUES = 2**16
"""Values of the rows whose derivatives are taken at once: a graph keeps what layers give."""


class Subject(Protocol):
    """What is measured: the model, samples and settings of some `Passes`."""

    model: FeatureModel
    data: Dataset
    measure: MeasureConfig
    seed: int
    device: torch.device
    share: tuple[int, int]
    beat: Beat | None


def complexity_sums(passes: Subject) -> tuple[float, int]:
    """Sum of ||d h / d x||_F^2 over the samples asked for, and how many they are."""
    data, asked = passes.data.train, passes.measure.complexity_samples
    rows = measured_rows(data, asked, passes.seed)
    dtype, total, samples = passes.model.head.weight.dtype, 0.0, 0
    for batch in batches(data, rows, passes.device, "derivatives", passes.beat, passes.share):
        size = max(1, VALUES * len(batch.inputs) // batch.inputs.numel())
        for inputs in torch.split(batch.inputs.to(dtype), size):
            with arithmetic(passes.measure.compute, passes.device):
                total += float(squared_jacobians(passes.model.features, inputs).sum())
            samples += len(inputs)
    return total, samples
