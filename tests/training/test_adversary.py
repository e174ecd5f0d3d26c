"""Training on perturbed samples against the formulas of its authors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_rows import image_dataset
from token_rows import cell as token_cell
from token_rows import dataset as token_dataset
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import CellConfig
from study.data.base import Dataset
from study.models import build_model
from study.models.attacks import PerturbedImages
from study.models.base import FeatureModel
from study.models.vision_config import MLP, SimpleCNN
from study.settings.attack import AdversaryConfig, Norm
from study.training.adversary import Adversary
from study.training.loss_log import read_losses
from study.training.losses import IGNORED, Loss, head_loss
from study.training.train import train

CPU = torch.device("cpu")
CLASSES, SHAPE = 4, (2, 8, 8)
WIDE = (torch.full((2, 1, 1), -50.0), torch.full((2, 1, 1), 50.0))


class Linear(FeatureModel):
    """Logits W x of pixels x, with features that are the pixels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head, self.tied, self.embedding = nn.Linear(128, classes), False, None
        with torch.no_grad():
            for seed, parameter in enumerate(self.head.parameters()):
                generator = torch.Generator().manual_seed(seed)
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {}


def pixels(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(seed))


def adversary_of(model: FeatureModel, loss: Loss | None = None, **settings: Any) -> Adversary:
    config = AdversaryConfig.model_validate(settings)
    return Adversary(config, model, loss or Loss(), WIDE)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_pgd_of_a_linear_model_is_its_closed_form(norm: Norm, loss: str) -> None:
    """Of two classes both losses rise along the difference of the head's rows."""
    model, x, y = Linear(2), pixels(6, seed=2), torch.tensor([0, 1, 1, 0, 1, 0])
    eps = 1e-3
    settings = {"eps": eps, "step_size": eps, "norm": norm, "steps": 30}
    adversary = adversary_of(model, Loss(loss), **settings)  # type: ignore[arg-type]
    adversary.reseed(0)
    h, added = adversary.features(model.features, x, y)
    assert added is None and model.training
    weight = model.head.weight.detach().double()
    away = weight[1 - y] - weight[y]
    best = away.sign() if norm == "linf" else away / away.norm(dim=1, keepdim=True)
    expected = x.flatten(1).double() + 100 * eps * best  # 100: the range of a pixel
    torch.testing.assert_close(h.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("margin", [30.0, 300.0])
def test_pgd_moves_inputs_that_are_decided_by_a_wide_margin(
    norm: Norm, loss: str, margin: float
) -> None:
    """Their loss and its gradient are 0 in float32; the steps are those of the closed form."""
    model, y = Linear(2), torch.tensor([0, 1, 1, 0])
    weight, bias = (each.detach() for each in (model.head.weight, model.head.bias))
    away = weight[1 - y] - weight[y]
    x = -(margin + bias[1 - y] - bias[y])[:, None] * away / away.square().sum(1, keepdim=True)
    assert model(x.view(4, *SHAPE)).diff(dim=1).abs().flatten().tolist() == pytest.approx(
        [margin] * 4, rel=1e-5
    )
    eps = 1e-3
    settings = {"eps": eps, "step_size": eps, "norm": norm, "steps": 30}
    adversary = adversary_of(model, Loss(loss), **settings)  # type: ignore[arg-type]
    adversary.reseed(0)
    h, _ = adversary.features(model.features, x.view(4, *SHAPE), y)
    best = away.sign() if norm == "linf" else away / away.norm(dim=1, keepdim=True)
    expected = x.double() + 100 * eps * best.double()
    torch.testing.assert_close(h.double(), expected, rtol=1e-6, atol=1e-5)


def test_rows_of_tokens_are_ascended_by_the_sum_of_their_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gradient of log sum_i l_i is that of sum_i l_i, divided by it."""
    monkeypatch.setattr("study.training.losses.CHUNK_ELEMENTS", 5 * CLASSES)  # chunks of 5
    model = Linear(CLASSES)
    y = torch.arange(24).view(4, 6) % CLASSES
    y[0, 2:5], y[3] = IGNORED, IGNORED
    for loss in (Loss("cross_entropy"), Loss("focal")):
        h = 0.3 * torch.randn(4, 6, 128, generator=torch.Generator().manual_seed(5))
        h.requires_grad_()
        logs = adversary_of(model, loss, eps=0.1)._log_losses(h, y)
        assert float(logs[3]) == -torch.inf
        (gradient,) = torch.autograd.grad(logs[:3].sum(), h)
        assert not gradient[3].any()
        for row in range(3):
            own = head_loss(h[row], model.head, y[row], loss).loss
            (expected,) = torch.autograd.grad(own, h)
            assert float(logs[row].detach().exp()) == pytest.approx(float(own.detach()), rel=1e-5)
            torch.testing.assert_close(gradient[row], expected[row] / own.detach())


def test_trades_is_the_formula_of_its_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """beta sum_i sum_v p_iv log(p_iv / p'_iv), by a plain loop, with its gradient."""
    settings = MLP(kind="mlp", width=16, depth=2)
    model = build_model(settings, classes=CLASSES, input_shape=SHAPE, seed=0)
    x, y = pixels(9, seed=3), torch.arange(9) % CLASSES
    r = 0.01 * pixels(9, seed=4)
    adversary = adversary_of(model, kind="trades", eps=0.1, beta=2.5)
    monkeypatch.setattr(adversary, "_perturbation", lambda *args, **options: r)
    monkeypatch.setattr("study.training.losses.CHUNK_ELEMENTS", 5 * CLASSES)  # chunks of 5
    h, added = adversary.features(model.features, x, y)
    assert added is not None
    assert torch.equal(h, model.features(x))
    gradients = torch.autograd.grad(added, list(model.parameters()))

    model.double()
    moved = x.double() + 100 * r.double()
    total = torch.zeros((), dtype=torch.float64)
    for one, other in zip(model(x.double()), model(moved), strict=True):
        p, q = one.exp() / one.exp().sum(), other.exp() / other.exp().sum()
        for v in range(CLASSES):
            total = total + p[v] * (p[v] / q[v]).log()
    assert added.item() == pytest.approx(2.5 * total.item(), rel=1e-5)
    for mine, expected in zip(
        gradients, torch.autograd.grad(2.5 * total, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(mine.double(), expected, rtol=1e-4, atol=1e-6)


def test_trades_moves_away_from_its_own_predictions_inside_the_ball() -> None:
    settings = MLP(kind="mlp", width=16, depth=2)
    model = build_model(settings, classes=CLASSES, input_shape=SHAPE, seed=0)
    x, y = pixels(9, seed=3), torch.arange(9) % CLASSES
    adversary = adversary_of(model, kind="trades", eps=0.02, steps=5)
    target = PerturbedImages(model.features, x, "linf", 0.02, WIDE)
    adversary.reseed(1)
    r = adversary._perturbation(target, y, CPU, away=True)
    adversary.reseed(1)
    start = target.ball.start(target.shape, adversary.generator)
    assert float(r.abs().max()) <= 0.02 * (1 + 1e-6)
    with torch.no_grad():
        clean = model.features(x)
        moved, begun = (
            float(adversary._divergence(clean, target.features(each), y)) for each in (r, start)
        )
    assert moved > 1.5 * begun > 0


def test_logits_that_are_scaled_and_capped_are_what_trades_compares() -> None:
    model = Linear(3)
    model.logit_scale, model.logit_cap = 4.0, 2.0
    adversary = adversary_of(model, kind="trades", eps=0.1)
    h, moved = (pixels(5, seed=seed).flatten(1) for seed in (5, 6))
    divergence = adversary._divergence(h, moved, torch.zeros(5, dtype=torch.int64))
    log_p, log_q = (model.logits(each).log_softmax(1) for each in (h, moved))
    expected = F.kl_div(log_q, log_p, reduction="sum", log_target=True)
    torch.testing.assert_close(divergence, expected)


def cell(
    model: dict[str, Any] | None = None, *, epochs: int = 1, seed: int = 0, **settings: Any
) -> CellConfig:
    recipe = {"epochs": epochs, "optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "batch_size": 64}
    return CellConfig.model_validate(
        {
            "data": {"kind": "images"},
            "model": model or {"kind": "mlp", "width": 16, "depth": 2},
            "train": {**recipe, "schedule": "constant", **settings},
            "measure": {"at": "last", "initial": "never"},
            "seed": seed,
        }
    )


def weights(config: CellConfig, data: Dataset, **options: Any) -> dict[str, Tensor]:
    (*_, last) = train(config, data, CPU, **options)
    return {name: tensor.clone() for name, tensor in last.model.state_dict().items()}


@pytest.mark.parametrize("kind", ["pgd", "trades"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_descends_the_loss_of_perturbed_samples(
    kind: str, precision: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One step of plain SGD on all rows, whose gradient is known from the formula."""
    data = image_dataset(CLASSES, 8, SHAPE)
    assert data.input_range is not None
    low, high = data.input_range
    found: list[Tensor] = []
    search = Adversary._perturbation

    def kept(self: Adversary, *args: Any, **options: Any) -> Tensor:
        found.append(search(self, *args, **options))
        return found[-1]

    monkeypatch.setattr(Adversary, "_perturbation", kept)
    adversary = {"kind": kind, "eps": 0.05, "steps": 3, "beta": 2.0}
    config = cell(adversary=adversary, precision=precision)
    after = weights(config, data, folder=tmp_path)
    (r,) = found
    settings = MLP(kind="mlp", width=16, depth=2)
    model = build_model(settings, classes=CLASSES, input_shape=SHAPE, seed=0)
    order = np.random.default_rng([0, 0]).permutation(len(data.train))
    x, y = data.train.batch(order)
    loss = F.cross_entropy(model(x + r * (high - low) if kind == "pgd" else x), y)
    (row,) = read_losses(tmp_path / "loss_log.jsonl")
    tolerance = 1e-5 if precision == "fp32" else 0.02
    assert row["loss"] == pytest.approx(loss.item(), rel=tolerance)
    if kind == "trades":
        log_p, log_q = (model(each).log_softmax(1) for each in (x, x + r * (high - low)))
        divergence = 2.0 * (log_p.exp() * (log_p - log_q)).sum(1).mean()
        assert row["penalty"] == pytest.approx(divergence.item(), rel=10 * tolerance)
        loss = loss + divergence
    else:
        assert "penalty" not in row
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        step = -0.1 * parameter.grad
        moved = after[name] - parameter.detach()
        assert float((moved - step).norm()) < 10 * tolerance * float(step.norm()), name


def test_no_radius_is_no_adversary_bit_for_bit() -> None:
    data = image_dataset(CLASSES, 8, SHAPE)
    plain = weights(cell(epochs=2), data)
    for kind in ("pgd", "trades"):
        same = weights(cell(epochs=2, adversary={"kind": kind, "eps": 0}), data)
        assert all(torch.equal(plain[name], same[name]) for name in plain)


def test_batch_norm_learns_from_what_is_trained_on_alone() -> None:
    """From the perturbed pass of pgd, from both passes of trades, and from no ascent."""
    data = image_dataset(CLASSES, 8, SHAPE)
    settings = {"kind": "simple_cnn", "width": 8, "depth": 2}
    for kind, passes in (("pgd", 1), ("trades", 2)):
        config = cell(settings, epochs=2, adversary={"kind": kind, "eps": 0.05, "steps": 4})
        after = weights(config, data)
        counts = {int(t) for name, t in after.items() if name.endswith("num_batches_tracked")}
        assert counts == {2 * passes}


def test_dropout_draws_for_the_trained_pass_as_without_an_adversary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Starts come from a generator of their own: with a radius of nearly 0 nothing differs."""
    data = image_dataset(CLASSES, 8, SHAPE)
    settings = {"kind": "simple_cnn", "width": 8, "depth": 1, "dropout": 0.5}
    assert SimpleCNN.model_validate(settings).dropout == 0.5
    plain = weights(cell(settings), data)
    moved = weights(cell(settings, adversary={"eps": 1e-7, "steps": 1}), data)
    for name, tensor in plain.items():
        torch.testing.assert_close(moved[name], tensor, rtol=1e-3, atol=1e-4)


def test_training_on_perturbed_samples_helps_against_perturbations() -> None:
    """pgd lowers the loss that an attack reaches, trades how far it moves predictions."""
    data = image_dataset(CLASSES, 16, SHAPE)
    x, y = data.train.batch(np.arange(len(data.train)))
    reached: dict[str, list[float]] = {}
    for kind in (None, "pgd", "trades"):
        adversary = kind and {"kind": kind, "eps": 0.03, "steps": 4}
        config = cell(epochs=25, lr=0.02, batch_size=16, adversary=adversary)
        (*_, last) = train(config, data, CPU)
        for attack in ("pgd", "trades"):
            settings = AdversaryConfig(kind=attack, eps=0.03, beta=1.0, steps=10)
            attacker = Adversary(settings, last.model, Loss(), data.input_range)
            attacker.reseed(0)
            h, divergence = attacker.features(last.model.features, x, y)
            loss = F.cross_entropy(last.model.logits(h), y, reduction="sum")
            value = loss if divergence is None else divergence
            reached.setdefault(attack, []).append(float(value.detach()))
    (plain, by_pgd, _), (moved, _, by_trades) = reached["pgd"], reached["trades"]
    assert by_pgd < 0.3 * plain
    assert by_trades < 0.3 * moved


def test_language_models_are_perturbed_on_their_embeddings() -> None:
    data = token_dataset()
    plain, moved = (
        [each.train_loss_running for each in train(token_cell(**settings), data, CPU)][1:]
        for settings in (
            {},
            {"adversary": {"eps": 0.5, "norm": "l2", "steps": 2}},
        )
    )
    assert all(a is not None and b is not None and b > a for a, b in zip(plain, moved, strict=True))
    assert all(b is not None and math.isfinite(b) for b in moved)
    rounded = token_cell(quantize="int4", adversary={"kind": "trades", "eps": 0.1, "steps": 1})
    (*_, last) = train(rounded, data, CPU)
    assert last.train_loss_running is not None
