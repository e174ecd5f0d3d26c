"""The optimizer of a training, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from study.config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD in one fused kernel.

    Weight decay acts on matrices (embeddings too), not on biases and norms.

    A tied head is one parameter. What takes no gradient, such as a fixed head, is left alone.
    Scales of channels of shape (channels, 1, 1) are vectors.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if _is_matrix(parameter)]
    vectors = [parameter for parameter in trained if not _is_matrix(parameter)]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
        )
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and parameter.numel() > max(parameter.shape)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of `optimizer` as `NUMBER.SLOT`, parameters numbered as it holds them."""
    state = optimizer.state_dict()["state"]
    return {
        f"{n}.{slot}": value
        for n, slots in state.items()
        for slot, value in slots.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, slot = name.split(".")
        state.setdefault(int(number), {})[slot] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
