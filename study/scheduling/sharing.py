"""Whoever shares the samples of one measurement: this process, or workers of Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from study.scheduling.ray_environment import prepare_environment
from study.settings.faults import Fault, StudyError
from study.training.devices import choose_device

if TYPE_CHECKING:
    from study.config import MeasureConfig
    from study.measuring.crew import Crew
    from study.measuring.standalone import DataRequest


@contextmanager
def sharing_samples(
    workers: int,
    name: str,
    request: DataRequest,
    measure: MeasureConfig,
    *,
    address: str | None,
    device: str,
    threads: int | None,
) -> Iterator[Crew | None]:
    """Within, workers that share the samples of a measurement; None for a single one.

    Args:
        workers: at least one.
        name: of the checkpoint.
        request: the data to measure on.
        measure: what is measured.
        address: of a Ray cluster; None: RAY_ADDRESS, or a Ray of our own.
        device: `auto`, `cpu` or `cuda`, of each worker.
        threads: of each worker; None: its part of the cores of this computer.

    Raises StudyError for fewer than one worker, ClusterError where Ray cannot be reached, and
    ModelError for a device that is not there.
    """
    if workers < 1:
        fault = Fault("--workers", f"is {workers}", "Give a number of at least 1")
        raise StudyError([fault], source="command line")
    if workers == 1:
        yield None
        return
    address = prepare_environment(address)
    from study.scheduling.crew import crew_of  # imports Ray, which reads the environment

    cpus = threads or max(1, (os.cpu_count() or 1) // workers)
    where = choose_device(device).type
    with crew_of(workers, name, request, measure, address=address, device=where, cpus=cpus) as crew:
        yield crew
