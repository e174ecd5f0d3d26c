"""Checkpoints larger than a device: layers lie wherever there is room.

The hooks of accelerate move inputs from device to device. Weights that wait on disk, or on the host
of a GPU, are on the device `meta` except while their layer computes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import nn

from study.models.config import ModelError

MEMORY = re.compile(r"([0-9]+|cpu)=([0-9]+(?:[KMG]i?B))")
"""A device and its memory on a command line."""


@dataclass(frozen=True)
class Spread:
    """`device_map: auto`: layers on GPUs first, then on the host, then on disk.

    max_memory  at most so much of each device, as accelerate writes it (`{0: "70GiB", "cpu":
                "100GiB"}`); devices that are not named are not used. None: what is free.
    """

    max_memory: Mapping[int | str, str] | None = None

    def check(self) -> None:
        """Raise ModelError where accelerate is not installed."""
        if find_spec("accelerate") is None:
            raise ModelError(
                "device_map auto needs accelerate, which is not installed: pip install "
                "'collapse-study[large]'"
            )

    def options(self, folder: str) -> dict[str, Any]:
        """What `from_pretrained` takes.

        Weights that it converts, such as experts that it stacks, are written to a folder.
        """
        limits = None if self.max_memory is None else dict(self.max_memory)
        return {"device_map": "auto", "max_memory": limits, "offload_folder": folder}


def offloaded(model: nn.Module) -> bool:
    """Whether weights of a model are in memory only while their layer computes."""
    return any(parameter.is_meta for parameter in model.parameters())


def hooked(model: nn.Module) -> bool:
    """Whether hooks stand in the place of the forward passes of layers."""
    return any(hasattr(module, "_hf_hook") for module in model.modules())


def in_memory(module: nn.Module) -> AbstractContextManager[None]:
    """Within, the module's own weights are in memory."""
    if not hasattr(module, "_hf_hook"):
        return nullcontext()
    from accelerate.utils import align_module_device

    context: AbstractContextManager[None] = align_module_device(module)
    return context


def keep_in_memory(head: nn.Module, embedding: nn.Module | None) -> None:
    """Bring a head, and an embedding that is tied to it, into memory for good.

    Decisions and metrics read the head's weight wherever they need it.
    """
    if not _bring(head):
        return
    if embedding is not None:
        _bring(embedding)
        embedding.weight = head.weight


def _bring(module: nn.Module) -> bool:
    """Bring a module that is offloaded to where it computes; whether it was."""
    hook = getattr(module, "_hf_hook", None)
    if hook is None or not hook.offload:
        return False
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
    from accelerate.utils import set_module_tensor_to_device

    values = {name: hook.weights_map[name] for name, _ in module.named_parameters(recurse=False)}
    remove_hook_from_module(module)
    for name, value in values.items():
        set_module_tensor_to_device(module, name, hook.execution_device, value=value)
    add_hook_to_module(module, AlignDevicesHook(execution_device=hook.execution_device))
    return True
