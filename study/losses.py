"""Losses of a linear head, over chunks of positions: the logits of all positions are never held at once.

Every loss is a sum over samples of l(z, y), z = W h + b the logits of one sample and y its class. Its gradient with
respect to z is known in closed form, so one pass over the chunks gives the loss, dL/dh, dL/dW and dL/db; the backward
pass only scales them. The forward pass thus does all the work of both, and memory is that of one chunk of logits plus
the gradients themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

IGNORED = -100
CHUNK_ELEMENTS = 2**24

LossName = Literal["cross_entropy", "label_smoothing", "focal", "mse"]


@dataclass(frozen=True)
class Loss:
    """A loss of one sample as a function of its logits z (V,) and class y; p = softmax(z), V classes.

    cross_entropy    -log p_y
    label_smoothing  -sum_c q_c log p_c, q = (1 - smoothing) e_y + smoothing / V (Szegedy et al. 2016)
    focal            -(1 - p_y)^gamma log p_y (Lin et al. 2017, eq. 4)
    mse              ||z - e_y||^2 / 2 (Han, Papyan & Donoho 2022, eq. 1, without the sample mean)
    """

    name: LossName = "cross_entropy"
    smoothing: float = 0.1
    gamma: float = 2.0


@dataclass(frozen=True)
class LossSums:
    """Sums over the samples of a batch, all scalars on the device of the features.

    `loss` carries the gradient; `correct` counts samples whose own logit is the only largest one. Both are float32.
    """

    loss: Tensor
    correct: Tensor


def head_loss(features: Tensor, head: nn.Linear, targets: Tensor, loss: Loss) -> LossSums:
    """Sum of `loss` over samples: features (..., d), targets (...) int64, where -100 marks what is no sample.

    Differentiable once, with respect to features, weight and bias. Under autocast the products are taken in its
    dtype; sums are in float32.
    """
    flat = features.reshape(-1, features.shape[-1])
    total, correct = _HeadLoss.apply(flat, head.weight, head.bias, targets.reshape(-1), loss)
    return LossSums(total, correct)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features_NxD: Tensor, weight_VxD: Tensor, bias_V: Tensor | None, targets_N: Tensor, loss: Loss
    ) -> tuple[Tensor, Tensor]:
        device = features_NxD.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features_NxD.dtype
        sum_dtype = torch.promote_types(torch.float32, dtype)
        rows = max(1, min(len(targets_N), CHUNK_ELEMENTS // weight_VxD.shape[0]))
        with torch.autocast(device, enabled=False):
            features, weight = features_NxD.to(dtype), weight_VxD.to(dtype)
            bias = None if bias_V is None else bias_V.to(dtype)
            grad_features = torch.empty_like(features_NxD)
            grad_weight = torch.zeros(weight_VxD.shape, dtype=sum_dtype, device=weight.device)
            grad_bias = None if bias_V is None else torch.zeros(bias_V.shape, dtype=sum_dtype, device=weight.device)
            total = torch.zeros((), dtype=sum_dtype, device=weight.device)
            correct = torch.zeros((), dtype=torch.float32, device=weight.device)
            for start in range(0, len(targets_N), rows):
                chunk = slice(start, start + rows)
                logits = nn.functional.linear(features[chunk], weight, bias)
                values, hits, grad = _chunk(logits, targets_N[chunk], loss)
                total += values.sum()
                correct += hits.sum()
                grad_features[chunk] = grad @ weight
                grad_weight += grad.T @ features[chunk]
                if grad_bias is not None:
                    grad_bias += grad.sum(0, dtype=sum_dtype)
        ctx.save_for_backward(grad_features, grad_weight.to(weight_VxD.dtype), grad_bias)
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, grad_correct: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if grad is None else grad.mul_(grad_total.to(grad.dtype)) for grad in ctx.saved_tensors]
        return *scaled, None, None


def _chunk(logits_NxV: Tensor, targets_N: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (N,), hits (N,) and gradient with respect to the logits (N, V), zero where the target is ignored."""
    kept = targets_N != IGNORED
    target = targets_N.where(kept, 0)[:, None]
    z = logits_NxV.float() if logits_NxV.dtype != torch.float64 else logits_NxV
    z_y = z.gather(1, target)
    largest = z.amax(1, keepdim=True)
    hits = (z_y == largest).squeeze(1) & ((z == largest).sum(1) == 1) & kept
    if loss.name == "mse":
        values = (z.square().sum(1) - 2 * z_y.squeeze(1) + 1) / 2
        gradient = z.scatter_add(1, target, torch.full_like(z_y, -1))
    else:
        log_p = z - z.logsumexp(1, keepdim=True)
        log_p_y = log_p.gather(1, target)
        p = log_p.exp()
        if loss.name == "cross_entropy":
            values = -log_p_y.squeeze(1)
            gradient = p.scatter_add(1, target, torch.full_like(z_y, -1))
        elif loss.name == "label_smoothing":
            values = -(1 - loss.smoothing) * log_p_y.squeeze(1) - loss.smoothing * log_p.mean(1)
            gradient = (p - loss.smoothing / z.shape[1]).scatter_add(
                1, target, torch.full_like(z_y, loss.smoothing - 1)
            )
        else:
            rest = -log_p_y.expm1()  # 1 - p_y
            modulation = rest.pow(loss.gamma)
            values = (-modulation * log_p_y).squeeze(1)
            ratio = log_p_y / rest.clamp_min(
                torch.finfo(z.dtype).tiny
            )  # tends to -1 as p_y tends to 1, where modulation vanishes
            scale = modulation * (1 - loss.gamma * log_p_y.exp() * ratio)
            gradient = (p * scale).scatter_add(1, target, -scale)
    keep = kept.to(z.dtype)
    return values * keep, hits.to(torch.float32), (gradient * keep[:, None]).to(logits_NxV.dtype)
