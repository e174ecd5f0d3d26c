"""What measuring a checkpoint under eight precisions costs, in units of eight plain forward passes.

Targets: moments alone at most 1.2 of them over the same samples, moments and validation agreement at most 2 of them over the
training samples. Ratios of medians within this run; both sides use the same batches, threads and models.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from study.collect import BATCH_SAMPLES, collect
from study.config import MeasureConfig
from study.data.base import Dataset, Ints
from study.models import build_model
from study.models.config import GPTNeoModel
from study.precision import quantize

PRECISIONS = ("fp32", "bf16", "int8", "int6", "int4-g32", "int3", "int2", "fp8")
CLASSES, CONTEXT, ROWS, REPEATS = 4096, 257, 96, 5
CPU = torch.device("cpu")


class Tokens:
    """Random rows of tokens."""

    def __init__(self, rows: int, seed: int) -> None:
        self.tokens = torch.randint(0, CLASSES, (rows, CONTEXT), generator=torch.Generator().manual_seed(seed))
        self.samples = rows * (CONTEXT - 1)

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, rows: Ints) -> tuple[Tensor, Tensor]:
        chosen = self.tokens[torch.from_numpy(rows)]
        return chosen[:, :-1], chosen[:, 1:]


def dataset(train_rows: int, val_rows: int) -> Dataset:
    """Training and validation rows of the same kind."""
    train, val = Tokens(train_rows, 0), Tokens(val_rows, 1)
    names = [str(number) for number in range(CLASSES)]
    return Dataset(train, val, CLASSES, (CONTEXT - 1,), "", np.zeros(CLASSES, dtype=np.int64), names, {})


def median_seconds(run: Callable[[], object]) -> float:
    """Median time of a call after one to warm up."""
    run()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print both ratios."""
    torch.set_num_threads(2)
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, load {load:.1f}, 2 threads, torch {torch.__version__}")
    config = GPTNeoModel(width=256, depth=4, heads=8)
    model = build_model(config, classes=CLASSES, input_shape=(CONTEXT - 1,), seed=0).eval()
    models = {name: quantize(model, name).eval() for name in PRECISIONS}
    few, both = dataset(ROWS, 1), dataset(ROWS, ROWS)
    at_once = BATCH_SAMPLES // (CONTEXT - 1)

    @torch.no_grad()
    def forward() -> None:
        for start in range(0, ROWS, at_once):
            inputs, _ = few.train.batch(np.arange(start, min(start + at_once, ROWS)))
            for each in models.values():
                each(inputs)

    def measure(data: Dataset) -> Callable[[], object]:
        settings = MeasureConfig(min_count=1, agreement_samples=1)
        return lambda: collect(models, data, settings, seed=0, device=CPU, reference="fp32")

    plain = median_seconds(forward)
    for name, data, target in (("moments", few, 1.2), ("moments and validation agreement", both, 2.0)):
        ours = median_seconds(measure(data))
        print(f"{name}: {ours:.2f} s against {plain:.2f} s, ratio {ours / plain:.2f} (target at most {target})")


if __name__ == "__main__":
    main()
