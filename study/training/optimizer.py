"""The optimizer of a training, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor, nn

from study.config import TrainConfig
from study.models import ModelError
from study.models.base import FeatureModel
from study.models.ufm import FreeFeatures
from study.training.update_rules import SGDW, Group, Lion, MuonAdamW, Signum


def make_optimizer(model: FeatureModel, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that `config` names; those of torch in one fused kernel.

    Raises what `parameter_groups` raises.
    """
    groups = parameter_groups(model, config)
    lr, momentum, nesterov = config.lr, config.momentum, config.nesterov
    betas, eps = (config.beta1, config.beta2), config.eps
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=betas, eps=eps, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
        case "sgdw":
            return SGDW(groups, lr=lr, momentum=momentum, nesterov=nesterov)
        case "signum":
            return Signum(groups, lr=lr, momentum=momentum, decoupled=False)
        case "signumw":
            return Signum(groups, lr=lr, momentum=momentum, decoupled=True)
        case "lion":
            return Lion(groups, lr=lr, betas=betas)
        case "muon":
            return MuonAdamW(
                groups, lr=lr, momentum=momentum, nesterov=nesterov, betas=betas, eps=eps
            )
        case _:
            assert_never(config.optimizer)


def parameter_groups(model: FeatureModel, config: TrainConfig) -> list[Group]:
    """Trained parameters by their decay, matrices first, in the order of the model.

    Decay acts on matrices (embeddings too), not on biases and norms, unless `config.decay` says
    otherwise. For muon the matrices that it takes are groups of their own: those of linear layers,
    convolutions and free features, but neither embeddings nor the head.

    A tied head is one parameter. What takes no gradient, such as a fixed head, is left alone.
    Scales of channels of shape (channels, 1, 1) are vectors, the one row of a head is a matrix.

    Raises ModelError for a head that is tied to the embedding and is to decay in another way.
    """
    decay = config.decay
    body = config.weight_decay if decay.body is None else decay.body
    head = config.weight_decay if decay.head is None else decay.head
    if model.tied and head != body:
        dials = {"head": f"{head:g}", "body": f"{body:g}"}
        dial, other = ("body", "head") if decay.head is None else ("head", "body")
        raise ModelError(
            f"train.decay.{dial}: is {dials[dial]}, but the head is the embedding, whose decay as "
            f"{other} is {dials[other]}: set train.decay.{other} to the same, or untie the two"
        )
    free = model.table.weight if isinstance(model, FreeFeatures) else None
    hidden = _hidden_matrices(model) if config.optimizer == "muon" else set[Tensor]()
    groups: dict[tuple[bool, bool, float], Group] = {}
    for name, parameter in model.named_parameters():
        is_matrix = _is_matrix(parameter) or (
            parameter is model.head.weight and len(parameter) == 1
        )
        if not is_matrix:
            own = (decay.bias or 0.0) if name.endswith("bias") else 0.0
        elif parameter is model.head.weight:
            own = head
        else:
            own = body
        if parameter is free and decay.features is not None:
            own = decay.features
        if parameter.requires_grad:
            kind = (is_matrix, parameter in hidden, own)
            group = groups.setdefault(kind, {"params": [], "weight_decay": own})
            if kind[1]:
                group["hidden"] = True
            group["params"].append(parameter)
    return [groups[kind] for kind in sorted(groups, key=lambda kind: not kind[0])]


def feature_decay(model: FeatureModel, config: TrainConfig) -> float:
    """Coefficient of squared feature norms; 0 where features are parameters."""
    return 0.0 if isinstance(model, FreeFeatures) else config.decay.features or 0.0


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and parameter.numel() > max(parameter.shape)


def _hidden_matrices(model: FeatureModel) -> set[Tensor]:
    """Matrices between an embedding and the head, kernels of convolutions too.

    Free features stand in place of a network, so they are one.
    """
    hidden = set[Tensor]()
    for module in model.modules():
        if module is not model.head and not isinstance(module, nn.Embedding):
            is_convolution = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
            for parameter in module.parameters(recurse=False):
                if _is_matrix(parameter) and (parameter.ndim == 2 or is_convolution):
                    hidden.add(parameter)
    if isinstance(model, FreeFeatures):
        hidden.add(model.table.weight)
    return hidden - {model.head.weight}


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
