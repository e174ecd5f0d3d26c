"""What measuring a checkpoint at four precisions costs, in plain forward passes.

Left out is what is done once a checkpoint, whatever its samples (rounding the weights). It takes
less than three minutes on two idle cores. The exit code is 1 where a target is missed.

Targets, in units of plain forward passes over the same samples: at most 1.2 for the moments of
training samples, at most 2 for them and the decisions, by both sets of class means, on as many
validation samples. Both sides use the same batches, threads and models and take turns after each
batch, because a shared machine is a quarter faster or slower from one minute to the next; the
median of the ratios of the rounds counts, and all of them are printed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter

import numpy as np
import torch
from _machine import machine
from torch import Tensor

from study.config import MeasureConfig
from study.data.base import Dataset, Ints, Split
from study.measuring.collect import collect
from study.models import GPTNeoModel, build_model
from study.models.base import FeatureModel
from study.precision import quantize

PRECISIONS = ("fp32", "bf16", "int8", "int4-g32")
CLASSES, CONTEXT, ROUNDS = 4096, 257, 3
MOMENT_ROWS, ROWS = 160, 48
"""10 samples a class for moments alone; 3 where validation is read too."""
CPU = torch.device("cpu")


class Tokens:
    """Random rows of tokens."""

    def __init__(self, rows: int, seed: int) -> None:
        self.tokens = torch.randint(
            0, CLASSES, (rows, CONTEXT), generator=torch.Generator().manual_seed(seed)
        )
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
    return Dataset(
        train, val, CLASSES, (CONTEXT - 1,), "", np.zeros(CLASSES, dtype=np.int64), names, {}
    )


def main() -> int:
    """Print both ratios; 1 if one is above its target."""
    torch.set_num_threads(2)
    print(machine("torch", threads=torch.get_num_threads()), flush=True)
    config = GPTNeoModel(width=256, depth=4, heads=8)
    model = build_model(config, classes=CLASSES, input_shape=(CONTEXT - 1,), seed=0).eval()
    models = {name: quantize(model, name).eval() for name in PRECISIONS}
    moments, both = dataset(MOMENT_ROWS, 1), dataset(ROWS, ROWS)

    @torch.no_grad()
    def forward(split: Split, rows: Ints, model: FeatureModel) -> None:
        inputs, _ = split.batch(rows)
        model(inputs)

    def seconds(data: Dataset, passes: dict[str, Split]) -> tuple[float, float]:
        """Of one measurement and of as many plain forward passes, one after each batch."""
        plain, at, done = 0.0, Counter[str](), Counter[str]()

        def beat(doing: str, share: float) -> None:
            nonlocal plain
            if doing in passes:
                split, start = passes[doing], at[doing]
                at[doing] = round(share * len(split))
                began = time.perf_counter()
                forward(split, np.arange(start, at[doing]), models[PRECISIONS[done[doing]]])
                plain += time.perf_counter() - began
                if at[doing] == len(split):  # the models are measured one after another
                    at[doing], done[doing] = 0, done[doing] + 1

        began = time.perf_counter()
        collect(models, data, settings, seed=0, device=CPU, reference="fp32", beat=beat)
        assert all(done[doing] == len(models) for doing in passes)
        return time.perf_counter() - began - plain, plain

    settings = MeasureConfig(min_count=1, agreement_samples=1)
    cases: list[tuple[str, Dataset, dict[str, Split], float]] = [
        ("moments", moments, {"training moments": moments.train}, 1.2),
        (
            "moments and validation agreement",
            both,
            {"training moments": both.train, "validation": both.val},
            2.0,
        ),
    ]
    collect(models, dataset(4, 4), settings, seed=0, device=CPU, reference="fp32")  # warms up
    missed = False
    for name, data, passes, target in cases:
        rounds = [seconds(data, passes) for _ in range(ROUNDS)]
        ratio = statistics.median(ours / plain for ours, plain in rounds)
        times = ", ".join(f"{ours:.2f}/{plain:.2f} s" for ours, plain in rounds)
        print(f"{name}: ratio {ratio:.2f} (target at most {target}), {times}", flush=True)
        missed = missed or ratio > target
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
