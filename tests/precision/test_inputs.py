"""Rounding of inputs and of the attention cache, against torchao and plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.pytorch_utils import Conv1D

from study.models import GPTNeoModel, SimpleCNN, build_model, save_checkpoint
from study.models.foreign import HubModel
from study.precision import Calibration, PrecisionError, parse_precision, quantize
from study.precision.formats import round_weight
from study.precision.inputs import CacheRounding, StraightThrough, round_inputs

FLOATS = ["fp8", "fp8-e5m2", "mxfp8", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp4", "nvfp4"]


def rows(count: int = 12, width: int = 64, seed: int = 0) -> Tensor:
    """Rows of very different size, one of zeros."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, width, generator=generator) + 0.3
    values *= torch.logspace(-3, 3, count)[:, None]
    values[3] = 0
    return values


def integers_by_hand(
    x: np.ndarray, bits: int, bounds: tuple[float, float] | None = None, *, symmetric: bool = False
) -> np.ndarray:
    """Values after rounding to integers, a number at a time in float64."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    least, largest = bounds or (x.min(), x.max())
    least, largest = min(least, 0.0), max(largest, 0.0)
    if symmetric:
        scale, zero = max(-least, largest) / ((high - low) / 2), 0
    else:
        scale = (largest - least) / (high - low)
        zero = min(max(low - round(least / scale), low), high) if scale else 0
    if scale == 0:
        return np.zeros_like(x)
    flat = [(min(max(round(v / scale) + zero, low), high) - zero) * scale for v in x.ravel()]
    return np.array(flat).reshape(x.shape)


@pytest.mark.parametrize(("name", "bits"), [("int4-dynamic", 8), ("int8-a4-dynamic", 4)])
def test_inputs_of_four_and_eight_bits_against_a_loop_and_torchao(name: str, bits: int) -> None:
    from torchao.quantization import MappingType
    from torchao.quantization.qat import IntxFakeQuantizeConfig, IntxFakeQuantizer

    x = rows()
    rounded = round_inputs(x, parse_precision(name))
    for row, values in zip(x.double().numpy(), rounded, strict=True):
        expected = integers_by_hand(row, bits)
        step = max(np.ptp(row), 1e-9) / (2**bits - 1)
        assert np.abs(expected - values.numpy()).max() < 1e-5 * step + step * (bits == 8)
        assert np.isclose(expected, values, atol=1e-5 * step).mean() > 0.98  # ties in float32
    config: Any = IntxFakeQuantizeConfig(
        getattr(torch, f"int{bits}"), "per_token", mapping_type=MappingType.ASYMMETRIC
    )
    assert torch.equal(rounded, IntxFakeQuantizer(config)(x))


@pytest.mark.parametrize("name", FLOATS)
def test_float_inputs_are_rounded_row_by_row_as_weights_of_the_format(name: str) -> None:
    x = rows()
    rounded = round_inputs(x, parse_precision(f"{name}-dynamic"))
    assert not torch.equal(rounded, x)
    for row, values in zip(x, rounded, strict=True):
        assert torch.equal(round_weight(row[None], parse_precision(name))[0], values)


@pytest.mark.parametrize("name", ["mxfp8", "mxfp6-e2m3", "mxfp4"])
def test_block_formats_equal_torchaos_emulated_product(name: str) -> None:
    from torchao.prototype.mx_formats.constants import DTYPE_FP6_E2M3
    from torchao.prototype.mx_formats.mx_tensor import MXTensor, QuantizeTensorToMXKwargs

    elements: dict[str, Any] = {
        "mxfp8": torch.float8_e4m3fn,
        "mxfp6-e2m3": DTYPE_FP6_E2M3,
        "mxfp4": torch.float4_e2m1fn_x2,
    }
    kwargs = QuantizeTensorToMXKwargs(elem_dtype=elements[name])
    linear, x = nn.Linear(64, 48), rows()
    packed = MXTensor.to_mx(linear.weight.data, elements[name], 32, act_quant_kwargs=kwargs)
    expected = F.linear(x, packed, linear.bias)
    assert torch.equal(quantize(linear, f"{name}-dynamic")(x), expected)


def test_nvfp4_inputs_equal_torchao_on_one_token() -> None:
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

    for row in rows()[4:]:
        scale = per_tensor_amax_to_scale(row.abs().amax())
        expected = NVFP4Tensor.to_nvfp4(row[None], per_tensor_scale=scale).dequantize()
        assert torch.equal(round_inputs(row[None], parse_precision("nvfp4-dynamic")), expected)


def test_ternary_equals_torchaos_bitnet() -> None:
    from torchao.prototype.quantized_training.bitnet import (
        get_bitnet_scale,
        quantize_bitnet_weight,
    )
    from torchao.prototype.quantized_training.int8 import quantize_int8_rowwise

    weight, x = torch.randn(24, 64) * 0.02, rows()
    scale = get_bitnet_scale(weight)
    expected = quantize_bitnet_weight(weight, scale).float() * scale
    rounded = round_weight(weight, parse_precision("ternary"))
    assert torch.equal(rounded, expected)
    assert len(rounded.unique()) == 3
    integers, scales = quantize_int8_rowwise(x, eps=1e-5)
    inputs = round_inputs(x, parse_precision("ternary-dynamic"))
    assert torch.equal(inputs, integers.float() * scales[:, None])
    # the definition, of one weight at a time in float64
    values = weight.double().numpy()
    mean = np.abs(values).mean()
    by_hand = [mean * min(max(round(v / mean), -1), 1) for v in values.ravel()]
    np.testing.assert_allclose(rounded.numpy().ravel(), by_hand, rtol=1e-6)


BOUNDS = torch.tensor([[-1.5, 2.5]])


def test_static_int8_equals_torchaos_kernel_bit_for_bit() -> None:
    from torchao.quantization import PerRow, PerTensor
    from torchao.quantization.quantize_.workflows import Int8Tensor, QuantizeTensorToInt8Kwargs

    linear, x = nn.Linear(64, 24), torch.randn(5, 7, 64)
    packed = Int8Tensor.from_hp(
        linear.weight.data,
        PerRow(),
        act_quant_kwargs=QuantizeTensorToInt8Kwargs(PerTensor()),
        act_quant_scale=torch.tensor([[2.5 / 127.5]]),
    )
    expected = F.linear(x.flatten(0, 1), packed, linear.bias).view(5, 7, 24)
    calibration = [torch.full((2, 64), value) for value in (-1.5, 0.5, 2.5)]
    measured = quantize(linear, "int8-static", Calibration(lambda: iter(calibration)))
    assert torch.equal(measured(x), expected)
    assert torch.equal(measured.weight, packed.dequantize())


@pytest.mark.parametrize(("name", "bits"), [("int4-static", 8), ("int8-a4-static", 4)])
def test_static_integers_are_one_scale_and_clamp(name: str, bits: int) -> None:
    x = rows()[4:8]
    rounded = round_inputs(x, parse_precision(name), BOUNDS).numpy()
    expected = integers_by_hand(x.double().numpy(), bits, (-1.5, 2.5))
    np.testing.assert_allclose(rounded, expected, atol=4 / (2**bits - 1) * 1e-4)
    assert rounded.max() < 2.6 < x.max()


def test_static_fp8_is_one_scale_and_clamps() -> None:
    x = torch.tensor([[0.0, 1e-9, 0.3, -2.5, 7.0]])
    rounded = round_inputs(x, parse_precision("fp8-static"), BOUNDS)
    scale = 2.5 / 448  # 0.3 is 53.76 of them: between 52 and 56, as 4 is the step from 32 to 64
    np.testing.assert_allclose(rounded[0].numpy(), [0, 0, 52 * scale, -2.5, 2.5], rtol=1e-6)


CONVOLUTIONS = {
    "2d": (lambda: nn.Conv2d(32, 24, 3, padding=1), (5, 32, 6, 6)),
    "1d": (lambda: nn.Conv1d(32, 24, 3, stride=2), (5, 32, 16)),
    "grouped": (lambda: nn.Conv2d(32, 16, 3, groups=2), (5, 32, 6, 6)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize(
    ("name", "bits", "symmetric"),
    [("int8-dynamic", 8, True), ("int4-dynamic", 8, False), ("int4-a4-dynamic", 4, False)],
)
def test_convolutions_round_a_sample_with_one_scale(
    kind: str, name: str, bits: int, symmetric: bool
) -> None:
    torch.manual_seed(0)
    make, shape = CONVOLUTIONS[kind]
    layer = make()
    x = torch.randn(shape) * torch.logspace(-2, 2, 5).view(5, *[1] * (len(shape) - 1))
    samples = [integers_by_hand(each, bits, symmetric=symmetric) for each in x.double().numpy()]
    exact = make().double()
    weight = round_weight(layer.weight.flatten(1), parse_precision(name.split("-", maxsplit=1)[0]))
    exact.load_state_dict({"weight": weight.view_as(layer.weight), "bias": layer.bias})
    expected = exact(torch.from_numpy(np.stack(samples))).detach()
    with torch.no_grad():
        output = quantize(layer, name)(x).double()
    for mine, theirs in zip(output, expected, strict=True):
        # the largest number lies between two integers: 127.5
        assert float((mine - theirs).norm() / theirs.norm()) < (2e-3 if symmetric else 1e-4)


@pytest.mark.parametrize("name", ["mxfp8-dynamic", "nvfp4-dynamic"])
def test_blocks_of_a_convolutions_input_are_channels(name: str) -> None:
    """A convolution of one position is a linear layer on its channels."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(64, 8, 1), torch.randn(3, 64, 1, 1)
    linear = nn.Linear(64, 8)
    linear.load_state_dict({"weight": layer.weight.flatten(1), "bias": layer.bias})
    expected = quantize(linear, name)(x.flatten(1))
    torch.testing.assert_close(quantize(layer, name)(x).flatten(1), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["int8-dynamic", "int4-g32-dynamic", "fp8-dynamic"])
def test_hugging_faces_linear_layers_round_their_inputs(name: str) -> None:
    torch.manual_seed(0)
    layer, linear, x = Conv1D(24, 64), nn.Linear(64, 24), torch.randn(2, 5, 64)
    linear.load_state_dict({"weight": layer.weight.t(), "bias": layer.bias})
    output = quantize(layer, name)(x)
    torch.testing.assert_close(output, quantize(linear, name)(x), rtol=1e-6, atol=1e-6)


def test_a_result_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 8), rows()
    for name in [*(f"{each}-dynamic" for each in FLOATS), "int4-a4-dynamic", "ternary-dynamic"]:
        measured = quantize(linear, name)
        each = torch.cat([measured(row[None]) for row in x])
        torch.testing.assert_close(measured(x), each, rtol=1e-5, atol=1e-5)


def test_static_scales_are_those_of_the_unrounded_models_inputs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    batches = [torch.randn(2, 3, 4, 4), 5 * torch.randn(2, 3, 4, 4)]
    hidden = torch.cat([model[:3](batch) for batch in batches])
    measured = quantize(model, "int4-static", Calibration(lambda: iter(batches)))
    for layer, inputs in ((measured[0], torch.cat(batches)), (measured[3], hidden)):
        hook: Any = next(iter(layer._forward_pre_hooks.values()))
        assert hook.bounds.flatten().tolist() == [float(inputs.min()), float(inputs.max())]


def test_static_scales_need_calibration() -> None:
    with pytest.raises(PrecisionError, match=r"needs data: .* or take 'int8-dynamic'"):
        quantize(nn.Linear(64, 8), "int8-static")


def test_the_straight_through_gradient_is_that_of_its_surrogate() -> None:
    """Of x + (rounded - x), with the bracket held fixed: by finite differences."""
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    rounded = x.detach().round()
    out = StraightThrough.apply(x, rounded)
    assert torch.equal(out, rounded)
    out.pow(3).sum().backward()
    gap, step = rounded - x.detach(), 1e-6
    for i in range(6):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[i] = step
        ahead, behind = (((x.detach() + s + gap) ** 3).sum() for s in (shift, -shift))
        assert x.grad is not None
        assert float(x.grad[i]) == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-6)


def neo(window: int = 4) -> Any:
    settings = GPTNeoModel(kind="gpt_neo", width=32, depth=2, heads=4, window=window, positions=32)
    return build_model(settings, classes=40, input_shape=(16,), seed=0).eval()


TOKENS = torch.randint(0, 40, (3, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bits", [8, 4])
def test_keys_and_values_of_our_transformer_are_rounded_as_those_of_hugging_faces(
    bits: int, tmp_path: Path
) -> None:
    """The same network in two programs, with the cache rounded at two places."""
    model = neo()
    for parameter in model.parameters():
        parameter.data.mul_(3)
    save_checkpoint(model, tmp_path)
    theirs = HubModel(AutoModelForCausalLM.from_pretrained(tmp_path))
    with torch.no_grad():
        plain, cached = model.features(TOKENS), quantize(model, f"kv{bits}").features(TOKENS)
        expected = quantize(theirs, f"kv{bits}").features(TOKENS)
    assert not torch.allclose(plain, cached, rtol=1e-4, atol=1e-4)
    close = torch.isclose(cached, expected, rtol=1e-4, atol=1e-4)
    assert float(close.float().mean()) > 0.98  # a tie of float32 may fall either way
    assert torch.equal(model.features(TOKENS), plain)


def test_the_cache_is_rounded_a_head_and_token_at_a_time() -> None:
    states = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    rounded = CacheRounding(4)(states)
    for index in np.ndindex(2, 3, 5):
        expected = integers_by_hand(states[index].double().numpy(), 4)
        np.testing.assert_allclose(rounded[index].numpy(), expected, atol=1e-6)


SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
FOREIGN: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=5)
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_causal_language_model_reads_what_it_wrote(kind: str) -> None:
    """All tokens at once give what a generation gives, a token at a time, from a rounded cache."""
    torch.manual_seed(0)
    model = HubModel(FOREIGN[kind]().eval())
    measured = quantize(model, "kv4")
    body, cache = measured.body, measured.empty_cache(CacheRounding(4))
    with torch.no_grad():
        features, plain = measured.features(TOKENS), model.features(TOKENS)
        steps = [
            body(input_ids=TOKENS[:, t : t + 1], use_cache=True, **{measured.cache_name: cache})
            for t in range(16)
        ]
    generated = torch.cat([step.last_hidden_state for step in steps], dim=1)
    assert not torch.allclose(features, plain, rtol=1e-3, atol=1e-3)
    close = torch.isclose(features, generated, rtol=1e-3, atol=1e-3)
    assert float(close.float().mean()) > 0.95
    assert torch.equal(model.features(TOKENS), plain)


def test_models_without_an_attention_cache_are_refused() -> None:
    cnn = build_model(
        SimpleCNN(kind="simple_cnn", width=8, depth=2), classes=4, input_shape=(1, 8, 8), seed=0
    )
    with pytest.raises(PrecisionError, match=r"kv8: .* writes no keys and values .* 'fp32'"):
        quantize(cnn, "kv8")
    with pytest.raises(PrecisionError, match=r"int4-kv4: Linear writes no keys .* 'int4'"):
        quantize(nn.Linear(64, 8), "int4-kv4")
    mamba = MambaForCausalLM(MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1))
    with pytest.raises(PrecisionError, match="writes no keys and values"):
        quantize(HubModel(mamba.eval()), "kv8")
