"""Weight formats on matrices.

Rounding to a format, what a format can take, what it needs to be stored.

Shapes: o output channels (rows), i weights of a channel. Convolution kernels come flattened to
o x i.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from study.precision.names import GROUPS, Precision

_FLOAT8 = {"fp8": torch.float8_e4m3fn, "fp8-e5m2": torch.float8_e5m2}
_ZERO_POINT_BITS = 8
_LEAST_SCALE = 1e-5
_NF4_SCALES_PER_GROUP = 256


def round_weight(weight_oi: Tensor, precision: Precision) -> Tensor:
    """The values that `weight_oi` (o, i) has after storage at `precision`.

    They are in its own dtype.

    Integer formats: q = clamp(round(w / scale) + zero, low, high), value (q - zero) * scale,
    computed as torchao's IntxUnpackedToInt8Tensor does. Float formats are read back from torchao's
    tensor classes; a block of zeros, for which their scale would be 0/0, stays zero. `obstacle`
    says which matrices a format takes.
    """
    matrix = weight_oi.detach().contiguous()
    if matrix.shape[1] == 1 and (precision.family == "int" or precision.format in _FLOAT8):
        # torchao would take one scale for all rows where none is longer than one weight; a
        # second weight of zero leaves the scales as they are.
        return round_weight(F.pad(matrix, (0, 1)), precision)[:, :1].contiguous()
    if precision.format == "ternary":
        return _round_to_signs(matrix)
    if precision.family == "int":
        return round_to_integers(matrix, precision)
    if precision.family == "float":
        return round_to_floats(matrix, precision.format).masked_fill_(matrix == 0, 0)
    raise ValueError(f"{precision.name} is a cast of the whole model, not a weight format")


def _round_to_signs(weight_oi: Tensor) -> Tensor:
    """Ternary values s clamp(round(w / s), -1, 1), s the mean of |w|.

    That is the function of BitNet b1.58 (Ma et al. 2024, eq. 1 to 3).
    """
    scale = weight_oi.float().abs().mean().clamp_min(_LEAST_SCALE)
    signs = (weight_oi.float() / scale).round().clamp(-1, 1)
    return (signs * scale).to(weight_oi.dtype)


def round_to_integers(
    weight_oi: Tensor, precision: Precision, bounds: Tensor | None = None
) -> Tensor:
    """The values of `weight_oi` as integers times scales, less zero points.

    Scales are those of its own blocks, or one is that of `bounds` (1, 2), its least and largest
    value.
    """
    from study.precision import ao

    low, high = -(2 ** (precision.bits - 1)), 2 ** (precision.bits - 1) - 1
    block = _block(tuple(weight_oi.shape), precision)
    scale, zero_point = ao.choose_qparams_affine(
        weight_oi if bounds is None else bounds,
        ao.MappingType.SYMMETRIC if precision.symmetric else ao.MappingType.ASYMMETRIC,
        block if bounds is None else tuple(bounds.shape),
        target_dtype=torch.int8,
        quant_min=low,
        quant_max=high,
        zero_point_dtype=torch.int8,
    )
    integers = ao.quantize_affine(weight_oi, block, scale, zero_point, torch.int8, low, high)
    rounded: Tensor = ao.dequantize_affine(
        integers, block, scale, zero_point, torch.int8, low, high, output_dtype=weight_oi.dtype
    )
    return rounded


def round_to_floats(weight_oi: Tensor, name: str, bounds: Tensor | None = None) -> Tensor:
    """The values of `weight_oi` as floats of few bits times scales.

    `bounds` (1, 2), its least and largest value, give fp8 one scale. Of a stack of matrices
    (n, o, i) each has its own outer scale of nvfp4.
    """
    from study.precision import ao

    rounded: Tensor
    if bounds is not None:
        scale = ao.choose_scale_float8(bounds, list(bounds.shape), _FLOAT8[name])
        floats = ao.quantize_affine_float8(weight_oi, scale, _FLOAT8[name])
        rounded = ao.dequantize_affine_float8(floats, scale, weight_oi.dtype)
    elif name in _FLOAT8:
        # The torch kernel on every device: others round differently.
        rounded = ao.Float8Tensor.from_hp(
            weight_oi, _FLOAT8[name], ao.PerRow(), kernel_preference=ao.KernelPreference.TORCH
        ).dequantize()
    elif name == "nvfp4":
        largest = weight_oi.abs()
        largest = largest.amax() if weight_oi.ndim == 2 else largest.amax((1, 2), keepdim=True)
        scale = ao.per_tensor_amax_to_scale(largest)
        rounded = ao.NVFP4Tensor.to_nvfp4(weight_oi, per_tensor_scale=scale).dequantize()
    elif name == "nf4":
        scales = nf4_scales_per_group(tuple(weight_oi.shape))
        rounded = ao.to_nf4(
            weight_oi, block_size=64, scaler_block_size=scales
        ).get_original_weight()
    else:
        elements = {
            "mxfp8": torch.float8_e4m3fn,
            "mxfp6-e2m3": ao.DTYPE_FP6_E2M3,
            "mxfp6-e3m2": ao.DTYPE_FP6_E3M2,
            "mxfp4": torch.float4_e2m1fn_x2,
        }
        rounded = ao.MXTensor.to_mx(weight_oi, elements[name], block_size=32).dequantize()
    return rounded


def nf4_scales_per_group(shape: tuple[int, ...]) -> int:
    """How many of nf4's scales are quantized together.

    256, or the largest divisor of it that fits small layers.
    """
    return gcd(_NF4_SCALES_PER_GROUP, prod(shape) // 64)


def _block(shape: tuple[int, ...], precision: Precision) -> tuple[int, ...]:
    """Sizes of the block of weights that share a scale."""
    o, i = shape
    if precision.granularity == "tensor":
        return (o, i)
    return (1, i if precision.group is None else precision.group)


def obstacle(shape: tuple[int, ...], dtype: torch.dtype, precision: Precision) -> str | None:
    """Why a matrix (o, i) cannot be stored in the format of `precision`, or None.

    The reason ends in a remedy.
    """
    allowed = [torch.float32, torch.bfloat16]
    if precision.family == "int" and precision.activation is None:
        allowed.append(torch.float16)
    if dtype not in allowed:
        names = " or ".join(str(each).removeprefix("torch.") for each in allowed)
        return (
            f"its weights are {str(dtype).removeprefix('torch.')}: load the checkpoint in {names}"
        )
    _, i = shape
    if precision.activation is not None and precision.family == "int" and i == 1:
        return f"it has one input, whose rounding torchao cannot do: take {precision.format}"
    if precision.format == "nf4":
        if prod(shape) % 64 != 0:
            return (
                f"its {prod(shape)} weights do not divide into blocks of 64: take fp8 or an "
                "integer format"
            )
    elif precision.group is not None and i % precision.group != 0:
        return (
            f"{i} weights per output channel do not divide into groups of {precision.group}: take "
            + ("fp8" if precision.family == "float" else _coarser(i, precision))
        )
    return None


def _coarser(i: int, precision: Precision) -> str:
    """The integer formats that rows of `i` weights can take instead.

    The nearest granularity comes first.
    """
    groups = [group for group in reversed(GROUPS) if i % group == 0]
    candidates = [replace(precision, group=group) for group in groups]
    return " or ".join(
        each.name for each in [*candidates, replace(precision, granularity="channel", group=None)]
    )


def stored_bits(shape: tuple[int, ...], dtype: torch.dtype, precision: Precision) -> int:
    """Bits that a matrix (o, i) takes in the format of `precision`, packed.

    Its scales and zero points are included.
    """
    weights = prod(shape)
    own = dtype.itemsize * 8
    if precision.format in _FLOAT8:
        scales = 32 * shape[0]
    elif precision.format.startswith("mx"):
        scales = 8 * weights // 32
    elif precision.format == "nvfp4":
        scales = 8 * weights // 16 + 32
    elif precision.format == "ternary":
        scales = own
    elif precision.format == "nf4":
        blocks = weights // 64
        scales = 8 * blocks + own * (blocks // nf4_scales_per_group(shape)) + own
    elif precision.family == "int":
        o, i = _block(shape, precision)
        scale = 32 if runs_int8_kernel(precision) else own
        # The zero points of HQQ are real numbers.
        zero = own if precision.method == "hqq" else _ZERO_POINT_BITS
        scales = weights // (o * i) * (scale + (0 if precision.symmetric else zero))
    else:
        scales = 0
    return weights * precision.bits + scales


def runs_int8_kernel(precision: Precision) -> bool:
    """`int8-dynamic` multiplies integers by integers.

    Other dynamic formats round both sides and multiply floats.
    """
    plain = precision.symmetric and precision.granularity == "channel"
    return precision.activation == precision.format == "int8" and plain
