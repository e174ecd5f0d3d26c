"""Modules on `meta` that nothing fills."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from study.models.unfilled import unfilled


class _Calls(TorchDispatchMode):
    """Names of the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_what_is_made_has_shapes_and_no_normal_numbers() -> None:
    with _Calls() as calls, unfilled():
        embedding, linear = nn.Embedding(7, 5), nn.Linear(5, 3)
        nn.init.kaiming_normal_(linear.weight)
        assert linear.weight.normal_(0.0, 0.02) is linear.weight
    assert embedding.weight.is_meta and embedding.weight.shape == (7, 5)
    assert linear.bias.is_meta
    assert not any("normal" in name for name in calls.names)
    assert any("uniform" in name for name in calls.names)  # others are called as ever
    with torch.no_grad():
        assert nn.Embedding(7, 5).weight.std() > 0
