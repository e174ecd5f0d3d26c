"""The loss of a pass by its targets: classes, ordered classes or vectors.

Shapes: N samples, D width, C classes, n entries of a target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.models.base import FeatureModel
from study.training.losses import Loss, LossSums, head_loss, samples_of


def loss_sums(model: FeatureModel, features: Tensor, targets: Tensor, loss: Loss) -> LossSums:
    """Sum of a loss over the samples of a pass, with its gradient.

    Args:
        model: its head, and the link or the scale and bound behind it.
        features: (..., D).
        targets: (...) int64 classes, or (N, n) vectors of a regression.
        loss: which loss; `study.training.losses.Loss` has the formulas.
    """
    if targets.is_floating_point():
        return squared_error(model, features, targets)
    if model.link is not None:
        return link_loss(model, *samples_of(features, targets))
    scale, cap = model.logit_scale, model.logit_cap
    return head_loss(features, model.head, targets, loss, scale=scale, cap=cap)


def squared_error(model: FeatureModel, features_NxD: Tensor, targets_Nxn: Tensor) -> LossSums:
    """sum_i ||z_i - y_i||^2 / 2, z = W h + b; no sample is correct or wrong."""
    z_Nxn = _single(model.logits(features_NxD))
    y_Nxn = targets_Nxn.to(z_Nxn.device, z_Nxn.dtype, non_blocking=True)
    return LossSums((z_Nxn - y_Nxn).square().sum() / 2, z_Nxn.new_zeros(()))


def link_loss(model: FeatureModel, features_NxD: Tensor, targets_N: Tensor) -> LossSums:
    """sum_i -log p_(y_i) of a cumulative link (McCullagh 1980, section 2.4).

    A sample is correct if its own class is likelier than every other.
    """
    log_p_NxC = _single(model.logits(features_NxD))
    y_N = targets_N.to(log_p_NxC.device, non_blocking=True)
    own_N = log_p_NxC.gather(1, y_N[:, None]).squeeze(1)
    with torch.no_grad():
        others_NxC = log_p_NxC.scatter(1, y_N[:, None], -torch.inf)
        correct = (own_N > others_NxC.amax(1)).sum().to(log_p_NxC.dtype)
    return LossSums(-own_N.sum(), correct)


def _single(logits: Tensor) -> Tensor:
    """In float32 at least, also where autocast multiplies in 16 bits."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
