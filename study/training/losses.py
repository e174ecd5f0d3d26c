"""Losses of a linear head, over chunks of samples.

The logits of all samples are never held at once.

Every loss is a sum over samples of l(z, y), z = W h + b the logits of one sample and y its
class. Its gradient with respect to z is known in closed form, so one pass over the chunks gives
the loss, dL/dh, dL/dW and dL/db; the backward pass only scales them. Memory is one chunk of
logits, in the dtype of the products, plus the gradients themselves.

Shapes: N samples, D width, V classes, R rows of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from study.models.heads import rows_of

IGNORED = -100

CHUNK_ELEMENTS = 2**25
"""Logits of one chunk.

The matrix products are large, yet the chunk is small beside a model's gradients.
"""
TILE_ELEMENTS = 2**19
"""Logits of one tile and thread.

What is done elementwise, in float32, stays in the cache of a CPU.
"""

LossName = Literal["cross_entropy", "label_smoothing", "focal", "mse", "cumulative_link"]


@dataclass(frozen=True)
class Loss:
    """A loss of one sample as a function of its logits z (V,) and class y.

    P = softmax(z), e_y the y-th unit vector.

    cross_entropy    -log p_y
    label_smoothing  -sum_c q_c log p_c, q = (1 - smoothing) e_y + smoothing / V (Szegedy et al.
                     2016)
    focal            -(1 - p_y)^gamma log p_y (Lin et al. 2017, eq. 4)
    mse              ||z - e_y||^2 / 2 (Han, Papyan & Donoho 2022, without weight decay); of a
                     regression ||z - y||^2 / 2, y the target vector (Andriopoulos et al. 2024)
    cumulative_link  -log p_y with P(y <= c) = sigmoid(b_c - z), z one latent, b_c the thresholds of
                     classes in an order (McCullagh 1980)
    """

    name: LossName = "cross_entropy"
    smoothing: float = 0.1
    gamma: float = 2.0


@dataclass(frozen=True)
class LossSums:
    """Sums over the samples of a batch, scalars on the device of the features.

    `loss` carries the gradient. `correct` counts samples whose own logit, in the dtype of the
    products, is larger than every other. `penalty` is what a training adds to the loss, penalties
    and the divergence of TRADES, times the number of samples; it carries a gradient, too.
    """

    loss: Tensor
    correct: Tensor
    penalty: Tensor | None = None


def head_loss(
    features: Tensor,
    head: nn.Linear,
    targets: Tensor,
    loss: Loss,
    *,
    scale: float = 1.0,
    cap: float | None = None,
) -> LossSums:
    """Sum of `loss` over samples.

    It is differentiable once with respect to features, weight and bias.

    Args:
        features: (..., D).
        head: rows (V, D), bias (V,) or None.
        targets: (...) int64 classes; -100 is no sample. Best left on the CPU: choosing the samples
            then waits for no device.
        loss: which loss.
        scale: of the head's output, z = scale (W h + b).
        cap: the bound of the logits, cap tanh(z / cap); None for z itself.

    Under autocast the matrix products are taken in its dtype; softmax and sums are in float32 at
    least.
    """
    flat, targets = samples_of(features, targets)
    targets = targets.to(flat.device, non_blocking=True)
    total, correct = _HeadLoss.apply(flat, rows_of(head), head.bias, targets, loss, scale, cap)
    return LossSums(total, correct)


def samples_of(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and classes (N,) of the samples among (..., D) and (...)."""
    flat, targets = features.flatten(0, -2), targets.flatten()
    is_sample = targets != IGNORED
    if not is_sample.all():
        flat, targets = flat[is_sample.nonzero().squeeze(1).to(flat.device)], targets[is_sample]
    return flat, targets


def by_chunk(values: Callable[..., Tensor], classes: int, *samples: Tensor) -> Tensor:
    """`values(*samples)` (N,) of each of N samples, by (N, ...) tensors of them.

    The logits of one chunk of samples exist at a time; the backward pass computes them again.
    """
    size = _rows(CHUNK_ELEMENTS, classes)
    if len(samples[0]) <= size:
        return values(*samples)
    parts = [
        checkpoint(
            values,
            *chunk,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for chunk in _parts(size, *samples)
    ]
    return torch.cat(parts)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features_NxD: Tensor,
        weight_VxD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        loss: Loss,
        scale: float,
        cap: float | None,
    ) -> tuple[Tensor, Tensor]:
        device, V = features_NxD.device, weight_VxD.shape[0]
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else features_NxD.dtype
        exact = torch.promote_types(dtype, torch.float32)
        with torch.autocast(device.type, enabled=False) if autocast else nullcontext():
            features, weight = features_NxD.to(dtype), weight_VxD.to(dtype)
            grad_features = torch.empty_like(features)
            rows, tile_rows = _rows(CHUNK_ELEMENTS, V), _tile_rows(V, device)
            logits = torch.empty(min(len(features), rows), V, dtype=dtype, device=device)
            values: list[Tensor] = []
            hits: list[Tensor] = []
            grad_weight = grad_bias = part = None
            for h, y, grad_h in _parts(rows, features, targets_N, grad_features):
                z = torch.mm(h, weight.T, out=logits[: len(h)])
                if bias_V is not None:
                    z += bias_V.to(dtype)
                if scale != 1:
                    z *= scale
                for z_tile, y_tile in _parts(tile_rows, z, y):
                    slope = None if cap is None else _cap(z_tile, cap)
                    value, hit = _replace_by_gradient(z_tile, y_tile, loss)
                    values.append(value.sum())
                    hits.append(hit.count_nonzero())
                    if slope is not None:
                        z_tile.mul_(slope)
                if scale != 1:
                    z *= scale
                torch.mm(z, weight, out=grad_h)
                if grad_weight is None:
                    grad_weight = torch.mm(z.T, h).to(exact)
                    grad_bias = None if bias_V is None else z.sum(0, dtype=exact)
                else:
                    part = torch.mm(z.T, h, out=part)
                    grad_weight += part
                    if grad_bias is not None:
                        grad_bias += z.sum(0, dtype=exact)
            assert grad_weight is not None  # there is a chunk, though it may be empty
            total, correct = sum(values[1:], start=values[0]), sum(hits[1:], start=hits[0])
        ctx.save_for_backward(
            grad_features.to(features_NxD.dtype), grad_weight.to(weight_VxD.dtype), grad_bias
        )
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, grad_correct: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [
            None if grad is None else grad.mul_(grad_total.to(grad.dtype))
            for grad in ctx.saved_tensors
        ]
        return *scaled, None, None, None, None


def _cap(logits_RxV: Tensor, cap: float) -> Tensor:
    """Replace logits z by cap tanh(z / cap); return the slopes (R, V).

    They are 1 - tanh(z / cap)^2.
    """
    bounded = logits_RxV.div_(cap).tanh_()
    slopes = 1 - bounded.square()
    logits_RxV.mul_(cap)
    return slopes


def _replace_by_gradient(logits_RxV: Tensor, y_R: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Loss (R,) and hits (R,) of a tile.

    The tile's logits are overwritten by the gradient with respect to them.
    """
    R, V = logits_RxV.shape
    flat, at_y = logits_RxV.view(-1), torch.arange(0, R * V, V, device=y_R.device) + y_R
    own = flat.index_select(0, at_y)
    other = flat.index_fill_(0, at_y, -torch.inf).view(R, V).amax(1)
    z = flat.index_copy_(0, at_y, own).view(R, V).to(torch.promote_types(own.dtype, torch.float32))
    z_y = own.to(z.dtype)
    if loss.name == "mse":
        values, gradient, gradient_y = (z.square().sum(1) - 2 * z_y + 1) / 2, z, z_y - 1
    else:
        p = z.softmax(1)
        log_p_y = z_y - torch.maximum(z_y, other) + p.amax(1).log()
        excess = log_p_y.expm1()  # p_y - 1
        if loss.name == "cross_entropy":
            values, gradient, gradient_y = -log_p_y, p, excess
        elif loss.name == "label_smoothing":
            spread = loss.smoothing / V
            values = -(1 - loss.smoothing) * log_p_y - loss.smoothing * (z.mean(1) - z_y + log_p_y)
            gradient, gradient_y = p - spread, loss.smoothing - spread + excess
        else:
            rest = -excess
            modulation = rest.pow(loss.gamma)
            # log p_y / (1 - p_y) tends to -1 as p_y tends to 1, where the modulation vanishes.
            ratio = log_p_y / rest.clamp_min(torch.finfo(z.dtype).tiny)
            scale = modulation * (1 - loss.gamma * log_p_y.exp() * ratio)
            values, gradient, gradient_y = -modulation * log_p_y, p * scale[:, None], -rest * scale
    logits_RxV.copy_(gradient)
    flat.index_copy_(0, at_y, gradient_y.to(flat.dtype))
    return values, own > other


def _rows(elements: int, V: int) -> int:
    return max(1, elements // V)


def _tile_rows(V: int, device: torch.device) -> int:
    """Rows of a tile: what fits the caches of a CPU's threads.

    A whole chunk elsewhere. Rows do not affect each other.
    """
    return _rows(
        TILE_ELEMENTS * torch.get_num_threads() if device.type == "cpu" else CHUNK_ELEMENTS, V
    )


def _parts(size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of tensors of one length, at most `size` at a time; what fits is no view."""
    length = len(tensors[0])
    if length <= size:
        yield tensors
        return
    for start in range(0, length, size):
        yield tuple(each[start : start + size] for each in tensors)
