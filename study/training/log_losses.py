"""Logarithms of losses, which attacks ascend.

A float32 loss of a sample that is decided by a wide margin, and a part of its gradient, are
rounded to 0, which hides the sample from an attack (Carlini & Wagner 2017, section 4.1). A row of
one sample has the same ascent by the logarithm of its loss as by the loss.

Shapes: N samples, V classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NARROW = 20.0
"""Margin in nats beyond which log(1 + exp(-margin)) is exp(-margin) in float32."""


def log_cross_entropy(logits_NxV: Tensor, y_N: Tensor) -> Tensor:
    """(N,) logarithms of cross-entropies, which no rounding makes 0.

    With u = log sum_(c != y) exp(z_c) - z_y the cross-entropy is log(1 + exp(u)). From u = -17 on
    float32 rounds it to 0. Its logarithm is near u there.
    """
    return _log_softplus(_lead(logits_NxV, y_N))


def log_focal(logits_NxV: Tensor, y_N: Tensor, gamma: float) -> Tensor:
    """(N,) logarithms of -(1 - p_y)^gamma log p_y, which no rounding makes 0.

    1 - p_y = sigmoid(u) with the u of `log_cross_entropy`.
    """
    u_N = _lead(logits_NxV, y_N)
    return gamma * F.logsigmoid(u_N) + _log_softplus(u_N)


def log_sums(logs_N: Tensor, owners_N: Tensor, rows: int) -> Tensor:
    """(rows,) log sum_i exp(logs_i) over the samples i of each row.

    It is -inf for a row without any.
    """
    most = logs_N.new_zeros(rows).scatter_reduce(
        0, owners_N, logs_N.detach(), "amax", include_self=False
    )
    shares_N = (logs_N - most[owners_N]).exp()
    return logs_N.new_zeros(rows).index_add(0, owners_N, shares_N).log() + most


def _lead(logits_NxV: Tensor, y_N: Tensor) -> Tensor:
    """(N,) u, by which the other classes together lead the own one in nats."""
    own_Nx1 = y_N[:, None]
    others_NxV = logits_NxV.scatter(1, own_Nx1, -torch.inf)
    return others_NxV.logsumexp(1) - logits_NxV.gather(1, own_Nx1).squeeze(1)


def _log_softplus(u_N: Tensor) -> Tensor:
    """(N,) log log(1 + exp(u))."""
    near_N = u_N.clamp_min(-NARROW)
    return torch.where(u_N < -NARROW, u_N, (-F.logsigmoid(-near_N)).log())
