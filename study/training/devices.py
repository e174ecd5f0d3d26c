"""The device that a training computes on, and the number of its threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose_device(setting: str) -> torch.device:
    """`auto`: a CUDA device where there is one, else the CPU.

    Raises ModelError for a device that is not there.
    """
    import torch

    from study.models import ModelError

    if setting == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "resources.device is cuda, but this machine has no CUDA device: use auto or cpu"
        )
    return torch.device("cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with `count` threads (None: with all); afterwards with those before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
