"""A function in two processes of a group, as a launcher of trainings starts them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn

PROCESSES = 2


def in_two_processes(function: Callable[[Path], Any], folder: Path) -> list[Any]:
    """What the function returned in each; it is given a folder of the process.

    It has to be importable, and to return tensors, numbers, and dictionaries of them.
    """
    for rank in range(PROCESSES):
        (folder / str(rank)).mkdir()
    spawn(_process, args=(function, str(folder)), nprocs=PROCESSES)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


def _process(rank: int, function: Callable[[Path], Any], folder: str) -> None:
    ranks = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
    sizes = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(PROCESSES))
    os.environ |= {**ranks, **sizes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES
    )
    torch.save(function(Path(folder) / str(rank)), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
