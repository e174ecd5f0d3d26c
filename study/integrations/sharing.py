"""The batches of a loader, shared out so that each sample is measured once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset


class Share:
    """Every so many of what a sampler gives, from the place of a process on."""

    def __init__(self, sampler: Iterable[Any], process: int, processes: int) -> None:
        self.sampler, self.process, self.processes = sampler, process, processes

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.sampler), self.process, None, self.processes)


class Converted:
    """The batches of a loader, each as a function gives it."""

    def __init__(self, loader: Iterable[Any], converted: Callable[[Any], Any]) -> None:
        self.loader, self.converted = loader, converted

    def __iter__(self) -> Iterator[Any]:
        return map(self.converted, self.loader)


def shared_out(loader: Iterable[Any]) -> Iterable[Any]:
    """The batches that this process measures of a loader that all processes have.

    Of a `DataLoader` over a map-style dataset these are every so many batches, where there are
    several processes: neither the samples by which a `DistributedSampler` fills up its shares nor
    `drop_last` change what is measured. It is a loader of its own, so that the iteration of a
    training that is under way goes on where it is.

    A batch sampler of the user's own, an iterable dataset and everything else that can be iterated
    are taken as they are: each process then gives its own batches.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    if type(loader).__iter__ is not DataLoader.__iter__:
        return loader
    sampler: Any = loader.sampler
    if isinstance(sampler, DistributedSampler):
        sampler = undistributed(sampler)
    if loader.batch_sampler is None:
        return like(loader, sampler=_share(sampler), batch_size=None)
    if type(loader.batch_sampler) is not BatchSampler:
        return like(loader, batch_sampler=loader.batch_sampler)
    batches = BatchSampler(sampler, loader.batch_sampler.batch_size, drop_last=False)
    return like(loader, batch_sampler=_share(batches))


def undistributed(sampler: DistributedSampler[Any]) -> DistributedSampler[Any]:
    """A sampler that gives one process what this one gives all, each sample once."""
    whole = copy.copy(sampler)
    # Lightning's sampler keeps the order of an epoch in its dataset, which a training is reading.
    whole.dataset = copy.copy(sampler.dataset)
    whole.num_replicas, whole.rank = 1, 0
    whole.num_samples = whole.total_size = len(sampler.dataset)  # type: ignore[arg-type]
    return whole


def like(loader: DataLoader[Any], **order: Any) -> DataLoader[Any]:
    """A loader of the same dataset, read in the same way but in another order."""
    return DataLoader(
        loader.dataset,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        prefetch_factor=loader.prefetch_factor,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        **order,
    )


@contextmanager
def same_generators(loader: Iterable[Any]) -> Iterator[None]:
    """Afterwards the generators of a loader go on as if it had not been iterated."""
    owners = (getattr(loader, name, None) for name in ("sampler", "batch_sampler"))
    generators = [getattr(owner, "generator", None) for owner in (loader, *owners)]
    states = [(each, each.get_state()) for each in generators if isinstance(each, torch.Generator)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _share(sampler: Iterable[Any]) -> Share:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return Share(sampler, distributed.get_rank(), distributed.get_world_size())
    return Share(sampler, 0, 1)
