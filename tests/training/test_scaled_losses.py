"""Losses of scaled and capped logits, against autograd through the formula."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from study.training.losses import Loss, head_loss


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize(("scale", "cap"), [(0.25, None), (1.0, 3.0), (2.5, 1.5), (1.0, None)])
def test_gradients_go_through_scale_and_cap(
    scale: float, cap: float | None, loss: Literal["cross_entropy", "mse"], bias: bool
) -> None:
    torch.manual_seed(0)
    head = nn.Linear(6, 11, bias=bias).double()
    features = torch.randn(17, 6, dtype=torch.float64, requires_grad=True) * 3
    targets = torch.randint(11, (17,))
    z = scale * head(features)
    z = z if cap is None else cap * torch.tanh(z / cap)
    expected = (
        cross_entropy(z, targets, reduction="sum")
        if loss == "cross_entropy"
        else (z - one_hot(targets, 11)).square().sum() / 2
    )
    expected_gradients = torch.autograd.grad(expected, [features, *head.parameters()])
    sums = head_loss(features, head, targets, Loss(loss), scale=scale, cap=cap)
    gradients = torch.autograd.grad(sums.loss, [features, *head.parameters()])
    torch.testing.assert_close(sums.loss, expected)
    assert int(sums.correct) == int((z.argmax(1) == targets).sum())
    for gradient, value in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, value)
