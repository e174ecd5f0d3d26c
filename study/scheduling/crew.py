"""Workers of Ray that share the samples of one measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from study.config import MeasureConfig
from study.data import load_data
from study.measuring.standalone import DataRequest, passes_of
from study.precision import Precision, Record
from study.scheduling.ray_tune import connected
from study.store.paths import ScratchPaths
from study.training.devices import threads


class _Worker:
    """A process with the model, and one of the shares of the samples."""

    def __init__(
        self,
        name: str,
        request: DataRequest,
        measure: MeasureConfig,
        device: str,
        share: tuple[int, int],
        cpus: int,
    ) -> None:
        data = load_data(request.config, base=request.base, cache=request.cache)
        self.passes = passes_of(name, request, data, measure, device=device, share=share)
        self.cpus, self.stack = cpus, ExitStack()

    def run(self, method: str, request: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        arguments, options = request
        with threads(self.cpus):
            return getattr(self.passes, method)(*arguments, **options)

    def enter(self, precision: Precision) -> Record:
        with threads(self.cpus):
            return self.stack.enter_context(self.passes.at(precision))

    def leave(self) -> None:
        self.stack.close()


class RayCrew:
    """A crew of workers, each of which has the model once."""

    def __init__(self, workers: list[Any]) -> None:
        self.workers = workers

    def all(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        """What a method of each one's `Passes` returns, in the order of the shares."""
        # Once in the memory that they share, however many there are.
        shared = ray.put((arguments, options))
        return _results([worker.run.remote(method, shared) for worker in self.workers])

    def one(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the first one's `Passes` returns."""
        shared = ray.put((arguments, options))
        return _results([self.workers[0].run.remote(method, shared)])[0]

    @contextmanager
    def at(self, precision: Precision) -> Iterator[Record]:
        """Within, the model of each worker is at a precision."""
        try:
            yield _results([worker.enter.remote(precision) for worker in self.workers])[0]
        finally:
            _results([worker.leave.remote() for worker in self.workers])


def _results(references: list[Any]) -> list[Any]:
    """The results of calls; what a worker raised is raised here."""
    try:
        results: list[Any] = ray.get(references)
    except RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    return results


@contextmanager
def crew_of(
    count: int,
    name: str,
    request: DataRequest,
    measure: MeasureConfig,
    *,
    address: str,
    device: str = "auto",
    cpus: int = 1,
) -> Iterator[RayCrew]:
    """Within, `count` workers of Ray that share the samples of a measurement.

    Args:
        count: at least one.
        name: of the checkpoint, which each worker reads.
        request: the data to measure on.
        measure: what is measured.
        address: of the cluster, or `local`.
        device: of each worker; a worker on a GPU has one for itself.
        cpus: threads of a worker.

    Raises ClusterError where Ray cannot be reached.
    """
    with (
        tempfile.TemporaryDirectory(
            prefix=ScratchPaths.PREFIX, ignore_cleanup_errors=True
        ) as scratch,
        connected(address, Path(scratch)),
    ):
        gpus = 1 if device == "cuda" else 0
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
        yield RayCrew(
            [
                actor.remote(name, request, measure, device, (index, count), cpus)
                for index in range(count)
            ]
        )
