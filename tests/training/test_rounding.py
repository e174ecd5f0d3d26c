"""Training with rounded weights from the first step on."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_rows import image_dataset
from pydantic import ValidationError
from token_rows import cell, dataset
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from study.config import CellConfig, Resources
from study.data import Dataset, load_data
from study.grid import Cell
from study.models.base import FeatureModel
from study.models.foreign import HubModel
from study.precision import PrecisionError, parse_precision, quantize
from study.precision.names import TRAINED
from study.training.finetune import finetune
from study.training.rounding import Rounding
from study.training.train import train

CPU = torch.device("cpu")
PROSE: dict[str, Any] = {
    "data": {"kind": "text", "context": 64, "train_tokens": 100_000},
    "model": {"kind": "gpt_neo", "width": 32, "depth": 2, "heads": 4, "positions": 64},
    "train": {"epochs": 4, "lr": 4e-3, "batch_size": 8, "weight_decay": 0.1},
}
IMAGES = {"data": {"kind": "images"}, "model": {"kind": "simple_cnn", "width": 8, "depth": 2}}


def trained(config: CellConfig, data: Dataset) -> FeatureModel:
    *_, last = train(config, data, CPU)
    return deepcopy(last.model)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("kind", ["tokens", "images"])
def test_the_own_precision_is_the_network_that_was_trained(name: str, kind: str) -> None:
    """Rounding the weights of the checkpoint gives, bit for bit, what the last pass computed."""
    if kind == "tokens":
        config, data = cell(epochs=1, quantize=name), dataset()
    else:
        settings = IMAGES | {"train": {"epochs": 1, "batch_size": 8, "quantize": name}}
        config, data = CellConfig.model_validate(settings), image_dataset(4, 4, (1, 8, 8))
    model = trained(config, data)
    inputs, _ = data.val.batch(np.arange(3))
    with torch.no_grad():
        seen = Rounding(model, parse_precision(TRAINED[name])).call(model, inputs)
        measured, latent = quantize(model, TRAINED[name])(inputs), model(inputs)
    assert torch.equal(seen, measured)
    assert not torch.equal(seen, latent)


def test_it_is_rounded_from_the_first_step_on() -> None:
    """The loss of the first step is that of the rounded untrained model."""
    data = dataset()
    losses = {}
    for name in (None, "int2"):
        *_, last = train(cell(epochs=1, batch_size=11, quantize=name), data, CPU)
        losses[name] = last.train_loss_running
    assert losses[None] != losses["int2"]
    untrained = next(train(cell(epochs=1, batch_size=11), data, CPU))
    inputs, targets = data.train.batch(np.arange(11))
    with torch.no_grad():
        logits = quantize(untrained.model, "int2")(inputs)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert losses["int2"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", ["int4", "fp8", "ternary-dynamic"])
def test_gradients_are_those_of_the_surrogate_by_finite_differences(name: str) -> None:
    """The surrogate adds what rounding moved, held fixed, to weights and inputs."""
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 3), torch.randn(5, 8)
    precision = parse_precision(name)
    Rounding(layer, precision).call(lambda: layer(x).pow(3).sum()).backward()
    moved = quantize(layer, name.removesuffix("-dynamic")).weight.double() - layer.weight.double()
    inputs: list[Tensor] = []
    measured = quantize(layer, name)
    measured.register_forward_pre_hook(lambda _m, arguments: inputs.append(arguments[0]))
    measured(x)
    weight, bias = (p.detach().double() for p in (layer.weight, layer.bias))

    def loss(shift: Tensor) -> float:
        y = inputs[0].double() @ (weight + shift + moved.detach()).T + bias
        return float(y.pow(3).sum())

    assert layer.weight.grad is not None
    for index in np.ndindex(3, 8):
        shift = torch.zeros(3, 8, dtype=torch.float64)
        shift[index] = 1e-5
        slope = (loss(shift) - loss(-shift)) / 2e-5
        assert float(layer.weight.grad[index]) == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_gradients_pass_through_rounded_inputs_unchanged() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    precision = parse_precision("ternary-dynamic")
    x = torch.randn(5, 8, requires_grad=True)
    Rounding(layers, precision).call(lambda: layers(x).sum()).backward()
    rounded = quantize(layers, "ternary")
    first, second = (rounded.get_parameter(f"{n}.weight") for n in (0, 1))
    torch.testing.assert_close(x.grad, (torch.ones(5, 3) @ second @ first).detach())


def test_tied_weights_get_the_sum_of_both_gradients() -> None:
    model = trained(cell(epochs=1), dataset())
    assert model.head.weight is model.embedding.weight
    tokens = torch.arange(16)[None]
    expected = quantize(model, "int4").requires_grad_(True)
    expected(tokens).square().sum().backward()
    model.zero_grad()
    rounding = Rounding(model, parse_precision("int4"))
    rounding.call(lambda: model(tokens).square().sum()).backward()
    torch.testing.assert_close(model.head.weight.grad, expected.head.weight.grad)
    assert isinstance(model.head.weight, nn.Parameter)


def test_the_setting_changes_the_key_and_its_default_does_not() -> None:
    def key(**settings: Any) -> str:
        config = cell(**settings)
        return Cell("study", config, Resources(), "all", Path()).key

    keys = {key(), key(quantize=None), *(key(quantize=name) for name in TRAINED)}
    assert len(keys) == 1 + len(TRAINED)


def test_what_cannot_be_trained_so_is_refused() -> None:
    with pytest.raises(ValidationError, match="compile takes weights that stay"):
        cell(quantize="int4", compile=True)
    with pytest.raises(ValidationError, match="int3"):
        cell(quantize="int3")
    model = nn.Sequential(nn.LSTM(8, 8))
    with pytest.raises(PrecisionError, match="weight_ih_l0"):
        Rounding(model, parse_precision("int4"))


def val_loss(model: nn.Module, data: Dataset) -> float:
    with torch.no_grad():
        inputs, targets = data.val.batch(np.arange(min(len(data.val), 300)))
        return float(F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()))


@pytest.mark.parametrize("name", ["int4", "ternary-dynamic/body"])
def test_a_pass_leaves_the_model_as_it_was(name: str) -> None:
    """Of a model of Hugging Face, which holds its embedding under two names, and after an error."""
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 1, "n_head": 4}
    settings = GPT2Config(vocab_size=40, bos_token_id=0, eos_token_id=0, **sizes)
    model = HubModel(GPT2LMHeadModel(settings).eval())
    before, tokens = dict(model.named_parameters(remove_duplicate=False)), torch.arange(12)[None]
    expected = quantize(model, name)(tokens)
    rounding = Rounding(model, parse_precision(name))
    with torch.no_grad():
        assert torch.equal(rounding.call(model, tokens), expected)
    with pytest.raises(ZeroDivisionError):
        rounding.call(lambda: 1 / 0)
    after = dict(model.named_parameters(remove_duplicate=False))
    assert list(after) == list(before)
    assert all(after[each] is before[each] for each in before)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_training_in_low_precision_beats_rounding_afterwards(tmp_path: Path) -> None:
    """On prose by characters: ternary and int4 from the first step on, and QAT at int2."""
    config = CellConfig.model_validate(PROSE)
    data = load_data(config.data, base=tmp_path, cache=tmp_path)
    model = trained(config, data)
    losses = {"fp32": val_loss(model, data)}
    for name, own in ((name, TRAINED[name]) for name in ("ternary", "int4")):
        settings = PROSE | {"train": PROSE["train"] | {"quantize": name}}
        rounded = trained(CellConfig.model_validate(settings), data)
        losses[f"{own} after"] = val_loss(quantize(model, own), data)
        losses[f"{own} from the first step"] = val_loss(quantize(rounded, own), data)
    tuned = finetune(model, parse_precision("qat-int2"), config, data, CPU)
    losses["qat-int2"] = val_loss(tuned, data)
    losses["int2 after"] = val_loss(quantize(model, "int2"), data)
    print(losses)
    for own in (TRAINED["ternary"], "int4"):
        assert losses[f"{own} from the first step"] < losses[f"{own} after"], losses
    assert losses["qat-int2"] < losses["int2 after"], losses
