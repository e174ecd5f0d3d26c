"""The chunked losses against plain float64 formulas that hold all logits.

The latter are differentiated by autograd.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from study.training import losses
from study.training.losses import Loss, LossName, head_loss

NAMES: list[LossName] = ["cross_entropy", "label_smoothing", "focal", "mse"]


def plain(logits: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Sum over samples of the loss, written from its definition."""
    log_p = logits.log_softmax(-1)
    one_hot = F.one_hot(targets, logits.shape[-1]).to(logits.dtype)
    if loss.name == "cross_entropy":
        return -(one_hot * log_p).sum()
    if loss.name == "label_smoothing":
        return -((one_hot * (1 - loss.smoothing) + loss.smoothing / logits.shape[-1]) * log_p).sum()
    if loss.name == "focal":
        own = (one_hot * log_p).sum(-1)
        return -((1 - own.exp()) ** loss.gamma * own).sum()
    return ((logits - one_hot) ** 2).sum() / 2


def gradients(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, inputs)


@given(
    name=st.sampled_from(NAMES),
    classes=st.integers(2, 40),
    samples=st.integers(1, 30),
    rows=st.integers(1, 12),
    tile=st.integers(1, 5),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
    ignored=st.floats(0, 1),
    bias=st.booleans(),
)
@settings(deadline=None, derandomize=True, max_examples=80)
def test_value_and_gradients_equal_the_plain_formula(
    name, classes, samples, rows, tile, gamma, ignored, bias
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "CHUNK_ELEMENTS", rows * classes)
        patch.setattr(losses, "TILE_ELEMENTS", tile * classes)
        generator = torch.Generator().manual_seed(classes * 1000 + samples)
        head = nn.Linear(5, classes, bias=bias, dtype=torch.float64)
        features = torch.randn(samples, 5, generator=generator, dtype=torch.float64) * 3
        features.requires_grad_()
        targets = torch.randint(0, classes, (samples,), generator=generator)
        targets[torch.rand(samples, generator=generator) < ignored] = -100
        loss = Loss(name, smoothing=0.2, gamma=gamma)
        sums = head_loss(features, head, targets, loss)
        is_sample = targets != -100
        reference = plain(head(features)[is_sample], targets[is_sample], loss)
    torch.testing.assert_close(sums.loss, reference, rtol=1e-12, atol=1e-12)
    leaves = (features, head.weight, *([head.bias] if bias else []))
    for ours, theirs in zip(
        gradients(3.5 * sums.loss, *leaves), gradients(3.5 * reference, *leaves), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)
    assert (
        sums.correct.item()
        == (head(features)[is_sample].argmax(-1) == targets[is_sample]).sum().item()
    )


@pytest.mark.parametrize("name", NAMES)
def test_leading_dimensions_do_not_matter(name: LossName) -> None:
    head = nn.Linear(4, 6)
    features, targets = torch.randn(2, 3, 4), torch.randint(0, 6, (2, 3))
    joint = head_loss(features, head, targets, Loss(name)).loss
    flat = head_loss(features.view(6, 4), head, targets.view(6), Loss(name)).loss
    assert joint.item() == flat.item()


def test_equal_logits_count_as_an_error() -> None:
    """A head of zeros decides nothing; it must not look perfect."""
    head = nn.Linear(4, 6)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    assert (
        head_loss(torch.randn(5, 4), head, torch.zeros(5, dtype=torch.int64), Loss()).correct.item()
        == 0
    )


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("margin", [5.0, 12.0, 60.0, 200.0, -200.0])
def test_confident_samples_keep_finite_values_and_gradients(name: LossName, margin: float) -> None:
    """At the end of collapse p_y is 1 to the last bit.

    Float64 cross-entropy is the reference for float32.
    """
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
    features = (torch.tensor([[margin, 0.0, 0.0]])).requires_grad_()
    loss = Loss(name, gamma=0.5)
    sums = head_loss(features, head, torch.tensor([0]), loss)
    (gradient,) = gradients(sums.loss, features)
    exact = features.detach().double().requires_grad_()
    reference = plain(exact, torch.tensor([0]), loss)
    assert torch.isfinite(gradient).all()
    assert sums.loss.item() == pytest.approx(
        reference.item(), rel=2e-2 if abs(margin) > 10 else 1e-4, abs=3e-7
    )
    if margin < 60:
        (expected,) = gradients(reference, exact)
        torch.testing.assert_close(gradient.double(), expected, rtol=2e-2, atol=3e-7)


def test_under_autocast_it_equals_the_plain_path_to_bfloat16() -> None:
    torch.manual_seed(0)
    head = nn.Linear(32, 300, bias=False)
    features, targets = torch.randn(200, 32, requires_grad=True), torch.randint(0, 300, (200,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = head_loss(features, head, targets, Loss()).loss
        plainly = F.cross_entropy(head(features).float(), targets, reduction="sum")
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(plainly.item(), rel=1e-6)
    ours_h, ours_w = gradients(ours, features, head.weight)
    plain_h, plain_w = gradients(plainly, features, head.weight)
    assert (ours_h - plain_h).norm() / plain_h.norm() < 5e-3
    assert (ours_w - plain_w).norm() / plain_w.norm() < 5e-3


class _Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("name", NAMES)
def test_never_holds_the_logits_of_more_than_one_chunk(
    monkeypatch: pytest.MonkeyPatch, name: LossName
) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", 50 * 400)
    head = nn.Linear(8, 400, bias=False)
    features = torch.randn(1000, 8, requires_grad=True)
    with _Largest() as largest:
        head_loss(features, head, torch.zeros(1000, dtype=torch.int64), Loss(name)).loss.backward()
    assert largest.elements == 50 * 400
