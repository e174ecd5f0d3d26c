"""Peak memory of measuring: it depends on the number neither of precisions nor of layers.

A head of V = 65,536 classes on d = 512 features, one sample of each class for training, few for
validation. The peak of each case is that of the resident memory of a process of its own. Measured
are 1, 4 and 10 precisions beside the reference, the head's input alone (1 layer) and 8 layers.

Left out are what takes minutes and reuses memory: all tiles of the pair matrix but the first, and
all blocks of logits of a batch but the first. Pairs and losses mean nothing here.

Targets: no case takes more than 1.1 times the memory of 1 precision and 1 layer, and the plan of
`study.measure --dry-run` is within 25% of each. The exit code is 1 where one is missed.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import torch
from _machine import machine
from torch import Tensor, nn

from study.config import MeasureConfig
from study.data.base import Dataset, Ints
from study.measuring import passes as measuring_passes
from study.measuring.collect import Meter
from study.measuring.crew import Alone
from study.measuring.passes import Passes
from study.measuring.plan import memory_of, shape_of
from study.measuring.samples import blocks
from study.metrics import pairs
from study.models.base import FeatureModel
from study.precision import REFERENCE, at_precision, parse_precision

CLASSES, WIDTH, BLOCKS, VALIDATION = 65_536, 512, 7, 64
PRECISIONS = ("int8", "int4", "int3", "int2", "int6", "int4-g32", "int8-g64", "fp8", "nf4", "bf16")
CASES = ((1, "last"), (4, "last"), (10, "last"), (1, "all"), (4, "all"), (10, "all"))
MOST, CLOSE = 1.1, 0.25
CPU = torch.device("cpu")


class Numbers:
    """Rows whose input is their number and whose class follows from it."""

    def __init__(self, rows: int) -> None:
        self.samples = rows

    def __len__(self) -> int:
        return self.samples

    def batch(self, rows: Ints) -> tuple[Tensor, Tensor]:
        numbers = torch.from_numpy(rows)
        return numbers[:, None], numbers[:, None] % CLASSES


class Wide(FeatureModel):
    """An embedding, blocks of one linear layer, and a head of its own."""

    def __init__(self, classes: int, width: int, blocks: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, classes, bias=False)
        self.tied = False
        self.eval()

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {f"block{number}": block for number, block in enumerate(self.blocks, start=1)}

    def features(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        for block in self.blocks:
            h = torch.tanh(block(h))
        return h


def dataset(train: int, validation: int, classes: int) -> Dataset:
    """Numbered rows."""
    names = [str(number) for number in range(classes)]
    counts = np.bincount(np.arange(train) % classes, minlength=classes)
    return Dataset(Numbers(train), Numbers(validation), classes, (1,), "", counts, names, {})


def first_tile(*arguments: object) -> Iterator[pairs.PairTile]:
    """The first tile of the pair matrix."""
    return itertools.islice(ALL_TILES(*arguments), 1)  # type: ignore[arg-type]


def first_block(samples: int, classes: int, device: torch.device) -> Iterator[slice]:
    """The first block of logits of a batch."""
    return itertools.islice(blocks(samples, classes, device), 1)


ALL_TILES = pairs.pair_tiles


def measure(precisions: int, layers: str) -> None:
    """Measure the reference and so many precisions."""
    pairs.pair_tiles = first_tile  # type: ignore[assignment]
    measuring_passes.blocks = first_block  # type: ignore[attr-defined]
    torch.manual_seed(0)
    model = Wide(CLASSES, WIDTH, BLOCKS)
    data = dataset(CLASSES, VALIDATION, CLASSES)
    settings = MeasureConfig(min_count=1, agreement_samples=VALIDATION, layers=layers)  # type: ignore[arg-type]
    passes = Passes(model, data, settings, seed=0, device=CPU)
    meter = Meter(Alone(passes), data, settings)
    for name in (REFERENCE, *PRECISIONS[:precisions]):
        with at_precision(model, parse_precision(name)):
            meter.measure(reference=name == REFERENCE)


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def planned_gib() -> float:
    """The plan for the host, where the model lies."""
    with torch.device("meta"):
        shape = shape_of(Wide(CLASSES, WIDTH, BLOCKS))
    return memory_of(shape, [parse_precision(PRECISIONS[0])], gpu=False).host / 2**30


def main() -> int:
    """Print each peak with its ratio to the first; 1 where a target is missed."""
    print(machine("torch", threads=torch.get_num_threads()), flush=True)
    plan, first, missed = planned_gib(), 0.0, False
    for precisions, layers in CASES:
        command = [sys.executable, __file__, json.dumps([precisions, layers])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peak = float(done.stdout)
        first = first or peak
        missed = missed or peak > MOST * first or abs(plan - peak) > CLOSE * peak
        count = 1 if layers == "last" else BLOCKS + 1
        print(
            f"{precisions:2} precisions, {count} layers: {peak:.2f} GiB, {peak / first:.2f} of the "
            f"first (target at most {MOST}); the plan, {plan:.2f} GiB, is off by "
            f"{plan / peak - 1:+.0%} (target {CLOSE:.0%})",
            flush=True,
        )
    return int(missed)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*json.loads(sys.argv[1]))
        print(peak_gib())
    else:
        sys.exit(main())
