"""Weight formats against torchao's tensors and a plain numpy reference.

The former for linear layers, the latter for convolutions.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.precision import Precision, PrecisionError, known_precisions, parse_precision, quantize
from study.precision.ao import quantize_
from study.precision.formats import nf4_scales_per_group, obstacle, round_weight, stored_bits

SHAPES = [(24, 64), (7, 384), (130, 128)]
DTYPES = [torch.float32, torch.bfloat16]
INTEGERS = [
    p
    for p in known_precisions().values()
    if p.family == "int" and not (p.tuning or p.method or p.rotated)
]
WEIGHT_ONLY = [p for p in INTEGERS if p.activation is None]


def weights(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Rows of different size, a row of zeros, and skewed values.

    So zero points matter.
    """
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator) * 0.05 + 0.02
    values *= torch.rand(shape[0], *[1] * (len(shape) - 1), generator=generator) * 3
    values[1] = 0
    return values.to(dtype)


def torchao_config(precision: Precision) -> object:
    from torchao.quantization import IntxWeightOnlyConfig, MappingType, PerAxis, PerGroup

    return IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{precision.bits}"),
        granularity=PerAxis(0) if precision.group is None else PerGroup(precision.group),
        mapping_type=MappingType.SYMMETRIC if precision.symmetric else MappingType.ASYMMETRIC,
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "precision", [p for p in WEIGHT_ONLY if p.granularity != "tensor"], ids=str
)
def test_integer_formats_equal_torchao_bit_for_bit(
    precision: Precision, dtype: torch.dtype
) -> None:
    for shape in SHAPES:
        weight = weights(*shape, dtype=dtype)
        if precision.group is not None and shape[1] % precision.group != 0:
            assert obstacle(shape, dtype, precision) is not None
            continue
        linear = nn.Linear(shape[1], shape[0], bias=False)
        linear.weight = nn.Parameter(weight.clone())
        mine = quantize(linear, precision).weight
        quantize_(linear, torchao_config(precision))
        assert type(linear.weight.data).__name__ == "IntxUnpackedToInt8Tensor"
        torch.testing.assert_close(mine.data, linear.weight.data.dequantize(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "precision", [p for p in WEIGHT_ONLY if p.granularity == "tensor"], ids=str
)
def test_one_scale_a_tensor_equals_torchao_bit_for_bit(
    precision: Precision, dtype: torch.dtype
) -> None:
    from torchao.quantization import IntxUnpackedToInt8Tensor, MappingType

    for shape in SHAPES:
        weight = weights(*shape, dtype=dtype)
        mapping = MappingType.SYMMETRIC if precision.symmetric else MappingType.ASYMMETRIC
        target = getattr(torch, f"int{precision.bits}")
        expected = IntxUnpackedToInt8Tensor.from_hp(
            weight, shape, target, mapping_type=mapping
        ).dequantize()
        torch.testing.assert_close(round_weight(weight, precision), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["int8", "int8-g32", "int8-tensor"])
def test_int8_equals_torchao_int8_weight_only(name: str) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, PerGroup, PerRow, PerTensor

    granularity = {"int8": PerRow(), "int8-g32": PerGroup(32), "int8-tensor": PerTensor()}[name]
    for shape in SHAPES:
        linear = nn.Linear(shape[1], shape[0], bias=False)
        linear.weight = nn.Parameter(weights(*shape))
        mine = quantize(linear, name).weight
        quantize_(linear, Int8WeightOnlyConfig(granularity=granularity, set_inductor_config=False))
        torch.testing.assert_close(mine.data, linear.weight.data.dequantize(), rtol=0, atol=0)


def plain_rounding(weight: np.ndarray, bits: int, group: int | None, symmetric: bool) -> np.ndarray:
    """Integer rounding of every output channel (or group of it).

    Channel by channel, in float32 numpy.
    """
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    result = np.empty_like(weight)
    for channel in range(weight.shape[0]):
        flat = weight[channel].reshape(-1)
        size = group or flat.size
        out = np.empty_like(flat)
        for start in range(0, flat.size, size):
            w = flat[start : start + size]
            smallest, largest = (
                np.minimum(w.min(), np.float32(0)),
                np.maximum(w.max(), np.float32(0)),
            )
            span = 2 * max(-smallest, largest) if symmetric else largest - smallest
            scale = np.float32(max(span / np.float32(high - low), np.finfo(np.float32).tiny))
            zero = 0 if symmetric else int(np.clip(low - np.rint(smallest / scale), low, high))
            q = np.clip(np.rint(w * (np.float32(1) / scale)) + zero, low, high)
            out[start : start + size] = (q - zero) * scale
        result[channel] = out.reshape(weight[channel].shape)
    return result


CONVOLUTIONS = {
    "conv2d": nn.Conv2d(64, 8, 3),
    "conv1d": nn.Conv1d(32, 6, 4),
    "depthwise": nn.Conv2d(12, 12, 3, groups=12),
    "grouped": nn.Conv2d(16, 8, 3, groups=4),
}


@pytest.mark.parametrize("name", ["int8", "int4", "int3-asym", "int2", "int4-g32", "int5-g64-asym"])
@pytest.mark.parametrize("convolution", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_equal_a_plain_reference(convolution: nn.Module, name: str) -> None:
    precision = parse_precision(name)
    weight = weights(*convolution.get_parameter("weight").shape)
    convolution.weight = nn.Parameter(weight)
    row = weight[0].numel()
    if precision.group is not None and row % precision.group != 0:
        with pytest.raises(
            PrecisionError, match=f"{row} weights per output channel do not divide into groups"
        ):
            quantize(convolution, name)
        return
    expected = plain_rounding(weight.numpy(), precision.bits, precision.group, precision.symmetric)
    mine = quantize(convolution, name).get_parameter("weight").detach().numpy()
    # numpy and torch divide alike, so the integers agree; the last multiplication may differ in the
    # last bit
    np.testing.assert_allclose(mine, expected, rtol=3e-7, atol=0)


@pytest.mark.parametrize("name", ["int8-tensor", "int3-tensor", "int4-tensor-asym"])
@pytest.mark.parametrize("convolution", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_with_one_scale_equal_a_plain_reference(
    convolution: nn.Module, name: str
) -> None:
    """The whole kernel as one channel of the plain reference."""
    precision = parse_precision(name)
    weight = weights(*convolution.get_parameter("weight").shape)
    convolution.weight = nn.Parameter(weight)
    expected = plain_rounding(weight.numpy()[None], precision.bits, None, precision.symmetric)[0]
    np.testing.assert_allclose(
        quantize(convolution, name).get_parameter("weight").detach().numpy(),
        expected,
        rtol=3e-7,
        atol=0,
    )


def values_of(exponent_bits: int, mantissa_bits: int, largest: float) -> np.ndarray:
    """The values of a small float, ascending, negative ones too.

    They are m 2^-M 2^e with subnormals, up to `largest`.
    """
    bias = 2 ** (exponent_bits - 1) - 1
    steps = range(2**mantissa_bits)
    positive = [step / 2**mantissa_bits * 2.0 ** (1 - bias) for step in steps]
    for exponent in range(1, 2**exponent_bits):
        positive += [(1 + step / 2**mantissa_bits) * 2.0 ** (exponent - bias) for step in steps]
    positive = [value for value in positive if value <= largest]
    return np.array([-value for value in reversed(positive[1:])] + positive)


def nearest(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The nearest of `values`.

    Of two as near, the one of even mantissa: an even number of steps from zero.
    """
    distance = np.abs(x[..., None] - values)
    odd = np.abs(np.arange(len(values)) - np.flatnonzero(values == 0)[0]) % 2
    return values[np.lexsort((np.broadcast_to(odd, distance.shape), distance), axis=-1)[..., 0]]


# exponent bits, mantissa bits and largest value of the elements; weights of a block
MICROSCALING = {
    "mxfp8": (4, 3, 448.0, 32),
    "mxfp6-e2m3": (2, 3, 7.5, 32),
    "mxfp6-e3m2": (3, 2, 28.0, 32),
    "mxfp4": (2, 1, 6.0, 32),
    "nvfp4": (2, 1, 6.0, 16),
}
EIGHT_BITS = {"fp8": (4, 3, 448.0), "fp8-e5m2": (5, 2, 57344.0)}


def plain_float_rounding(weight: np.ndarray, name: str) -> np.ndarray:
    """Rounding of every output channel to a float format, block by block.

    In float64, from the formats' definitions.

    fp8: a scale of largest / (largest value of the format) per channel. mx: OCP Microscaling
    Formats 1.0, section 6.3: a scale of 2 ^ (floor(log2 largest) - emax) per 32 weights,
    saturating. nvfp4: 16 weights share a scale of e4m3, itself in units of one float32 per tensor
    that takes the largest weight to 6 x 448.
    """
    result = np.zeros_like(weight, dtype=np.float64)
    exponent, mantissa, top = (EIGHT_BITS.get(name) or MICROSCALING[name])[:3]
    values = values_of(exponent, mantissa, top)
    tensor_scale = float(np.float32(np.abs(weight).max()) / np.float32(6 * 448))
    for channel in range(weight.shape[0]):
        flat = weight[channel].reshape(-1).astype(np.float64)
        size = MICROSCALING[name][3] if name in MICROSCALING else flat.size
        for start in range(0, flat.size, size):
            w = flat[start : start + size]
            largest = np.abs(w).max()
            if largest == 0:
                continue
            if name.startswith("mx"):
                scale = 2.0 ** (np.floor(np.log2(largest)) - np.floor(np.log2(top)))
            elif name == "nvfp4":
                scale = (
                    float(nearest(values_of(4, 3, 448.0), np.array(largest / 6 / tensor_scale)))
                    * tensor_scale
                )
            else:
                scale = largest / top
            result[channel].reshape(-1)[start : start + size] = (
                nearest(values, np.clip(w / scale, -top, top)) * scale
            )
    return result


@pytest.mark.parametrize("name", [*EIGHT_BITS, *MICROSCALING])
@pytest.mark.parametrize("convolution", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_in_float_formats_equal_a_plain_reference(
    convolution: nn.Module, name: str
) -> None:
    weight = weights(*convolution.get_parameter("weight").shape)
    convolution.weight = nn.Parameter(weight)
    row = weight[0].numel()
    if name in MICROSCALING and row % MICROSCALING[name][3] != 0:
        with pytest.raises(
            PrecisionError, match=f"{row} weights per output channel do not divide into groups"
        ):
            quantize(convolution, name)
        return
    mine = quantize(convolution, name).get_parameter("weight").detach().numpy()
    np.testing.assert_allclose(mine, plain_float_rounding(weight.numpy(), name), rtol=3e-7, atol=0)


@pytest.mark.parametrize("convolution", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_in_nf4_are_their_kernels_in_a_row(convolution: nn.Module) -> None:
    """Blocks of nf4 run through the tensor as it lies in memory.

    So the reference is torchao on the kernels as one vector.
    """
    from torchao.quantization import to_nf4

    weight = weights(*convolution.get_parameter("weight").shape)
    convolution.weight = nn.Parameter(weight)
    if weight.numel() % 64 != 0:
        with pytest.raises(
            PrecisionError, match=f"its {weight.numel()} weights do not divide into blocks of 64"
        ):
            quantize(convolution, "nf4")
        return
    scales = nf4_scales_per_group(tuple(weight.flatten(1).shape))
    expected = to_nf4(
        weight.reshape(-1), block_size=64, scaler_block_size=scales
    ).get_original_weight()
    expected[weight.reshape(-1) == 0] = 0
    torch.testing.assert_close(
        quantize(convolution, "nf4").get_parameter("weight").data.reshape(-1),
        expected,
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "name", ["fp8", "fp8-e5m2", "mxfp8", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp4", "nvfp4", "nf4"]
)
def test_float_formats_equal_torchao_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    from torchao.prototype.mx_formats.mx_tensor import MXTensor
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
    from torchao.quantization import Float8Tensor, to_nf4

    weight = weights(128, 256, dtype=dtype)
    if name == "nf4":
        weight[1] = 0.01  # torchao divides a block of zeros by its largest value
        expected = to_nf4(weight).get_original_weight()
    elif name == "nvfp4":
        expected = NVFP4Tensor.to_nvfp4(
            weight, per_tensor_scale=per_tensor_amax_to_scale(weight.abs().max())
        )
        expected = expected.dequantize()
    elif name.startswith("mx"):
        element = {
            "mxfp8": torch.float8_e4m3fn,
            "mxfp6-e2m3": "fp6_e2m3",
            "mxfp6-e3m2": "fp6_e3m2",
            "mxfp4": torch.float4_e2m1fn_x2,
        }[name]
        expected = MXTensor.to_mx(weight, element).dequantize()
    else:
        weight[1] = 0.01
        element = torch.float8_e4m3fn if name == "fp8" else torch.float8_e5m2
        expected = Float8Tensor.from_hp(weight, element).dequantize()
    linear = nn.Linear(256, 128, bias=False)
    linear.weight = nn.Parameter(weight)
    torch.testing.assert_close(quantize(linear, name).weight.data, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", ["fp8", "fp8-e5m2", "mxfp8", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp4", "nvfp4", "nf4"]
)
@pytest.mark.parametrize("whole", [False, True], ids=["a block", "the tensor"])
def test_zeros_stay_zero_in_float_formats(name: str, whole: bool) -> None:
    weight = weights(64, 64)
    weight[:] = 0 if whole else weight
    rounded = round_weight(weight, parse_precision(name))
    assert torch.isfinite(rounded).all()
    assert (rounded[weight == 0] == 0).all()
    assert (rounded == 0).all() == whole


def test_fp8_of_a_channel_against_its_definition() -> None:
    """One channel of known values.

    E4m3 has 3 mantissa bits and 448 as its largest value.
    """
    weight = torch.tensor([[448.0, 1.0, 1.06, 1.07, 17.5, -300.0]])
    expected = torch.tensor([[448.0, 1.0, 1.0, 1.125, 18.0, -288.0]])
    torch.testing.assert_close(
        round_weight(weight, parse_precision("fp8")), expected, rtol=1e-6, atol=0
    )


def test_mxfp4_of_a_block_against_its_definition() -> None:
    """Values of e2m1 are 0 .5 1 1.5 2 3 4 6.

    The scale is the power of two that takes the largest to [4, 8).
    """
    block = torch.zeros(1, 32)
    block[0, :6] = torch.tensor([6.0, 5.1, 1.2, -0.7, 0.2, 2.6]) * 2**-5
    expected = torch.zeros(1, 32)
    expected[0, :6] = torch.tensor([6.0, 6.0, 1.0, -0.5, 0.0, 3.0]) * 2**-5
    torch.testing.assert_close(
        round_weight(block, parse_precision("mxfp4")), expected, rtol=0, atol=0
    )


def bits_of(tensor: object, names: list[str]) -> int:
    return sum(getattr(tensor, name).numel() * getattr(tensor, name).itemsize * 8 for name in names)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_stored_bits_are_those_of_torchao_tensors(dtype: torch.dtype) -> None:
    from torchao.prototype.mx_formats.mx_tensor import MXTensor
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
    from torchao.quantization import Float8Tensor, IntxUnpackedToInt8Tensor, MappingType, to_nf4

    shape = (128, 256)
    weight = weights(*shape, dtype=dtype)
    for name, block, mapping in [
        ("int8", (1, 256), MappingType.SYMMETRIC),
        ("int8-g64-asym", (1, 64), MappingType.ASYMMETRIC),
        ("int8-tensor-asym", shape, MappingType.ASYMMETRIC),
    ]:
        packed = IntxUnpackedToInt8Tensor.from_hp(weight, block, torch.int8, mapping_type=mapping)
        parts = (
            ["qdata", "scale"]
            if mapping is MappingType.SYMMETRIC
            else ["qdata", "scale", "zero_point"]
        )
        assert stored_bits(shape, dtype, parse_precision(name)) == bits_of(packed, parts)
    linear = nn.Linear(256, 128, bias=False)
    linear.weight = nn.Parameter(weight)
    packed = quantize(linear, "int8-dynamic").packed
    assert stored_bits(shape, dtype, parse_precision("int8-dynamic")) == bits_of(
        packed, ["qdata", "scale"]
    )
    packed = Float8Tensor.from_hp(weight)
    assert stored_bits(shape, dtype, parse_precision("fp8")) == bits_of(packed, ["qdata", "scale"])
    for name, element in [("mxfp8", torch.float8_e4m3fn), ("mxfp4", torch.float4_e2m1fn_x2)]:
        packed = MXTensor.to_mx(weight, element)
        assert stored_bits(shape, dtype, parse_precision(name)) == bits_of(
            packed, ["qdata", "scale"]
        )
    packed = NVFP4Tensor.to_nvfp4(
        weight, per_tensor_scale=per_tensor_amax_to_scale(weight.abs().max())
    )
    parts = ["qdata", "scale", "per_tensor_scale"]
    assert stored_bits(shape, dtype, parse_precision("nvfp4")) == bits_of(packed, parts)
    packed = to_nf4(weight)
    parts = ["quantized_data", "quantized_scalers", "quantization_factor", "scaler_mean"]
    assert stored_bits(shape, dtype, parse_precision("nf4")) == bits_of(packed, parts)


def test_stored_bits_below_eight_bits_are_packed() -> None:
    assert stored_bits((10, 64), torch.float32, parse_precision("int3")) == 10 * 64 * 3 + 10 * 32
    assert stored_bits(
        (10, 64), torch.bfloat16, parse_precision("int4-g32-asym")
    ) == 10 * 64 * 4 + 20 * (16 + 8)
    for dtype, bits in ((torch.bfloat16, 16), (torch.float32, 32)):  # zero points that are floats
        asymmetric = parse_precision("hqq-int4-g32-asym")
        assert stored_bits((10, 64), dtype, asymmetric) == 10 * 64 * 4 + 20 * 2 * bits
    symmetric = parse_precision("hqq-int4-g32")
    assert stored_bits((10, 64), torch.float32, symmetric) == 10 * 64 * 4 + 20 * 32
    assert (
        stored_bits((10, 64), torch.float32, parse_precision("mxfp6-e2m3")) == 10 * 64 * 6 + 20 * 8
    )


def test_nf4_groups_scales_as_the_layer_allows() -> None:
    assert nf4_scales_per_group((128, 256)) == 256
    assert nf4_scales_per_group((103, 128)) == 2
    small = weights(103, 128)
    error = (round_weight(small, parse_precision("nf4")) - small).norm() / small.norm()
    assert 0.05 < error < 0.12  # normal weights lose 9% in nf4, whatever groups its scales


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "int4-g64",
            (8, 96),
            "96 weights per output channel do not divide into groups of 64: take int4-g32 or int4",
        ),
        ("int4-g32-asym", (8, 27), "27 weights per output channel .* take int4-asym"),
        (
            "mxfp4",
            (8, 80),
            "80 weights per output channel do not divide into groups of 32: take fp8",
        ),
        ("nvfp4", (8, 24), "do not divide into groups of 16"),
        ("nf4", (7, 10), "its 70 weights do not divide into blocks of 64"),
        ("int4-dynamic", (7, 1), "it has one input, whose rounding torchao cannot do: take int4"),
    ],
)
def test_a_layer_that_a_format_cannot_take_is_named(
    name: str, shape: tuple[int, int], message: str
) -> None:
    model = nn.Sequential(nn.Linear(128, 128), nn.Linear(shape[1], shape[0]))
    with pytest.raises(PrecisionError, match=message) as error:
        quantize(model, name)
    assert "1.weight" in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("int8", torch.float64), ("mxfp4", torch.float16), ("int8-dynamic", torch.float16)],
)
def test_a_dtype_that_a_format_cannot_take_is_named(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(
        PrecisionError, match=f"its weights are {str(dtype)[6:]}: load the checkpoint in float32"
    ):
        quantize(nn.Linear(64, 64).to(dtype), name)


@pytest.mark.parametrize("name", ["int8", "int4-asym", "int3-tensor", "fp8", "fp8-e5m2"])
def test_rows_of_one_weight_have_a_scale_each(name: str) -> None:
    """As the stems of ConvNeXt for grey images of one pixel a patch."""
    precision = parse_precision(name)
    column = weights(7, 1)
    twice = torch.cat([column, column], dim=1)
    rounded = round_weight(column, precision)
    assert torch.equal(rounded, round_weight(twice, precision)[:, :1])
    if precision.granularity == "channel":
        torch.testing.assert_close(rounded, column, rtol=2 / 2**precision.bits, atol=0)
    else:
        assert (rounded - column).abs().max() > 0


def test_round_weight_refuses_casts() -> None:
    with pytest.raises(ValueError, match="bf16 is a cast"):
        round_weight(weights(4, 64), parse_precision("bf16"))


@pytest.mark.long
def test_torchao_is_imported_without_its_notices() -> None:
    import subprocess
    import sys

    code = "import study.precision.ao, logging; print(logging.getLogger('torchao').level)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(logging.NOTSET)
    assert done.stderr == ""
