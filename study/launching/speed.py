"""How long trainings take on this computer: FLOP/s measured on a few steps.

Measured speeds are kept for later plans: of training steps, and of measuring a checkpoint, which
contains the decisions and the metrics between classes.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from study.grid import Cell, Cost, Plan, Training
from study.precision import parse_precision
from study.store.atomic import write_json
from study.store.paths import CachePaths
from study.training.devices import choose_device, threads

if TYPE_CHECKING:
    from study.training.train import Progress

SIZES = 3
"""Trainings measured of each kind: the smallest, the largest, and between."""
SECONDS = 10.0
"""Longest measurement of one of them, apart from its first step."""
PRECISIONS = 4
"""Precisions at which a checkpoint is measured to learn what measuring costs."""
SAMPLES = 50_000
"""Most training samples that it is measured on."""
FEWEST = 1_000
"""Training samples of the measurement before, whose time does not count."""


@dataclass(frozen=True)
class Speed:
    """FLOP/s (by `study.grid.cost`) of trainings of a kind and a size.

    Once of training steps, once of measuring.
    """

    kind: str
    parameters: int
    flops_per_second: float
    measuring_flops_per_second: float


def kind_of(cell: Cell) -> str:
    """What trainings must share, and this computer, for speeds to be comparable."""
    config, resources = cell.config, cell.resources
    device = f"{resources.device} {resources.gpus:g} GPUs" if resources.gpus else resources.device
    return (
        f"{socket.gethostname()}, {config.model.kind}, {config.train.precision}, "
        f"{resources.cpus} threads, {device}"
    )


class Speeds:
    """The speeds known so far, in a file beside the cached data."""

    def __init__(self, cache: Path) -> None:
        self.path = CachePaths(cache).speeds
        try:
            self.known = [
                Speed(**speed) for speed in json.loads(self.path.read_text(encoding="utf-8"))
            ]
        except (FileNotFoundError, ValueError, TypeError):
            self.known = []

    def add(self, speed: Speed) -> None:
        """Keep a measurement in place of an earlier one."""
        others = [
            old
            for old in self.known
            if (old.kind, old.parameters) != (speed.kind, speed.parameters)
        ]
        self.known = [*others, speed]
        write_json(self.path, [asdict(each) for each in self.known])

    def seconds(self, training: Training, cost: Cost) -> float | None:
        """Time that a training takes alone, interpolated between sizes.

        None where none of its kind was measured.
        """
        near = sorted(
            (s.parameters, s.flops_per_second, s.measuring_flops_per_second)
            for s in self.known
            if s.kind == kind_of(training.first)
        )
        if not near or not cost.parameters or cost.flops is None or cost.measuring_flops is None:
            return None
        sizes, *speeds = np.log(np.array(near)).T
        training_speed, measuring_speed = (
            math.exp(float(np.interp(math.log(cost.parameters), sizes, each))) for each in speeds
        )
        trained = (cost.flops - cost.measuring_flops) / training_speed
        return trained + cost.measuring_flops / measuring_speed


def at_once(training: Training) -> int:
    """Trainings like this one that run on this computer at a time."""
    resources = training.first.resources
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(cores // resources.cpus, resources.parallel or cores))


def to_measure(plan: Plan) -> Iterator[Training]:
    """Trainings whose speed tells that of the others: of each kind a few sizes."""
    kinds: dict[str, dict[int, Training]] = {}
    for training in plan.pending:
        cost = plan.costs.get(training.key)
        if cost is not None and cost.parameters:
            kinds.setdefault(kind_of(training.first), {}).setdefault(cost.parameters, training)
    for by_size in kinds.values():
        sizes = sorted(by_size)
        for number in sorted({round(each) for each in np.linspace(0, len(sizes) - 1, SIZES)}):
            yield by_size[sizes[number]]


def calibrate(plan: Plan, cache: Path, say: Callable[[str], None]) -> None:
    """Run a few steps of some trainings, measure each once, and keep their speed."""
    speeds = Speeds(cache)
    for training in to_measure(plan):
        parameters = plan.costs[training.key].parameters
        assert parameters is not None
        rate = _tokens_per_second(training, cache)
        measuring = _measured_per_second(training, cache)
        speed = Speed(
            kind_of(training.first),
            parameters,
            6.0 * parameters * rate,
            2.0 * parameters * measuring,
        )
        say(
            f"measured {parameters:,} parameters: {rate:,.0f} tokens/s, "
            f"{speed.flops_per_second:.2g} FLOP/s; {measuring:,.0f} samples/s at a precision"
        )
        speeds.add(speed)


class _Enough(Exception):
    pass


def _tokens_per_second(training: Training, cache: Path) -> float:
    """Speed of a training after its first report, which is slowed down by starting."""
    from study.data import load_data
    from study.training.train import train

    config, folder = training.first.config, training.first.folder
    data = load_data(config.data, base=folder, cache=cache)
    rates: list[float] = []
    began: list[float] = []

    def beat(progress: Progress) -> None:
        rates.append(progress.tokens_per_second)
        began.append(time.monotonic())
        if len(rates) > 3 or began[-1] - began[0] > SECONDS:
            raise _Enough

    with threads(training.first.resources.cpus):
        device = choose_device(training.first.resources.device)
        checkpoints: Iterable[object] = train(config, data, device, base=folder, beat=beat)
        try:
            for _ in checkpoints:
                pass
        except _Enough:
            return float(np.median(rates[1:]))
    return float(np.median(rates[1:] or rates))


def _measured_per_second(training: Training, cache: Path) -> float:
    """Samples measured a second, of the untrained model at some precisions."""
    from study.measuring.checkpoint import measure_checkpoint
    from study.measuring.data import data_of
    from study.training.train import train

    first = training.first
    data = data_of(training, cache)
    cells = [_fewer_samples(cell) for cell in training.cells if not _tuned(cell)][:PRECISIONS]
    cells = cells or [_fewer_samples(first)]
    with threads(first.resources.cpus):
        device = choose_device(first.resources.device)
        checkpoint = next(iter(train(first.config, data, device, base=first.folder)))
        # What is imported and chosen at the first use is paid once in a run.
        measure_checkpoint(
            checkpoint, [_fewer_samples(cell, FEWEST) for cell in cells], data, device
        )
        began = time.monotonic()
        measure_checkpoint(checkpoint, cells, data, device)
        seconds = time.monotonic() - began
    samples = sum(
        min(cell.config.measure.train_tokens or SAMPLES, data.train.samples) + data.val.samples
        for cell in cells
    )
    return samples / seconds


def _tuned(cell: Cell) -> bool:
    """Whether the cell is fine-tuned, which is priced as training."""
    return parse_precision(cell.config.precision).tuning is not None


def _fewer_samples(cell: Cell, most: int = SAMPLES) -> Cell:
    """The cell, measured on at most `most` training samples."""
    measure = cell.config.measure
    few = min(measure.train_tokens or most, most)
    config = cell.config.model_copy(
        update={"measure": measure.model_copy(update={"train_tokens": few})}
    )
    return replace(cell, config=config)
