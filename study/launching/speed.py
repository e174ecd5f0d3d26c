"""How long trainings take on this computer: FLOP/s measured on a few steps.

Measured speeds are kept for later plans: of training steps, and of measuring a checkpoint, which
contains the decisions and the metrics between classes.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from study.grid import Cell, Cost, Plan, Training
from study.launching.progress import Effort
from study.precision import parse_precision
from study.store.atomic import write_json
from study.store.paths import CachePaths
from study.training.devices import choose_device, threads

if TYPE_CHECKING:
    import torch

    from study.data import Dataset
    from study.training.train import Checkpoint, Progress

SIZES = 3
"""Trainings measured of each kind: the smallest, the largest, and between."""
SECONDS = 10.0
"""Longest measurement of one of them, apart from its first step."""
PRECISIONS = 4
"""Precisions at which a checkpoint is measured to learn what measuring costs."""
SAMPLES = 50_000
"""Most training samples that it is measured on."""
FEWEST = 1_000
"""Training samples of the measurement that tells what does not depend on their number."""
START, MEASURED = 1e11, 5e10
"""FLOPs that a core does while a training starts, and while a cell is measured at a checkpoint.

Small trainings take no less time than that.
"""


@dataclass(frozen=True)
class Speed:
    """How fast trainings of a kind and a size are.

    Beside each run as many others as in a study. FLOP/s are those of `study.grid.cost`: of training
    steps, and of the samples that are measured. To this come the seconds before the first step, and
    those of a measurement, whatever the number of its samples.
    """

    kind: str
    parameters: int
    flops_per_second: float
    measuring_flops_per_second: float
    start_seconds: float
    measurement_seconds: float


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

    def effort(self, training: Training, cost: Cost) -> Effort | None:
        """Seconds that a training takes, interpolated between sizes.

        None where none of its kind was measured.
        """
        kind = kind_of(training.first)
        near = sorted((s for s in self.known if s.kind == kind), key=lambda s: s.parameters)
        if not near or not cost.parameters or cost.flops is None or cost.measuring_flops is None:
            return None
        at = math.log(cost.parameters)
        sizes = [math.log(s.parameters) for s in near]
        trained, measured = (
            math.exp(np.interp(at, sizes, np.log(each)))
            for each in (
                [s.flops_per_second for s in near],
                [s.measuring_flops_per_second for s in near],
            )
        )
        start = float(np.interp(at, sizes, [s.start_seconds for s in near]))
        each = float(np.interp(at, sizes, [s.measurement_seconds for s in near]))
        return Effort(
            start + (cost.flops - cost.measuring_flops) / trained,
            each * cost.measurements + cost.measuring_flops / measured,
        )


def efforts(plan: Plan, speeds: Speeds) -> dict[str, Effort]:
    """What each training takes whose cost is known.

    In seconds where the speed of all is known, else in FLOPs.
    """
    known = [(t, cost) for t in plan.pending if (cost := plan.costs.get(t.key)) is not None]
    seconds = {training.key: speeds.effort(training, cost) for training, cost in known}
    if all(seconds.values()):
        return {key: effort for key, effort in seconds.items() if effort is not None}
    return {
        training.key: Effort(
            START + cost.flops - cost.measuring_flops,
            MEASURED * cost.measurements + cost.measuring_flops,
        )
        for training, cost in known
        if cost.flops is not None and cost.measuring_flops is not None
    }


def at_once(training: Training) -> int:
    """Trainings like this one that run on this computer at a time."""
    resources = training.first.resources
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    fit = min(cores // resources.cpus, resources.parallel or cores)
    if resources.gpus:
        from torch.cuda import device_count

        fit = min(fit, math.floor(device_count() / resources.gpus))
    return max(1, fit)


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
    """Run a few steps of some trainings, measure each, and keep their speed.

    Each runs in as many processes as its trainings will: cores share caches and memory.
    """
    speeds = Speeds(cache)
    for training in to_measure(plan):
        parameters = plan.costs[training.key].parameters
        assert parameters is not None
        processes = at_once(training)
        context = get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
            seen = list(pool.map(_observed, [training] * processes, [cache] * processes))
        steps, samples, start, each = (float(np.mean(every)) for every in zip(*seen, strict=True))
        kind = kind_of(training.first)
        speed = Speed(
            kind, parameters, 6.0 * parameters * steps, 2.0 * parameters * samples, start, each
        )
        beside = f", {processes} at a time" if processes > 1 else ""
        say(
            f"measured {parameters:,} parameters{beside}: {steps:,.0f} tokens/s, "
            f"{speed.flops_per_second:.2g} FLOP/s; {samples:,.0f} samples/s at a precision"
        )
        speeds.add(speed)


def _end_with_parent() -> None:
    """End this process with its parent, which else leaves it waiting for work."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class _Enough(Exception):
    pass


def _observed(training: Training, cache: Path) -> tuple[float, float, float, float]:
    """Tokens a second, samples measured a second, and seconds beside them.

    These are the seconds before the first step and those of a measurement.
    """
    from study.measuring.data import data_of
    from study.training.train import train

    measure = training.first.config.measure.model_copy(update={"initial": "once", "at": "last"})
    config = training.first.config.model_copy(update={"measure": measure})
    rates: list[float] = []
    began: list[float] = []

    def beat(progress: Progress) -> None:
        rates.append(progress.tokens_per_second)
        began.append(time.monotonic())
        if len(rates) > 3 or began[-1] - began[0] > SECONDS:
            raise _Enough

    data_of(training, cache)  # what a run prepares once
    with threads(training.first.resources.cpus):
        start = time.monotonic()
        data = data_of(training, cache)
        device = choose_device(training.first.resources.device)
        checkpoints = train(config, data, device, base=training.first.folder, beat=beat)
        checkpoint = next(checkpoints)
        start = time.monotonic() - start
        samples, each = _measured(training, checkpoint, data, device)
        with suppress(_Enough):
            for _ in checkpoints:
                pass
    # The first report is slowed down by starting.
    return float(np.median(rates[1:] or rates)), samples, start, each


def _measured(
    training: Training, checkpoint: Checkpoint, data: Dataset, device: torch.device
) -> tuple[float, float]:
    """Samples measured a second, and seconds of a measurement beside.

    These do not depend on the number of samples.
    """
    from study.measuring.checkpoint import measure_checkpoint

    cells = [cell for cell in training.cells if not _tuned(cell)][:PRECISIONS]
    cells = cells or [training.first]

    def measured(most: int) -> tuple[int, float]:
        few = [_fewer_samples(cell, most) for cell in cells]
        began = time.monotonic()
        measure_checkpoint(checkpoint, few, data, device)
        seconds = time.monotonic() - began
        read = (min(cell.config.measure.train_tokens or most, data.train.samples) for cell in few)
        return sum(read) + data.val.samples * len(few), seconds

    measured(FEWEST)  # What is imported and chosen at the first use is paid once in a run.
    (few, short), (many, long) = measured(FEWEST), measured(SAMPLES)
    if many == few or long <= short:
        return many / long, 0.0
    rate = (many - few) / (long - short)
    return rate, max(0.0, short - few / rate) / len(cells)


def _tuned(cell: Cell) -> bool:
    """Whether the cell is fine-tuned, which is priced as training."""
    return parse_precision(cell.config.precision).tuning is not None


def _fewer_samples(cell: Cell, most: int) -> Cell:
    """The cell, measured on at most `most` training samples."""
    measure = cell.config.measure
    few = min(measure.train_tokens or most, most)
    config = cell.config.model_copy(
        update={"measure": measure.model_copy(update={"train_tokens": few})}
    )
    return replace(cell, config=config)
