"""Calibrated and rotated models: inputs of layers, block by block, and what they lead to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from study.models import GPTNeoModel, NanoGPTModel, SimpleCNN, build_model
from study.models.foreign import HubModel
from study.precision import PrecisionError, parse_precision, quantize
from study.precision.calibrate import gptq
from study.precision.calibration import (
    Calibration,
    blocks,
    input_moments,
    layer_inputs,
)
from study.precision.layers import covered_weights
from study.precision.options import PrecisionOptions
from study.precision.rotate import rotation

CLASSES, CONTEXT, WIDTH = 40, 16, 32


def language_model(tied: bool = True, bias: bool = True) -> Any:
    """A GPT with norms that are not the identity, as after training."""
    settings = NanoGPTModel(
        kind="nanogpt", width=WIDTH, depth=2, heads=2, tied=tied, bias=bias, init="kaiming"
    )
    return worn(build_model(settings, classes=CLASSES, input_shape=(CONTEXT,), seed=0).eval())


def worn(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def tokens(rows: int = 24) -> Tensor:
    return torch.randint(CLASSES, (rows, CONTEXT), generator=torch.Generator().manual_seed(2))


def on(inputs: Tensor, **options: dict[str, object]) -> Calibration:
    def batches() -> Iterator[Tensor]:
        yield from inputs.split(5)

    return Calibration(batches, PrecisionOptions.model_validate(options))


CONVOLUTIONS: dict[str, Any] = {
    "1d": (nn.Conv1d(6, 8, 3, stride=2, padding=1), (3, 6, 20)),
    "2d": (nn.Conv2d(4, 6, (3, 2), padding=(2, 1), dilation=(2, 1)), (3, 4, 9, 8)),
    "grouped": (nn.Conv2d(6, 9, 3, groups=3, padding="same", padding_mode="reflect"), (3, 6, 7, 7)),
    "depthwise": (nn.Conv2d(5, 10, 3, groups=5, stride=2), (3, 5, 9, 9)),
    "3d": (nn.Conv3d(2, 4, 2, stride=2), (3, 2, 4, 4, 4)),
    "linear": (nn.Linear(12, 5), (3, 4, 12)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_layer_is_a_product_of_its_weight_and_its_inputs(kind: str) -> None:
    module: Any = CONVOLUTIONS[kind][0]
    shape = CONVOLUTIONS[kind][1]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    rows = layer_inputs(module, x)
    weight = module.weight.flatten(1).view(len(rows), -1, rows.shape[2])
    outputs = torch.einsum("nri,noi->rno", rows, weight).flatten(1) + module.bias
    expected = module(x)
    dimension = -1 if kind == "linear" else 1
    torch.testing.assert_close(outputs, expected.movedim(dimension, -1).flatten(0, -2))


def test_moments_of_a_layer_are_those_of_what_it_reads() -> None:
    model, x = language_model(), tokens()
    weights = covered_weights(model, parse_precision("int4/mlp"))
    moments = input_moments(model, weights, on(x).inputs)
    assert list(moments) == [weight.name for weight in weights]
    with torch.no_grad():
        h = model.embedding(x) + model.position.weight[:CONTEXT]
        block = model.blocks[0]
        h = h + block.attention(block.norm1(h))
        read = block.norm2(h).flatten(0, 1).double()
    seen = moments["blocks.0.expand.weight"]
    assert seen.samples == 24 * CONTEXT
    torch.testing.assert_close(seen.second[0], read.T @ read, rtol=1e-5, atol=1e-4)


def test_gptq_sees_a_block_behind_the_rounded_blocks_before_it() -> None:
    model, x = language_model(), tokens()
    precision = parse_precision("gptq-int2/body")
    measured = quantize(model, precision, on(x))
    assert [len(block) for block in blocks(covered_weights(model, precision))] == [4, 4]
    behind = language_model()
    behind.blocks[0].load_state_dict(measured.blocks[0].state_dict())
    weights = covered_weights(behind, parse_precision("int2/block2"))
    moments = input_moments(behind, weights, on(x).inputs)
    for weight in weights:
        expected = gptq(weight.matrices[0], moments[weight.name], precision)
        assert torch.equal(measured.get_parameter(weight.name), expected)
    unrounded = covered_weights(model, parse_precision("int2/block2"))
    elsewhere = input_moments(model, unrounded, on(x).inputs)
    name = weights[0].name
    assert not torch.allclose(elsewhere[name].second, moments[name].second, rtol=1e-2)


@pytest.mark.parametrize("name", ["gptq-int3", "awq-int3", "rot-gptq-int3-g32"])
def test_methods_err_less_than_rounding_to_nearest(name: str) -> None:
    """Of the outputs of a model with tied weights, and of one of convolutions."""
    model, x = language_model(), tokens()
    images = SimpleCNN(kind="simple_cnn", width=32, depth=3)
    network = build_model(images, classes=10, input_shape=(1, 8, 8), seed=0).eval()
    pixels = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    nearest = name.removeprefix("rot-").removeprefix("gptq-").removeprefix("awq-")
    for each, inputs in ((model, x), (network, pixels)):
        if each is network and ("rot" in name or "g32" in name):
            continue
        measured = quantize(each, f"{name}/body", on(inputs))
        with torch.no_grad():
            errors = [
                float((rounded.features(inputs) - each.features(inputs)).norm())
                for rounded in (measured, quantize(each, f"{nearest}/body"))
            ]
        assert errors[0] < errors[1]


def test_the_seed_of_the_samples_and_settings_matter() -> None:
    model, x = language_model(), tokens()

    def weight(**options: dict[str, object]) -> Tensor:
        measured = quantize(model, "gptq-int3", on(x, **options))
        return measured.blocks[1].contract.weight

    assert torch.equal(weight(), weight())
    assert not torch.equal(weight(), weight(gptq={"damping": 1.0}))
    assert not torch.equal(weight(), weight(gptq={"order": True}))


def test_smooth_scales_move_outliers_out_of_the_inputs() -> None:
    """A channel a hundred times larger than others costs int8 inputs all their bits."""
    linear = nn.Linear(64, 32, bias=False)
    model = nn.Sequential(linear)
    nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(5))
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(6))
    x[:, 3] *= 300
    with torch.no_grad():
        linear.weight[:, 3] /= 300

    def error(name: str) -> float:
        with torch.no_grad():
            return float((quantize(model, name, on(x))(x) - model(x)).norm() / model(x).norm())

    assert error("smooth-int8-dynamic") < 0.3 * error("int8-dynamic")
    layer = Conv1D(32, 64)
    transposed = nn.Sequential(layer)
    with torch.no_grad():
        layer.weight.copy_(linear.weight.T)
    torch.testing.assert_close(
        quantize(transposed, "smooth-int8-dynamic", on(x))(x),
        quantize(model, "smooth-int8-dynamic", on(x))(x),
    )


def test_smooth_scales_of_a_convolution_are_those_of_its_channels() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2))
    x = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    x[:, 2] *= 200
    smooth = quantize(model, "smooth-int8-dynamic", on(x))
    plain = quantize(model, "int8-dynamic")
    with torch.no_grad():
        y = model(x)
        others = y[:, :4]
        assert float((smooth(x) - y).norm()) < float((plain(x) - y).norm())
        assert float((smooth(x)[:, :4] - others).norm()) < 0.3 * float(
            (plain(x)[:, :4] - others).norm()
        )


@pytest.mark.parametrize("d", [8, 12, 96, 7])
@pytest.mark.parametrize("keep_mean", [False, True])
def test_a_rotation_is_orthogonal_and_seeded(d: int, keep_mean: bool) -> None:
    R = rotation(d, 0, keep_mean=keep_mean)
    torch.testing.assert_close(R @ R.T, torch.eye(d).double(), rtol=0, atol=1e-12)
    assert torch.equal(R, rotation(d, 0, keep_mean=keep_mean))
    assert not torch.equal(R, rotation(d, 1, keep_mean=keep_mean))
    if keep_mean:
        torch.testing.assert_close(R @ torch.ones(d).double(), torch.ones(d).double())
    elif d == 8:
        torch.testing.assert_close(R.abs(), torch.full((8, 8), 1 / math.sqrt(8)).double())


def hub_model(kind: str) -> Any:
    torch.manual_seed(0)
    model: Any
    if kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=CLASSES, n_positions=CONTEXT, n_embd=WIDTH, n_layer=2, n_head=2)
        )
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=CLASSES,
                hidden_size=WIDTH,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=CONTEXT,
            )
        )
    return worn(HubModel(model).eval())


MODELS = {
    "tied": language_model,
    "untied": lambda: language_model(tied=False),
    "without biases": lambda: language_model(tied=False, bias=False),
    "gpt_neo": lambda: worn(
        build_model(
            GPTNeoModel(kind="gpt_neo", width=48, depth=2, heads=2, positions=CONTEXT, window=4),
            classes=CLASSES,
            input_shape=(CONTEXT,),
            seed=0,
        ).eval()
    ),
    "gpt2": lambda: hub_model("gpt2"),
    "llama": lambda: hub_model("llama"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_rotated_models_compute_the_same_at_eight_bits(kind: str) -> None:
    """The rotated form is proven equal inside; rounding it to 8 bits hardly changes features."""
    model, x = MODELS[kind](), tokens()
    with torch.no_grad():
        features, logits = model.features(x), model(x)
        rotated = quantize(model, "rot-int8-g32" if kind != "gpt_neo" else "rot-int8", on(x))
        error = (rotated.features(x) - features).norm() / features.norm()
        assert 1e-5 < float(error) < 0.05
        assert float((rotated(x) - logits).norm() / logits.norm()) < 0.05
        inputs = quantize(model, "rot-int8-dynamic", on(x))
        assert float((inputs(x) - logits).norm() / logits.norm()) < 0.08


def test_rotation_helps_against_outlier_channels() -> None:
    """A stream whose few large entries take the range of every row of weights (QuaRot)."""
    model, x = language_model(), tokens()
    with torch.no_grad():
        model.embedding.weight[:, 5] *= 30
        logits = model(x)
        for name in ("int4", "int4-a4-dynamic"):
            errors = [
                float((quantize(model, each, on(x))(x) - logits).norm())
                for each in (f"rot-{name}/head", f"{name}/head")
            ]
            assert errors[0] < 0.7 * errors[1]


def test_what_cannot_be_calibrated_or_rotated_is_refused() -> None:
    model = language_model()
    for name in ("gptq-int4", "rot-int4", "awq-int4"):
        with pytest.raises(PrecisionError, match=f"{name} needs training samples"):
            quantize(model, name)
    quantize(model, "hqq-int4")
    network = build_model(
        SimpleCNN(kind="simple_cnn", width=8, depth=3), classes=10, input_shape=(1, 8, 8), seed=0
    ).eval()
    pixels = torch.zeros(2, 1, 8, 8)
    with pytest.raises(PrecisionError, match="rot- cannot rotate ImageClassifier: no linear layer"):
        quantize(network, "rot-int4", on(pixels))
    attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    with pytest.raises(PrecisionError, match="rot- cannot rotate TransformerEncoderLayer"):
        quantize(attention, "rot-int4", on(torch.randn(2, 4, 16)))
    with pytest.raises(PrecisionError, match=r"saw no input of self_attn\.out_proj"):
        quantize(attention, "gptq-int4", on(torch.randn(2, 4, 16)))


def test_post_norm_blocks_are_not_rotated() -> None:
    """Their norms stand in the stream, whose gains do not commute with a rotation."""

    class PostNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
            self.norm = nn.LayerNorm(16)
            self.head = nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(x + self.second(F.relu(self.first(x))))
            return self.head(h + 0 * x)

    torch.manual_seed(0)
    with pytest.raises(PrecisionError, match="rot- cannot rotate PostNorm"):
        quantize(PostNorm().eval(), "rot-int4", on(torch.randn(4, 16)))


def test_tied_weights_stay_tied() -> None:
    model, x = language_model(), tokens()
    for name in ("gptq-int4", "rot-int4", "awq-int4", "rot-gptq-int4", "smooth-int8-dynamic"):
        measured = quantize(model, name, on(x))
        assert measured.head.weight is measured.embedding.weight
        assert not torch.equal(measured.head.weight, model.head.weight)
    assert np.isfinite(float(measured(x).detach().sum()))
