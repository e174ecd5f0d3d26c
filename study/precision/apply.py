"""Applying a precision to a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.precision.calibration import (
    Calibrated,
    Calibration,
    InBasis,
    Inputs,
    calibrated,
)
from study.precision.formats import obstacle, round_weight, runs_int8_kernel
from study.precision.inputs import (
    CacheRounding,
    InputRounding,
    input_bounds,
    straight_through,
)
from study.precision.layers import CONVOLUTIONS, Weight, covered_weights, is_transposed
from study.precision.names import Precision, PrecisionError, parse_precision
from study.precision.rotate import Rotated, add_offset, rotated_bases

ModelT = TypeVar("ModelT", bound=nn.Module)

_LOOKUPS = (nn.Embedding, nn.EmbeddingBag)
CAST_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class IntegerLinear(nn.Module):
    """A linear layer that multiplies integers by integers, in torchao's kernel.

    `packed` is what multiplies and rounds its inputs; `weight` holds its dequantized values for
    everything that reads weights (tied embeddings, duality metrics). The kernel has no gradient:
    that of the dequantized weight's product with the input unrounded stands for it.
    """

    packed: Tensor

    def forward(self, input: Tensor) -> Tensor:
        bias = dict(self.named_parameters(recurse=False)).get("bias")
        with torch.no_grad():
            rows = F.linear(input.detach().flatten(0, -2), self.packed, bias)
        product = rows.view(*input.shape[:-1], -1)
        if not (torch.is_grad_enabled() and input.requires_grad):
            return product
        return straight_through(F.linear(input, self.packed.dequantize()), product)


class IntegerLinearLayer(IntegerLinear, nn.Linear):
    """The same of PyTorch's linear layer."""


# Layers of a 16-bit cast on the CPU: products and sums in float32, rounded once, as half-precision
# units do. Processors without such units (AVX2) take 5 to 60 times longer for the same result, up
# to the order of the sums. `single` holds the values of the weight as float32.


class HalfLinear(nn.Linear):
    """A linear layer with sums in float32."""

    single: Tensor

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input.float(), self.single, _single(self.bias)).to(input.dtype)


class HalfTransposed(nn.Module):
    """Hugging Face's `Conv1D` with sums in float32.

    It is a linear layer whose weight is (inputs, outputs).
    """

    single: Tensor
    bias: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input.float(), self.single.t(), _single(self.bias)).to(input.dtype)


class HalfConv1d(nn.Conv1d):
    """A convolution with sums in float32."""

    single: Tensor

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(input.float(), self.single, _single(self.bias))
        return y.to(input.dtype)


class HalfConv2d(nn.Conv2d):
    """A convolution with sums in float32."""

    single: Tensor

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(input.float(), self.single, _single(self.bias))
        return y.to(input.dtype)


HALF: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: HalfLinear,
    nn.Conv1d: HalfConv1d,
    nn.Conv2d: HalfConv2d,
}


def _single(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()


def quantize(
    model: ModelT, precision: str | Precision, calibration: Calibration | None = None
) -> ModelT:
    """A copy of `model` that computes at `precision`; the model itself is untouched.

    See `apply`; the copy is for measuring: its parameters take no gradients.
    """
    precision = parse_precision(precision) if isinstance(precision, str) else precision
    copy = deepcopy(model).requires_grad_(False)
    apply(copy, precision, calibration)
    return copy


@torch.no_grad()
def apply(model: nn.Module, precision: Precision, calibration: Calibration | None = None) -> None:
    """Let `model` itself compute at `precision`.

    Deterministic. Tensors are replaced, one weight at a time, and never written into, so that
    `study.precision.inplace.at_precision` can undo it without a second copy of what stays.

    Casts convert every parameter and buffer, so features are computed in that dtype, but leave the
    frequencies of rotary positions in float32, as transformers does; on the CPU linear layers and
    convolutions sum in float32. Weight formats replace each covered weight by its rounded values,
    in the checkpoint's dtype; tied weights stay tied. `-dynamic` and `-static` formats also round
    the inputs of the layers, `-kv8` and `-kv4` the keys and values of attention.

    Args:
        model: in evaluation mode.
        precision: any but those that fine-tune.
        calibration: inputs of the model for precisions that need them, and their settings.

    Raises PrecisionError for a layer that the format or the device cannot take (naming layer, sizes
    and remedy), for weights that are or become non-finite, and for `qat-`, `efqat-` and `ft-fp32`,
    which need data: `study.training.finetune.finetune`.
    """
    if precision.tuning is not None:
        raise PrecisionError(
            f"{precision.name} measures a fine-tuned model: call study.training.finetune.finetune, "
            f"which needs data, or measure {precision.untuned.name!r}"
        )
    if precision.family == "cast":
        _cast(model, precision)
    else:
        _round_weights(model, precision, calibration or Calibration())
    if precision.cache is not None:
        _transform_cache(model, precision, CacheRounding(precision.cache))


def check_precision(
    model: nn.Module, precision: Precision, example: Tensor | None = None
) -> list[Weight]:
    """The weights that a weight format rounds; none for a cast.

    Raises PrecisionError for a layer that the format or the device cannot take, for a model without
    the cache that it rounds, and with an `example` of the model's inputs for one that `rot-` cannot
    rotate, before anything is rounded.
    """
    if precision.cache is not None:
        _transform_cache(model, precision, None)
    weights = [] if precision.family == "cast" else covered_weights(model, precision)
    check_takes(weights, precision)
    if precision.rotated and example is not None:
        rotated_bases(model, weights, example, seed=0)
    return weights


def _round_weights(model: nn.Module, precision: Precision, calibration: Calibration) -> None:
    weights = check_precision(model, precision)
    bounds = _bounds(model, weights, precision, calibration.inputs) if precision.static else {}
    for each in _rounded(model, weights, precision, calibration):
        weight, values = each.weight, each.matrices
        if not torch.isfinite(values).all():
            raise PrecisionError(
                f"{precision.name}: {weight.name} {tuple(weight.parameter.shape)} has weights that "
                "are not finite in this format: the checkpoint has diverged, or its weights "
                "overflow"
            )
        if precision.activation is not None:
            _round_inputs(each, precision, bounds)
        if isinstance(each.basis, Rotated):
            # What the layer gives for the offset of its norm is a bias, which is not rounded.
            for layer in _layers(weight):
                add_offset(layer, each.basis, (weight.matrices - values)[0])
        weight.replace(values)


def _rounded(
    model: nn.Module, weights: list[Weight], precision: Precision, calibration: Calibration
) -> Iterator[Calibrated]:
    if precision.method is not None or precision.rotated:
        return calibrated(model, weights, precision, calibration)
    return (Calibrated(weight, weight_values(weight, precision), None) for weight in weights)


def weight_values(weight: Weight, precision: Precision) -> Tensor:
    """The rounded matrices (stack, o, i) of a weight."""
    if not runs_int8_kernel(precision) or not _layers(weight):
        return round_matrices(weight.matrices, precision)
    from study.precision import ao

    values: Tensor = ao.Int8Tensor.from_hp(weight.matrices[0], ao.PerRow()).dequantize()
    return values[None]


def _layers(weight: Weight) -> list[nn.Module]:
    """The layers that multiply a weight by an input."""
    return [p.module for p in weight.places if not isinstance(p.module, _LOOKUPS)]


def _bounds(
    model: nn.Module, weights: list[Weight], precision: Precision, inputs: Inputs | None
) -> dict[str, Tensor]:
    if inputs is None:
        raise PrecisionError(
            f"{precision.name} takes the scales of inputs from calibration, which needs data: "
            f"measure it in a study, or take {replace(precision, static=False).name!r}"
        )
    return input_bounds(model, {weight.name: _layers(weight) for weight in weights}, inputs)


def _round_inputs(rounded: Calibrated, precision: Precision, bounds: Mapping[str, Tensor]) -> None:
    """Let the layers that hold a weight, still unrounded, round their inputs."""
    weight = rounded.weight
    for layer in _layers(weight):
        own = bounds.get(weight.name)
        rounding = InputRounding(precision, own)
        if rounded.basis is not None:
            layer.register_forward_pre_hook(InBasis(rounding, rounded.basis))
        elif runs_int8_kernel(precision) and not (
            precision.method or precision.rotated or isinstance(layer, CONVOLUTIONS)
        ):
            # In place, so that every reference to the layer sees the change.
            layer.__class__ = IntegerLinearLayer if isinstance(layer, nn.Linear) else IntegerLinear
            packed = _packed(weight.matrices[0], own)
            layer.register_buffer("packed", packed, persistent=False)
        else:
            layer.register_forward_pre_hook(rounding)


def _packed(matrix_oi: Tensor, bounds: Tensor | None) -> Tensor:
    """The weight of torchao's integer product, which rounds its inputs itself."""
    from study.precision import ao

    granularity = ao.PerRow() if bounds is None else ao.PerTensor()
    packed: Tensor = ao.Int8Tensor.from_hp(
        matrix_oi,
        ao.PerRow(),
        act_quant_kwargs=ao.QuantizeTensorToInt8Kwargs(granularity),
        act_quant_scale=None
        if bounds is None
        else ao.Int8Tensor.from_hp(bounds, granularity).scale,
    )
    return packed


def _transform_cache(
    model: nn.Module, precision: Precision, transform: CacheRounding | None
) -> None:
    possible = getattr(model, "transform_cache", None)
    if possible is None or not possible(transform):
        plain = replace(precision, cache=None).name
        raise PrecisionError(
            f"{precision.name}: {type(model).__name__} writes no keys and values of attention: "
            f"take {plain!r}"
        )


def round_matrices(matrices_noi: Tensor, precision: Precision) -> Tensor:
    """Each of the matrices (n, o, i) rounded alone, as a layer of its own."""
    return torch.stack([round_weight(matrix, precision) for matrix in matrices_noi])


def _cast(model: nn.Module, precision: Precision) -> None:
    rotary = {name: buffer for name, buffer in model.named_buffers() if name.endswith("inv_freq")}
    model.to(CAST_DTYPES[precision.format])
    # An angle is a frequency times a position: rounded, it is off by turns.
    for name, buffer in rotary.items():
        path, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(path), leaf, buffer.float())
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise PrecisionError(
                f"{precision.name}: {name} {tuple(tensor.shape)} has values that are not finite in "
                "this format: the checkpoint has diverged, or overflows (bf16 has the range of "
                "fp32)"
            )
    if precision.format != "fp32":
        for module in model.modules():
            _halve(module)


def _halve(module: nn.Module) -> None:
    """Give a layer on the CPU its sums in float32.

    That happens in place, so that every reference to it sees the change.
    """
    half = HalfTransposed if is_transposed(module) else HALF.get(type(module))
    if half is not None and module.get_parameter("weight").device.type == "cpu":
        module.__class__ = half
        module.register_buffer(
            "single", module.get_parameter("weight").detach().float(), persistent=False
        )


def check_takes(weights: list[Weight], precision: Precision) -> None:
    """Raise PrecisionError at the first of `weights` that `precision` cannot take.

    The message has the name, the sizes and a remedy.
    """
    for weight in weights:
        problem = obstacle(weight.matrix_shape, weight.parameter.dtype, precision)
        if problem is None and precision.activation is not None:
            problem = _input_obstacle(weight, precision)
        if problem is not None:
            layer = type(weight.places[0].module).__name__
            raise PrecisionError(
                f"{precision.name} cannot take {weight.name} ({layer}, "
                f"{tuple(weight.parameter.shape)}): {problem}"
            )


def _input_obstacle(weight: Weight, precision: Precision) -> str | None:
    """Why the inputs of the layers that hold `weight` cannot be rounded, or None."""
    weights_only = replace(precision, activation=None, static=False).name
    for layer in _layers(weight):
        if type(layer) not in (nn.Linear, *CONVOLUTIONS) and not is_transposed(layer):
            return (
                "the inputs of linear layers and convolutions alone can be rounded: take "
                f"{weights_only!r}"
            )
        blocks = precision.group if precision.family == "float" else None
        if isinstance(layer, CONVOLUTIONS) and blocks and layer.in_channels % blocks:
            return (
                f"its {layer.in_channels} input channels do not divide into groups of {blocks}: "
                f"take {weights_only!r} or 'fp8-dynamic'"
            )
        if runs_int8_kernel(precision) and weight.parameter.device.type == "cuda":
            o, i = weight.parameter.shape[0], weight.matrices.shape[2]
            if isinstance(layer, nn.Linear) and (o % 8 != 0 or i % 8 != 0):
                return (
                    "the CUDA kernel needs multiples of 8: measure on the CPU, or take "
                    f"{weights_only!r}"
                )
    return None
