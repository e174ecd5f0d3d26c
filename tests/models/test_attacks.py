"""Perturbations against closed forms, and what each of them must keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.models import ModelError, build_model
from study.models.attacks import (
    Ball,
    Perturbable,
    PerturbedImages,
    PerturbedTokens,
    ascend,
    perturbable,
)
from study.models.base import FeatureModel
from study.models.transformer_config import NanoGPTModel
from study.models.vision_config import MLP
from study.settings.attack import Norm

SHAPE = (2, 3, 3)
NORMS: tuple[Norm, ...] = ("linf", "l2")
WIDE = (torch.full((2, 1, 1), -50.0), torch.full((2, 1, 1), 50.0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def losses_of(
    target: Perturbable, labels: Tensor, head: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    def losses(r: Tensor) -> Tensor:
        return F.cross_entropy(head(target.features(r)), labels, reduction="none")

    return losses


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_a_linear_model_is_attacked_as_its_closed_form_says(norm: Norm, kind: str) -> None:
    """Of two classes the loss falls with the margin, whose gradient is the same everywhere."""
    weight = torch.randn(2, 18, generator=seeded(), dtype=torch.float64)
    x = torch.randn(5, *SHAPE, generator=seeded(1), dtype=torch.float64)
    labels, eps = torch.tensor([0, 1, 1, 0, 1]), 0.03
    low, high = (bound.double() for bound in WIDE)
    target = PerturbedImages(lambda x: x.flatten(1) @ weight.T, x, norm, eps, (low, high))
    away = (weight[1 - labels] - weight[labels]).view_as(x)  # gradient of -margin
    expected = (
        eps * away.sign()
        if norm == "linf"
        else eps * away / away.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    )
    start = torch.zeros_like(x)
    if kind == "pgd":
        start = target.ball.start(tuple(x.shape), seeded(2)).double()
    # Steps of 2.5 eps / 40 leave an l2 point on the sphere closer and closer to the optimum.
    steps, length = (1, eps) if kind == "fgsm" else (40, 2.5 * eps / 40 if norm == "linf" else eps)
    losses = losses_of(target, labels, lambda logits: logits)
    found = ascend(losses, target.ball, start, steps=steps, length=length, best=True)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    margin = ((weight[labels] - weight[1 - labels]) * x.flatten(1)).sum(1)
    dual = away.flatten(1).norm(1 if norm == "linf" else 2, dim=1)
    attacked = F.softplus(-(margin - 100 * eps * dual))  # 100: the range of a pixel
    torch.testing.assert_close(losses(found), attacked, rtol=1e-8, atol=0)


def test_the_range_of_pixels_bounds_a_linear_attack_entry_by_entry() -> None:
    weight = torch.randn(2, 18, generator=seeded(3), dtype=torch.float64)
    x = torch.rand(4, *SHAPE, generator=seeded(4), dtype=torch.float64)
    labels, eps = torch.tensor([0, 1, 1, 0]), 0.6
    low, high = torch.zeros(2, 1, 1).double(), torch.ones(2, 1, 1).double()
    target = PerturbedImages(lambda x: x.flatten(1) @ weight.T, x, "linf", eps, (low, high))
    losses = losses_of(target, labels, lambda logits: logits)
    zeros = torch.zeros_like(x)
    found = ascend(losses, target.ball, zeros, steps=1, length=eps, best=True)
    away = (weight[1 - labels] - weight[labels]).view_as(x)
    torch.testing.assert_close(x + found, (x + eps * away.sign()).clamp(0, 1))


def model_of(kind: str) -> tuple[FeatureModel, Tensor]:
    if kind == "images":
        settings = MLP(kind="mlp", width=16, depth=2)
        model = build_model(settings, classes=6, input_shape=SHAPE, seed=0).eval()
        return model, torch.randn(7, *SHAPE, generator=seeded(5))
    gpt = NanoGPTModel(kind="nanogpt", width=8, depth=1, heads=2)
    model = build_model(gpt, classes=6, context=5, seed=0).eval()
    return model, torch.randint(6, (7, 5), generator=seeded(5))


@pytest.mark.parametrize(
    ("kind", "norm", "steps", "best"),
    [*product(["images", "tokens"], NORMS, [1, 7], [True]), ("images", "l2", 3, False)],
)
def test_attacks_stay_in_their_ball_and_range_and_raise_the_loss_of_every_row(
    kind: str, norm: Norm, steps: int, best: bool
) -> None:
    model, x = model_of(kind)
    bounds = (torch.full((2, 1, 1), -1.0), torch.full((2, 1, 1), 1.5))  # some pixels are beyond
    eps = 0.4
    target = perturbable(model, model.features, x, norm=norm, eps=eps, input_range=bounds)
    labels = torch.randint(6, x.shape if kind == "tokens" else (7,), generator=seeded(6))

    def losses(r: Tensor) -> Tensor:
        logits = model.logits(target.features(r))
        each = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
        return each.view(7, -1).sum(1)

    start = target.ball.start(target.shape, seeded(7))
    r = ascend(losses, target.ball, start, steps=steps, length=0.5, best=best)
    dims = (1, 2, 3) if kind == "images" else 2
    lengths = torch.linalg.vector_norm(r, torch.inf if norm == "linf" else 2, dims)
    assert float(lengths.max()) <= eps * (1 + 1e-6) and float(lengths.max()) > eps / 4
    with torch.no_grad():
        gained = losses(r) - losses(torch.zeros_like(r))
    assert (gained >= 0).all() or not best
    assert (gained > 1e-3).sum() >= 5
    if kind == "images":
        moved = x + r * 2.5
        inside = (x >= -1) & (x <= 1.5)
        assert ((moved >= -1 - 1e-6) & (moved <= 1.5 + 1e-6))[inside].all()
        assert (moved.sub(0.25).abs() <= x.sub(0.25).abs() + 1e-6)[~inside].all()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("norm", NORMS)
def test_starts_are_uniform_in_the_ball_and_repeat_with_their_seed(norm: Norm) -> None:
    ball = Ball(norm, 0.5, 1)
    r = ball.start((20_000, 3), seeded(8))
    assert torch.equal(r, ball.start((20_000, 3), seeded(8)))
    radii = ball.norms(r).squeeze(1) / 0.5
    # P(radius <= q) = q^3 in three dimensions, whatever the norm; 4 standard errors are .015.
    for quantile in (0.3, 0.6, 0.9):
        assert float((radii <= quantile).float().mean()) == pytest.approx(quantile**3, abs=0.015)
    assert float(r.mean(0).abs().max()) < 0.01


@pytest.mark.parametrize("norm", NORMS)
def test_projection_gives_the_nearest_point_of_the_ball(norm: Norm) -> None:
    ball, r = Ball(norm, 0.5, 1), torch.randn(6, 3, generator=seeded(9))
    nearest = ball.project(r)
    others = Ball(norm, 0.5, 1).start((4000, 3), seeded(10))
    distances = (others - r[:, None]).norm(dim=2).amin(dim=1)
    assert ((nearest - r).norm(dim=1) <= distances + 1e-6).all()
    inside = 0.1 * r
    assert torch.equal(ball.project(inside), inside)


def test_a_flat_loss_takes_no_step() -> None:
    for norm in NORMS:
        assert not Ball(norm, 1.0, 1).ascent(torch.zeros(2, 3), 0.5).any()


@pytest.mark.parametrize("norm", NORMS)
def test_tokens_are_moved_in_units_of_their_embedding(norm: Norm) -> None:
    model, x = model_of("tokens")
    target = PerturbedTokens(model, model.features, x, norm, 0.1)
    assert model.embedding is not None
    table = model.embedding.weight.detach().double()
    entries = math.sqrt(sum(float(v) ** 2 for v in table.flatten()) / table.numel())
    unit = entries if norm == "linf" else math.sqrt(float(table.square().sum(1).mean()))
    assert target.unit == pytest.approx(unit, rel=1e-12)
    with torch.no_grad():
        clean = model.features(x)
        assert torch.equal(target.features(torch.zeros(target.shape)), clean)
        # The last position alone depends on what is added there.
        r = torch.zeros(target.shape)
        r[:, -1] = 1.0
        moved = target.features(r)
        assert torch.equal(moved[:, :-1], clean[:, :-1])
        assert not torch.equal(moved[:, -1], clean[:, -1])
        assert torch.equal(model.features(x), clean)  # nothing stays behind


def test_what_cannot_be_perturbed_is_refused_with_its_reason() -> None:
    model, x = model_of("images")
    with pytest.raises(ModelError, match="without a known range"):
        perturbable(model, model.features, x, norm="l2", eps=1.0, input_range=None)
    with pytest.raises(ModelError, match="has no embedding of tokens"):
        tokens = torch.zeros(2, 3, dtype=torch.int64)
        perturbable(model, model.features, tokens, norm="l2", eps=1.0, input_range=None)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(4, 2)

        def features(self, x: Tensor) -> Tensor:
            return self.embedding(x) + self.embedding(x)

    twice = Twice()
    target = PerturbedTokens(twice, twice.features, torch.zeros(1, 2, dtype=torch.int64), "l2", 1.0)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="2 times in a pass"):
        target.features(torch.zeros(target.shape))
