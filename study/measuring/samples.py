"""Which samples are measured, and how many at a time.

Shapes: N samples of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.data.base import IGNORE, Ints, Split, sample_count

LOGITS = 2**21
"""Logits held at a time: 8 MB stay in cache and are not given back to the system each time."""
DEVICE_LOGITS = 2**28
"""The same on a device that is not a CPU, where large products run at full speed."""
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


@dataclass(frozen=True)
class Batch:
    """Inputs of some rows, and the targets of their samples.

    Attributes:
        inputs: on the device.
        targets: on the device, classes (N,) of the samples or their target vectors (N, n).
        labels: the same on the CPU.
        positions: (N,) on the device, which of the flattened positions are samples.
        rows: (N,) on the CPU, the row of each sample.
        read: which of those that its share reads at once it is part of, counted from 0.
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor
    positions: Tensor
    rows: Tensor
    read: int


def batches(
    split: Split,
    rows: Ints,
    device: torch.device,
    doing: str,
    beat: Beat | None,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Some rows at a time.

    The next are read while a device that is not a CPU computes. `share` (k, n) gives each n-th
    batch from the k-th on, so that samples are computed as in one share.
    """
    if not len(rows):
        raise ValueError(f"{doing}: the split has no rows")
    at_once = _rows_at_once(split)
    index, shares = share
    starts = range(index * at_once, len(rows), shares * at_once)
    reads = (rows[start : start + at_once] for start in starts)
    parts = map(split.batch, reads) if device.type == "cpu" else _ahead(split, reads)
    for read, (start, (inputs, targets)) in enumerate(zip(starts, parts, strict=True)):
        numbers = torch.from_numpy(rows[start : start + at_once])
        largest = IMAGE_VALUES if inputs.is_floating_point() else TOKENS
        size = max(1, largest * len(inputs) // inputs.numel())
        for part, part_targets, part_rows in zip(
            torch.split(inputs, size),
            torch.split(targets, size),
            torch.split(numbers, size),
            strict=True,
        ):
            if part_targets.is_floating_point():
                flat, positions = part_targets, torch.arange(len(part))
            else:
                flat = part_targets.reshape(-1)
                positions = (flat != IGNORE).nonzero().squeeze(1)
            labels = flat[positions]
            rows_of_samples = part_rows[positions // (len(flat) // len(part))]
            moved = (_move(each, device) for each in (part, labels, positions))
            on_device, its_targets, its_positions = moved
            yield Batch(on_device, its_targets, labels, its_positions, rows_of_samples, read)
        if beat is not None:
            beat(doing, min(1.0, (start + at_once) / len(rows)))


def samples_elsewhere(split: Split, share: tuple[int, int], most: int) -> list[int]:
    """Of all rows, the samples of other shares in front of each read of this one.

    They are counted up to `most` or the end of the read that reaches it, and cost no computation.
    """
    at_once = _rows_at_once(split)
    index, shares = share
    before, counts = 0, []
    for number, start in enumerate(range(0, len(split), at_once)):
        if number % shares == index:
            counts.append(before)
        elif before < most:
            _, targets = split.batch(np.arange(start, min(start + at_once, len(split))))
            before += sample_count(targets)
    return counts


def _rows_at_once(split: Split) -> int:
    return max(1, BATCH_SAMPLES * len(split) // split.samples)


def _ahead(split: Split, reads: Iterator[Ints]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of rows, each read while the one before is in use."""
    first = next(reads, None)
    if first is None:
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(split.batch, first)
        for rows in reads:
            here, coming = coming, reader.submit(split.batch, rows)
            yield here.result()
        yield coming.result()


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a GPU copies it from pinned memory while it computes."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def blocks(samples: int, classes: int, device: torch.device) -> Iterator[slice]:
    """Slices of samples whose logits fit `LOGITS`, or of `HEAD_SAMPLES`."""
    at_once = LOGITS if device.type == "cpu" else DEVICE_LOGITS
    size = max(HEAD_SAMPLES, at_once // classes)
    for start in range(0, samples, size):
        yield slice(start, start + size)
