"""Losses of target vectors and of classes in an order, against loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from study.config import TrainConfig
from study.models import build_model
from study.models.base import FeatureModel
from study.models.vision_config import MLP
from study.training.losses import Loss
from study.training.optimizer import parameter_groups
from study.training.target_losses import loss_sums


def drawn(head: str, classes: int) -> tuple[FeatureModel, torch.Tensor]:
    settings = MLP.model_validate({"width": 7, "depth": 1, "head": head})
    model = build_model(settings, classes=classes, input_shape=(4,), seed=1).double()
    return model, torch.randn(9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_squared_error_is_half_the_sum_of_squares() -> None:
    model, h = drawn("learned", 3)
    y = torch.randn(9, 3, generator=torch.Generator().manual_seed(3))
    sums = loss_sums(model, h, y, Loss("mse"))
    W, b = model.head.weight.detach().numpy(), model.head.bias.detach().numpy()
    expected = sum(
        ((W @ each + b - target) ** 2).sum() / 2
        for each, target in zip(h.numpy(), y.numpy())  # noqa: B905
    )
    assert sums.loss.item() == pytest.approx(expected, rel=1e-12)
    (grad,) = torch.autograd.grad(sums.loss, model.head.weight)
    slopes = h.numpy() @ W.T + b - y.numpy()
    np.testing.assert_allclose(grad, slopes.T @ h.numpy(), rtol=1e-10)


def test_link_loss_is_that_of_the_proportional_odds_model() -> None:
    model, h = drawn("cumulative_link", 5)
    y = torch.tensor([0, 1, 2, 3, 4, -100, 2, 1, 0])
    sums = loss_sums(model, h, y, Loss("cumulative_link"))
    link = model.link
    assert link is not None
    cuts = [-np.inf, *link.thresholds.tolist(), np.inf]
    expected, correct = 0.0, 0
    for each, c in zip(h.numpy(), y.tolist(), strict=True):
        if c == -100:
            continue
        z = float(model.head.weight.detach().numpy()[0] @ each)
        p = [expit(cuts[k + 1] - z) - expit(cuts[k] - z) for k in range(5)]
        expected -= np.log(p[c])
        correct += int(np.argmax(p) == c)
    assert sums.loss.item() == pytest.approx(expected, rel=1e-6)
    assert sums.correct.item() == correct
    # Cross-entropy of the logits is the same number.
    logits = model.logits(h[y >= 0])
    again = torch.nn.functional.cross_entropy(logits, y[y >= 0], reduction="sum")
    assert again.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("head", ["learned", "cumulative_link"])
def test_a_head_of_one_row_decays_as_a_matrix(head: str) -> None:
    model, _ = drawn(head, 1 if head == "learned" else 4)
    config = TrainConfig(epochs=1, weight_decay=0.5)
    decayed = [
        each for group in parameter_groups(model, config) if group["weight_decay"] == 0.5
        for each in group["params"]
    ]  # fmt: skip
    assert any(each is model.head.weight for each in decayed) and len(decayed) == 2
