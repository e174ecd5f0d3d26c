"""Which batches a process measures of a loader: each sample of all processes once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from study.integrations.log import same_random_numbers
from study.integrations.sharing import same_generators, shared_out

COUNT = 13
DATA = TensorDataset(torch.arange(COUNT))


def numbers(loader: Any) -> list[int]:
    with same_random_numbers(torch.device("cpu")):
        return [int(number) for (batch,) in shared_out(loader) for number in batch]


def of_two(monkeypatch: pytest.MonkeyPatch, loaders: list[Any]) -> list[int]:
    """The samples of two processes that have these loaders."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    together: list[int] = []
    for rank, loader in enumerate(loaders):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(rank)  # processes draw differently
        together += numbers(loader)
    return sorted(together)


def distributed(rank: int, **options: Any) -> DataLoader[Any]:
    sampler: Any = DistributedSampler(DATA, num_replicas=2, rank=rank, **options)
    return DataLoader(DATA, 4, sampler=sampler)


def test_what_fills_up_a_distributed_sampler_is_measured_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaders = [distributed(rank) for rank in range(2)]
    assert sum(len(batch) for loader in loaders for (batch,) in loader) == COUNT + 1
    assert of_two(monkeypatch, loaders) == list(range(COUNT))
    dropping = [distributed(rank, drop_last=True) for rank in range(2)]
    assert of_two(monkeypatch, dropping) == list(range(COUNT))


def test_lightnings_wrapper_is_shared_out_and_its_order_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

    subset = list(range(0, 10, 2))
    loaders = []
    for rank in range(2):
        sampler: Any = DistributedSamplerWrapper(
            SubsetRandomSampler(subset), num_replicas=2, rank=rank
        )
        loaders.append(DataLoader(DATA, 2, sampler=sampler))
    first: Any = loaders[0].sampler
    training = iter(first)
    order = first.dataset._sampler_list
    assert of_two(monkeypatch, loaders) == subset
    assert first.dataset._sampler_list is order
    assert len(list(training)) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 4},
        {"batch_size": 4, "shuffle": True, "drop_last": True},
        {"batch_size": None, "sampler": BatchSampler(RandomSampler(DATA), 4, drop_last=False)},
    ],
)
def test_a_loader_of_all_is_shared_out(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    assert numbers(DataLoader(DATA, **options)) != []
    loaders = [DataLoader(DATA, **options) for _ in range(2)]
    assert of_two(monkeypatch, loaders) == list(range(COUNT))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.tensor(number),) for number in range(3)])


def test_what_has_an_order_of_its_own_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [(torch.tensor([0, 1]),), (torch.tensor([2]),)]
    stream = DataLoader(Stream(), 2)
    own: Any = DataLoader(DATA, batch_sampler=[[0, 1], [2]])
    for loader in (batches, stream, own):
        assert of_two(monkeypatch, [loader, loader]) == [0, 0, 1, 1, 2, 2]


def test_an_iteration_under_way_and_its_generator_go_on() -> None:
    def loader() -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(0)
        return DataLoader(DATA, 2, shuffle=True, generator=generator, drop_last=True)

    alone, measured = loader(), loader()
    expected = [[batch.tolist() for (batch,) in alone] for _ in range(2)]
    epochs: list[Any] = []
    for _ in range(2):
        epochs.append([])
        for (batch,) in measured:
            epochs[-1].append(batch.tolist())
            with same_generators(measured):
                assert sorted(numbers(measured)) == list(range(COUNT))
    assert epochs == expected
