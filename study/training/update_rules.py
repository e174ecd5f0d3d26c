"""Update rules that torch.optim lacks, in its style.

Notation: theta a parameter, g the gradient of the loss, m the momentum, lr the learning rate of a
step, wd the decay of the parameter's group. None of the rules makes the host wait for the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Group = dict[str, Any]
"""Parameters under `params`, and what their group sets differently from the defaults."""


class MomentumRule(Optimizer):
    """A rule with one momentum a parameter, `momentum_buffer` as in torch.optim."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                buffers = [self._momentum(p) for p in params]
                self._update(group, params, [p.grad for p in params], buffers)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(
                parameter, memory_format=torch.preserve_format
            )
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    def _update(
        self, group: Group, params: list[Tensor], grads: list[Tensor], buffers: list[Tensor]
    ) -> None:
        raise NotImplementedError


class SGDW(MomentumRule):
    """SGD with momentum and decoupled decay (Loshchilov & Hutter 2019, algorithm 1).

    m <- momentum m + g,
    theta <- (1 - lr wd) theta - lr u, u = m, or g + momentum m with Nesterov's look-ahead.

    As in torch.optim.AdamW, decay is multiplied by the learning rate of the step.
    """

    def __init__(
        self, groups: Iterable[Group], *, lr: float, momentum: float, nesterov: bool
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "weight_decay": 0.0, "momentum": momentum, "nesterov": nesterov}
        )

    def _update(
        self, group: Group, params: list[Tensor], grads: list[Tensor], buffers: list[Tensor]
    ) -> None:
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, grads)
        updates: list[Tensor] | tuple[Tensor, ...] = buffers
        if group["nesterov"]:
            updates = torch._foreach_add(grads, buffers, alpha=group["momentum"])
        _shrink(group, params)
        torch._foreach_add_(params, updates, alpha=-group["lr"])


class Signum(MomentumRule):
    """The sign of the momentum (Bernstein et al. 2018, algorithm 2).

    m <- momentum m + (1 - momentum) g', theta <- theta - lr sign(m).

    Coupled decay enters the momentum, g' = g + wd theta. Decoupled, g' = g, and theta is first
    multiplied by 1 - lr wd.
    """

    def __init__(
        self, groups: Iterable[Group], *, lr: float, momentum: float, decoupled: bool
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "weight_decay": 0.0, "momentum": momentum, "decoupled": decoupled}
        )

    def _update(
        self, group: Group, params: list[Tensor], grads: list[Tensor], buffers: list[Tensor]
    ) -> None:
        slopes: list[Tensor] | tuple[Tensor, ...] = grads
        if group["decoupled"]:
            _shrink(group, params)
        elif group["weight_decay"] != 0:
            slopes = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        torch._foreach_lerp_(buffers, slopes, 1 - group["momentum"])
        torch._foreach_add_(params, torch._foreach_sign(buffers), alpha=-group["lr"])


class Lion(MomentumRule):
    """Lion (Chen et al. 2023, algorithm 2), with decoupled decay.

    theta <- (1 - lr wd) theta - lr sign(beta1 m + (1 - beta1) g),
    m <- beta2 m + (1 - beta2) g.
    """

    def __init__(self, groups: Iterable[Group], *, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "betas": betas})

    def _update(
        self, group: Group, params: list[Tensor], grads: list[Tensor], buffers: list[Tensor]
    ) -> None:
        beta1, beta2 = group["betas"]
        updates = torch._foreach_lerp(buffers, grads, 1 - beta1)
        torch._foreach_sign_(updates)
        _shrink(group, params)
        torch._foreach_add_(params, updates, alpha=-group["lr"])
        torch._foreach_lerp_(buffers, grads, 1 - beta2)


def _shrink(group: Group, params: list[Tensor]) -> None:
    """Decoupled decay of one step."""
    if group["weight_decay"] != 0:
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])


class MuonAdamW(Optimizer):
    """Muon on groups of `hidden` matrices and AdamW on all others, as one.

    Muon is torch.optim.Muon: a step of the momentum's nearest semi-orthogonal matrix (Jordan et
    al. 2024), times 0.2 sqrt(max(rows, columns)), so that both rules share a learning rate and a
    decay, which is decoupled (Liu et al. 2025, section 2.2). A kernel of a convolution is the
    matrix of its output channels by all else.

    A parameter has the state that its rule gives it; saving and restoring are those of any
    optimizer.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": 0.0,
            "momentum": momentum,
            "nesterov": nesterov,
            "betas": betas,
            "eps": eps,
            "hidden": False,
            "fused": True,  # so that torch restores the steps of AdamW to where its kernel is
        }
        self._rules: list[Optimizer] = []
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups[len(self._rules) :]:
            self._rules.append(self._rule(group))
        for group, rule in zip(self.param_groups, self._rules, strict=True):
            own = rule.param_groups[0]
            own["lr"] = group["lr"]
            for parameter, view in zip(group["params"], own["params"], strict=True):
                if view is not parameter:
                    gradient = parameter.grad
                    view.grad = None if gradient is None else gradient.view(view.shape)
                if parameter in self.state:
                    rule.state[view] = self.state[parameter]
            rule.step()
            for parameter, view in zip(group["params"], own["params"], strict=True):
                if view is not parameter:
                    view.grad = None
                if view in rule.state:
                    self.state[parameter] = rule.state[view]

    def _rule(self, group: Group) -> Optimizer:
        """The optimizer of one group; kernels enter as views, which share their memory."""
        lr, decay = group["lr"], group["weight_decay"]
        if not group["hidden"]:
            return torch.optim.AdamW(
                group["params"],
                lr=lr,
                betas=group["betas"],
                eps=group["eps"],
                weight_decay=decay,
                fused=True,
            )
        matrices = [
            p if p.ndim == 2 else torch.nn.Parameter(p.detach().view(len(p), -1))
            for p in group["params"]
        ]
        return torch.optim.Muon(
            matrices,
            lr=lr,
            weight_decay=decay,
            momentum=group["momentum"],
            nesterov=group["nesterov"],
            adjust_lr_fn="match_rms_adamw",
        )
