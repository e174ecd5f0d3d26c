"""Peak memory of measuring, as the allocator of the CPU reports it."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile

from study.config import MeasureConfig
from study.data.base import Dataset, Ints
from study.measuring.collect import Meter
from study.measuring.crew import Alone
from study.measuring.passes import Passes
from study.models.base import FeatureModel
from study.precision import at_precision, parse_precision

V, D = 4096, 64


class Numbers:
    """Rows whose input and class are their number."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def batch(self, rows: Ints) -> tuple[Tensor, Tensor]:
        numbers = torch.from_numpy(rows)
        return numbers[:, None], numbers[:, None]


class Table(FeatureModel):
    """A feature of its own for each class, and linear blocks."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.embedding, self.head, self.tied = nn.Embedding(V, D), nn.Linear(D, V), False
        self.blocks = nn.ModuleList(nn.Linear(D, D) for _ in range(blocks))
        self.eval()

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {f"block{number}": block for number, block in enumerate(self.blocks, start=1)}

    def features(self, x: Tensor) -> Tensor:
        h: Tensor = self.embedding(x)
        for block in self.blocks:
            h = block(h)
        return h


def peak(precisions: list[str], blocks: int = 0) -> int:
    """Bytes that measuring takes beyond what was there."""
    torch.manual_seed(0)
    model, names = Table(blocks), [str(number) for number in range(V)]
    counts = np.ones(V, dtype=np.int64)
    data = Dataset(Numbers(V), Numbers(256), V, (1,), "", counts, names, {})
    measure = MeasureConfig(min_count=1, agreement_samples=256, layers="all" if blocks else "last")
    with profile(profile_memory=True) as seen:
        passes = Passes(model, data, measure, seed=0, device=torch.device("cpu"))
        meter = Meter(Alone(passes), data, measure)
        for name in precisions:
            with at_precision(model, parse_precision(name)):
                meter.measure(reference=name == "fp32")
    events = seen.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(accumulate(size for _, size in memory))


def test_memory_does_not_grow_with_the_number_of_precisions() -> None:
    moments = 8 * V * D
    one, four = peak(["fp32", "int8"]), peak(["fp32", "int8", "int4", "int3", "fp8"])
    assert one > 4 * moments
    assert four - one < 0.1 * moments


def test_memory_does_not_grow_with_the_number_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are measured at a time, and of those before the covariances alone are kept."""
    monkeypatch.setattr("study.measuring.collect.LAYER_BYTES", 1)
    moments, covariance = 8 * V * D, 8 * D**2
    none, six = peak(["fp32", "int8"]), peak(["fp32", "int8"], 6)
    assert none > 4 * moments
    assert six - none < 6 * covariance + 0.1 * moments
