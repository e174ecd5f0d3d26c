"""Applying a precision to a model."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.precision.formats import obstacle, round_weight, runs_int8_kernel
from study.precision.layers import Weight, covered_weights, from_matrices, is_transposed
from study.precision.names import Precision, PrecisionError, parse_precision

ModelT = TypeVar("ModelT", bound=nn.Module)

CAST_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DynamicLinear(nn.Linear):
    """A linear layer whose inputs are rounded to int8 at run time by torchao's kernel.

    `packed` is what multiplies; `weight` holds its dequantized values for everything that reads
    weights (tied embeddings, duality metrics).
    """

    packed: Tensor

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.packed, self.bias)


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


@torch.no_grad()
def quantize(model: ModelT, precision: str | Precision) -> ModelT:
    """A copy of `model` that computes at `precision`; the model itself is untouched.

    Deterministic.

    Casts convert every parameter and buffer, so features are computed in that dtype, but leave the
    frequencies of rotary positions in float32, as transformers does; on the CPU linear layers and
    convolutions sum in float32. Weight formats replace each covered weight by its rounded values,
    in the checkpoint's dtype; tied weights stay tied. Dynamic formats also turn the linear layers
    into `DynamicLinear`. The copy is for measuring: its parameters take no gradients.

    Raises PrecisionError for an unknown name, for a layer that the format or the device cannot take
    (naming layer, sizes and remedy), for weights that are or become non-finite, and for `qat-`,
    `efqat-` and `ft-fp32`, which need data: `study.training.finetune.finetune`.
    """
    precision = parse_precision(precision) if isinstance(precision, str) else precision
    if precision.tuning is not None:
        raise PrecisionError(
            f"{precision.name} measures a fine-tuned model: call study.training.finetune.finetune, "
            f"which needs data, or measure {precision.untuned.name!r}"
        )
    if precision.method is not None or precision.rotated:
        raise PrecisionError(f"{precision.name} cannot be measured yet")
    copy = deepcopy(model).requires_grad_(False)
    if precision.family == "cast":
        return _cast(copy, precision)
    weights = covered_weights(copy, precision)
    check_takes(weights, precision)
    for weight in weights:
        dynamic = precision.activation is not None
        values = (
            _make_dynamic(weight, precision)
            if dynamic
            else round_matrices(weight.matrices, precision)
        )
        if not torch.isfinite(values).all():
            raise PrecisionError(
                f"{precision.name}: {weight.name} {tuple(weight.parameter.shape)} has weights that "
                "are not finite in this format: the checkpoint has diverged, or its weights "
                "overflow"
            )
        weight.parameter.copy_(from_matrices(values, weight.parameter, weight.transposed))
    return copy


def round_matrices(matrices_noi: Tensor, precision: Precision) -> Tensor:
    """Each of the matrices (n, o, i) rounded alone, as a layer of its own."""
    return torch.stack([round_weight(matrix, precision) for matrix in matrices_noi])


def _cast(copy: ModelT, precision: Precision) -> ModelT:
    rotary = {name: buffer for name, buffer in copy.named_buffers() if name.endswith("inv_freq")}
    copy.to(CAST_DTYPES[precision.format])
    # An angle is a frequency times a position: rounded, it is off by turns.
    for name, buffer in rotary.items():
        path, _, leaf = name.rpartition(".")
        setattr(copy.get_submodule(path), leaf, buffer.float())
    for name, tensor in copy.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise PrecisionError(
                f"{precision.name}: {name} {tuple(tensor.shape)} has values that are not finite in "
                "this format: the checkpoint has diverged, or overflows (bf16 has the range of "
                "fp32)"
            )
    if precision.format != "fp32":
        for module in copy.modules():
            _halve(module)
    return copy


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
        problem = obstacle(tuple(weight.matrices.shape[1:]), weight.parameter.dtype, precision)
        if problem is None and precision.activation is not None:
            problem = _dynamic_obstacle(weight, precision)
        if problem is not None:
            layer = type(weight.places[0].module).__name__
            raise PrecisionError(
                f"{precision.name} cannot take {weight.name} ({layer}, "
                f"{tuple(weight.parameter.shape)}): {problem}"
            )


def _dynamic_obstacle(weight: Weight, precision: Precision) -> str | None:
    weights_only = precision.name.replace("-dynamic", "")
    for place in weight.places:
        if isinstance(place.module, nn.Embedding | nn.EmbeddingBag):
            continue
        if type(place.module) is not nn.Linear:
            return (
                "the inputs of linear layers alone can be rounded at run time: take "
                f"{weights_only!r}"
            )
        if runs_int8_kernel(precision) and weight.parameter.device.type == "cuda":
            o, i = weight.parameter.shape
            if o % 8 != 0 or i % 8 != 0:
                return (
                    "the CUDA kernel needs multiples of 8: measure on the CPU, or take "
                    f"{weights_only!r}"
                )
    return None


def _make_dynamic(weight: Weight, precision: Precision) -> Tensor:
    """Turn the linear layers that hold `weight` into DynamicLinear.

    Returns the dequantized weight (1, o, i).
    """
    from study.precision import ao

    linears = [place.module for place in weight.places if isinstance(place.module, nn.Linear)]
    if not linears:
        return round_matrices(weight.matrices, precision)
    config = (
        ao.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        if runs_int8_kernel(precision)
        else ao.Int8DynamicActivationIntxWeightConfig(
            weight_dtype=getattr(torch, precision.format),
            weight_granularity=ao.PerAxis(0)
            if precision.group is None
            else ao.PerGroup(precision.group),
            weight_mapping_type=ao.MappingType.SYMMETRIC
            if precision.symmetric
            else ao.MappingType.ASYMMETRIC,
        )
    )
    donor = nn.Linear(1, 1, bias=False)
    donor.weight = nn.Parameter(weight.matrices[0], requires_grad=False)
    ao.quantize_(donor, config)
    packed = donor.weight.data
    for linear in linears:
        # In place, so that every reference to the layer sees the change.
        linear.__class__ = DynamicLinear
        linear.register_buffer("packed", packed, persistent=False)
    dequantized: Tensor = packed.dequantize()
    return dequantized[None]
