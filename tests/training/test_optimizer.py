"""Update rules against plain float64 loops of their papers, and which parameters decay how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_study import launch, tiny
from token_rows import cell, dataset
from torch.nn import functional as F

from study.config import TrainConfig
from study.models import MLP, ModelError, NanoGPTModel, SimpleCNN, build_model
from study.models.base import FeatureModel
from study.settings.schema import plain
from study.training.loss_log import read_losses
from study.training.optimizer import (
    make_optimizer,
    optimizer_tensors,
    parameter_groups,
    restore_optimizer,
)
from study.training.train import train

Array = np.ndarray
STEPS, DECAY = 5, 0.3
BETAS, EPS, MOMENTUM = (0.8, 0.95), 1e-3, 0.7


def settings(optimizer: str, **others: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "epochs": 1,
            "optimizer": optimizer,
            "weight_decay": DECAY,
            "beta1": BETAS[0],
            "beta2": BETAS[1],
            "eps": EPS,
            "momentum": MOMENTUM,
            **others,
        }
    )


def perceptron() -> FeatureModel:
    """Two hidden layers of 5 units in float64."""
    model = MLP(width=5, depth=2).build(classes=3, input_shape=(1, 2, 3), seed=0)
    return model.double()


def network() -> FeatureModel:
    """Two convolutions of 4 channels with batch norm."""
    return SimpleCNN(width=4, depth=2).build(classes=3, input_shape=(1, 8, 8), seed=0)


def rates() -> Iterator[float]:
    """Learning rates of a schedule."""
    return (0.1 / (1 + step) for step in range(STEPS))


def gradients(model: FeatureModel) -> Iterator[list[torch.Tensor]]:
    """One gradient a parameter and step; some entries are zero."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        drawn = [
            torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in model.parameters()
        ]
        yield [g * (g.abs() > 0.2) for g in drawn]


def stepped(model: FeatureModel, config: TrainConfig) -> dict[str, Array]:
    """Parameters after a few steps of the optimizer."""
    optimizer = make_optimizer(model, config)
    for rate, grads in zip(rates(), gradients(model), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, grad in zip(model.parameters(), grads, strict=True):
            parameter.grad = grad
        optimizer.step()
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


Rule = Callable[[float, float, list[float], list[float]], float]
"""Start, decay, gradients and learning rates of one number; where it ends."""


def adam(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    """Kingma & Ba 2015, algorithm 1, with the gradient of decay / 2 theta^2."""
    m = v = 0.0
    for t, (g, lr) in enumerate(zip(grads, lrs, strict=True), 1):
        slope = g + decay * theta
        m, v = BETAS[0] * m + (1 - BETAS[0]) * slope, BETAS[1] * v + (1 - BETAS[1]) * slope**2
        theta -= lr * (m / (1 - BETAS[0] ** t)) / ((v / (1 - BETAS[1] ** t)) ** 0.5 + EPS)
    return theta


def adamw(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    """Loshchilov & Hutter 2019, algorithm 2."""
    m = v = 0.0
    for t, (g, lr) in enumerate(zip(grads, lrs, strict=True), 1):
        m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
        step = (m / (1 - BETAS[0] ** t)) / ((v / (1 - BETAS[1] ** t)) ** 0.5 + EPS)
        theta = theta - lr * step - lr * decay * theta
    return theta


def sgd(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    """Momentum as in Sutskever et al. 2013, with the gradient of decay / 2 theta^2."""
    m = 0.0
    for g, lr in zip(grads, lrs, strict=True):
        m = MOMENTUM * m + g + decay * theta
        theta -= lr * m
    return theta


def nesterov(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    m = 0.0
    for g, lr in zip(grads, lrs, strict=True):
        slope = g + decay * theta
        m = MOMENTUM * m + slope
        theta -= lr * (slope + MOMENTUM * m)
    return theta


def sgdw(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    """Loshchilov & Hutter 2019, algorithm 1, decay times the learning rate."""
    m = 0.0
    for g, lr in zip(grads, lrs, strict=True):
        m = MOMENTUM * m + g
        theta = theta - lr * m - lr * decay * theta
    return theta


def nesterov_decoupled(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    m = 0.0
    for g, lr in zip(grads, lrs, strict=True):
        m = MOMENTUM * m + g
        theta = theta - lr * (g + MOMENTUM * m) - lr * decay * theta
    return theta


def sign(x: float) -> float:
    return float(x > 0) - float(x < 0)


def signum(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    """Bernstein et al. 2018, algorithm 2, with the gradient of decay / 2 theta^2."""
    m = 0.0
    for g, lr in zip(grads, lrs, strict=True):
        m = MOMENTUM * m + (1 - MOMENTUM) * (g + decay * theta)
        theta -= lr * sign(m)
    return theta


def signumw(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    m = 0.0
    for g, lr in zip(grads, lrs, strict=True):
        m = MOMENTUM * m + (1 - MOMENTUM) * g
        theta -= lr * (sign(m) + decay * theta)
    return theta


def lion(theta: float, decay: float, grads: list[float], lrs: list[float]) -> float:
    """Chen et al. 2023, algorithm 2."""
    m = 0.0
    for g, lr in zip(grads, lrs, strict=True):
        c = BETAS[0] * m + (1 - BETAS[0]) * g
        theta -= lr * (sign(c) + decay * theta)
        m = BETAS[1] * m + (1 - BETAS[1]) * g
    return theta


RULES: dict[str, tuple[dict[str, Any], Rule]] = {
    "adam": ({"optimizer": "adam"}, adam),
    "adamw": ({"optimizer": "adamw"}, adamw),
    "sgd": ({"optimizer": "sgd"}, sgd),
    "sgd-nesterov": ({"optimizer": "sgd", "nesterov": True}, nesterov),
    "sgdw": ({"optimizer": "sgdw"}, sgdw),
    "sgdw-nesterov": ({"optimizer": "sgdw", "nesterov": True}, nesterov_decoupled),
    "signum": ({"optimizer": "signum"}, signum),
    "signumw": ({"optimizer": "signumw"}, signumw),
    "lion": ({"optimizer": "lion"}, lion),
}


def by_loop(
    rule: Rule, start: dict[str, Array], decays: dict[str, float], grads: list[dict[str, Array]]
) -> dict[str, Array]:
    """A rule on every number of every parameter."""
    ends = {}
    for name, values in start.items():
        ends[name] = np.empty_like(values)
        for place in np.ndindex(values.shape):
            slopes = [float(each[name][place]) for each in grads]
            ends[name][place] = rule(float(values[place]), decays[name], slopes, list(rates()))
    return ends


def drawn_gradients(model: FeatureModel) -> list[dict[str, Array]]:
    names = [name for name, _ in model.named_parameters()]
    return [
        {name: g.numpy() for name, g in zip(names, grads, strict=True)}
        for grads in gradients(model)
    ]


@pytest.mark.parametrize("name", RULES)
def test_an_update_rule_is_that_of_its_paper(name: str) -> None:
    options, rule = RULES[name]
    model = perceptron()
    start = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    decays = {name: DECAY if values.ndim == 2 else 0.0 for name, values in start.items()}
    expected = by_loop(rule, start, decays, drawn_gradients(model))
    for key, values in stepped(model, settings(**options)).items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-10, atol=1e-13, err_msg=key)


def orthogonalised(update: Array) -> Array:
    """What five steps of a s + b s^3 + c s^5 make of each singular value (Jordan et al. 2024)."""
    u, s, v = np.linalg.svd(update, full_matrices=False)
    s = s / np.linalg.norm(update)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    product: Array = u * s @ v
    return product


@pytest.mark.parametrize("looks_ahead", [False, True])
def test_muon_steps_along_orthogonal_matrices(looks_ahead: bool) -> None:
    """Hidden matrices through the singular values of the momentum, all else as adamw.

    The matrix products of Muon are in bfloat16, whose rounding is 0.4%.
    """
    model = perceptron()
    start = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    grads = drawn_gradients(model)
    ends = stepped(model, settings("muon", nesterov=looks_ahead))
    decays = {name: DECAY if values.ndim == 2 else 0.0 for name, values in start.items()}
    others = by_loop(adamw, start, decays, grads)
    hidden = [name for name, values in start.items() if values.ndim == 2 and "head" not in name]
    assert len(hidden) == 2
    for name in start.keys() - set(hidden):
        np.testing.assert_allclose(ends[name], others[name], rtol=1e-10, err_msg=name)
    for name in hidden:
        theta, m = start[name], np.zeros_like(start[name])
        for each, lr in zip(grads, rates(), strict=True):
            m = MOMENTUM * m + (1 - MOMENTUM) * each[name]
            update = (1 - MOMENTUM) * each[name] + MOMENTUM * m if looks_ahead else m
            theta = theta - lr * DECAY * theta
            theta = theta - lr * 0.2 * max(m.shape) ** 0.5 * orthogonalised(update)
        moved = np.linalg.norm(ends[name] - start[name])
        assert np.linalg.norm(ends[name] - theta) < 0.02 * moved, name


def test_muon_takes_kernels_as_matrices_and_no_embedding() -> None:
    groups = parameter_groups(network(), settings("muon"))
    kernels = [p for group in groups if "hidden" in group for p in group["params"]]
    assert [tuple(p.shape) for p in kernels] == [(4, 1, 3, 3), (4, 4, 3, 3)]
    transformer = NanoGPTModel(width=8, depth=1, heads=2, tied=False).build(
        classes=11, input_shape=(6,), seed=0
    )
    groups = parameter_groups(transformer, settings("muon"))
    hidden = {p for group in groups if "hidden" in group for p in group["params"]}
    names = {name for name, p in transformer.named_parameters() if p in hidden}
    assert all(name.startswith("blocks.") for name in names)
    assert sum(p.numel() for p in hidden) == 12 * 8**2


@pytest.mark.parametrize("name", [*RULES, "muon"])
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    """Of a network with convolutions, whose kernels muon sees as matrices."""
    options = RULES[name][0] if name in RULES else {"optimizer": name}
    config = settings(**options)
    whole, first, second = (network() for _ in range(3))
    one, two = make_optimizer(whole, config), make_optimizer(first, config)

    def step(model: FeatureModel, optimizer: torch.optim.Optimizer, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    for number in range(4):
        step(whole, one, number)
    for number in range(2):
        step(first, two, number)
    second.load_state_dict(first.state_dict())
    three = make_optimizer(second, config)
    saved = {key: tensor.clone() for key, tensor in optimizer_tensors(two).items()}
    assert saved
    restore_optimizer(three, saved)
    for number in (2, 3):
        step(second, three, number)
    for mine, other in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other)
    ends = optimizer_tensors(three), optimizer_tensors(one)
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(tensor, ends[1][key]) for key, tensor in ends[0].items())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "sgdw", "signumw", "lion", "muon"])
def test_dials_decay_their_own_parameters(optimizer: str) -> None:
    """Of a convolutional network with batch norm: kernels, the head, biases, and nothing else."""
    config = settings(optimizer, decay={"body": 0.1, "head": 0.2, "bias": 0.4})
    model = network()
    decays = {
        parameter: group["weight_decay"]
        for group in make_optimizer(model, config).param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        is_gain = name.endswith("weight") and parameter.ndim == 1
        expected = 0.0 if is_gain else 0.4 if name.endswith("bias") else 0.1
        assert decays[parameter] == (0.2 if name == "head.weight" else expected), name
    assert len(decays) == len(list(model.parameters()))


def test_a_dial_that_is_not_set_leaves_weight_decay_as_it_is() -> None:
    model = perceptron()
    for decay, expected in (({}, [0.3, 0.3, 0.3]), ({"head": 0.0}, [0.3, 0.3, 0.0])):
        groups = parameter_groups(model, settings("adamw", decay=decay))
        own = {p: group["weight_decay"] for group in groups for p in group["params"]}
        assert [own[p] for p in model.parameters() if p.ndim == 2] == expected
        assert {own[p] for p in model.parameters() if p.ndim == 1} == {0.0}


def test_a_tied_head_has_the_decay_of_the_embedding() -> None:
    model = NanoGPTModel(width=8, depth=1, heads=2).build(classes=11, input_shape=(6,), seed=0)
    parameter_groups(model, settings("adamw", decay={"head": DECAY}))
    parameter_groups(model, settings("adamw", decay={"head": 0.1, "body": 0.1}))
    with pytest.raises(ModelError, match=r"^train.decay.head: is 0, .* is 0.3: set"):
        parameter_groups(model, settings("adamw", decay={"head": 0.0}))
    with pytest.raises(ModelError, match=r"^train.decay.body: is 0.2, .* as head is 0.3: set"):
        parameter_groups(model, settings("adamw", decay={"body": 0.2}))


def test_a_dry_run_refuses_a_tied_head_with_its_own_decay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tiny(grid={"train.decay.head": [None, 0.0, 0.2]}, train={"weight_decay": 0.1})
    assert launch(tmp_path, study, "--dry-run") == 2
    said = capsys.readouterr().err
    said_of_head = "train.decay.head: is 0.2, but the head is the embedding, whose decay as body is"
    assert f"{said_of_head} 0.1" in said
    assert said.count("the head is the embedding") == 2
    assert launch(tmp_path, tiny(train={"decay": {"body": 0.1}}), "--dry-run") == 2
    said = capsys.readouterr().err
    assert "train.decay.body: is 0.1, but the head is the embedding, whose decay as head is" in said
    assert said.count("1 fault") == 1
    untied = {**study, "model": {"kind": "nanogpt", "width": 8, "depth": 1, "tied": False}}
    untied["grid"] = {
        "epochs": [1],
        "train.decay.head": [None, 0.0, 0.2],
        "train.optimizer": ["adam", "lion"],
    }
    assert launch(tmp_path, untied, "--dry-run") == 0


@pytest.mark.parametrize(
    "options",
    [{"optimizer": "adamw"}, {"optimizer": "signum"}, {"optimizer": "sgd", "momentum": 0.0}],
)
def test_looking_ahead_needs_a_rule_with_momentum(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nesterov needs optimizer sgd, sgdw or muon and"):
        settings(**{"momentum": 0.9, **options}, nesterov=True)
    with pytest.raises(ValueError, match=r"decay\.head"):
        settings("adam", decay={"head": -0.1})


def test_settings_that_are_neutral_change_no_key() -> None:
    """Beside the keys that are pinned: a dial or a look ahead makes another training."""
    before = plain(cell().train)
    assert not {"decay", "nesterov"} & before.keys()
    assert plain(cell(decay={"head": None}, nesterov=False).train) == before
    assert plain(cell(decay={"head": 0.1}).train) == {**before, "decay": {"head": 0.1}}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_decay_of_features_adds_their_squared_norm(accumulation: int, tmp_path: Path) -> None:
    """The first step of a network without momentum, against autograd of the whole objective."""
    decay = 0.7
    config = cell(
        optimizer="sgd",
        momentum=0.0,
        epochs=1,
        batch_size=12 // accumulation,
        accumulation=accumulation,
        lr=0.1,
        schedule="constant",
        decay={"features": decay},
    )
    data = dataset(rows=12)
    *_, last = train(config, data, torch.device("cpu"), folder=tmp_path)
    model = build_model(config.model, classes=23, context=17, seed=5)
    inputs, targets = data.train.batch(np.arange(12))
    features = model.features(inputs).flatten(0, 1)
    loss = F.cross_entropy(model.logits(features), targets.flatten())
    penalty = decay / 2 * features.square().sum(1).mean()
    (loss + penalty).backward()
    for mine, start in zip(last.model.parameters(), model.parameters(), strict=True):
        assert start.grad is not None
        torch.testing.assert_close(mine, start - 0.1 * start.grad, rtol=1e-4, atol=1e-6)
    row = read_losses(tmp_path / "loss_log.jsonl")[0]
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["penalty"] == pytest.approx(penalty.item(), rel=1e-5)


def test_no_decay_of_features_is_the_training_without_it() -> None:
    ends = []
    for dials in ({}, {"features": 0.0}, {"features": 0.1}):
        config = cell(epochs=1, decay=dials)
        *_, last = train(config, dataset(), torch.device("cpu"))
        ends.append([p.detach().clone() for p in last.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(ends[0], ends[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(ends[0], ends[2], strict=True))
