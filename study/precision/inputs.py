"""Rounding of what layers read: inputs, and keys and values of attention.

Shapes: r rows (tokens before a linear layer, samples before a convolution), i numbers of a row.
A row has one scale that is chosen at run time, or all have one from calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from study.precision.formats import (
    round_to_floats,
    round_to_integers,
    round_weight,
    runs_int8_kernel,
)
from study.precision.names import Precision, PrecisionError

_LEAST_SCALE = 1e-5


@dataclass(frozen=True)
class InputRounding:
    """A pre-hook of a layer that rounds its input as `precision` says.

    Gradients pass straight through. `bounds` (1, 2) are the least and the largest input of the
    calibration (`-static`), else None.
    """

    precision: Precision
    bounds: Tensor | None = None

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x, *others = arguments
        convolution = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        # Blocks of a convolution's input lie along its channels.
        last = x.detach().movedim(1, -1) if convolution else x.detach()
        rows = last.flatten(1) if convolution else last.flatten(0, -2)
        rounded = round_inputs(rows.contiguous(), self.precision, self.bounds).view(last.shape)
        return (straight_through(x, rounded.movedim(-1, 1) if convolution else rounded), *others)


def round_inputs(rows_ri: Tensor, precision: Precision, bounds: Tensor | None = None) -> Tensor:
    """The values that the inputs of a layer have at `precision`, in their own dtype.

    int8, int4    q = clamp(round(x / scale) + zero, low, high), value (q - zero) scale, of a row or
                  of `bounds`; zero is 0 for `int8` weights with a scale a channel, as in torchao's
                  Int8Tensor, else the range is asymmetric, as in its Int8DynamicActivationIntx
    ternary       s = max|x| / 127, value round(x / s) s (Ma et al. 2024; Wang et al. 2023, eq. 4)
    fp8, mx, nv   as weights of that format; the outer scale of nvfp4 is that of a row
    """
    assert precision.activation is not None
    if precision.format == "ternary":
        scale = rows_ri.abs().amax(1, keepdim=True) / 127
        integers = (rows_ri.float() * (1 / scale.float().clamp_min(_LEAST_SCALE))).round()
        return (integers.clamp(-128, 127) * scale.float()).to(rows_ri.dtype)
    if precision.family == "int":
        return _to_integers(rows_ri, precision, bounds)
    if bounds is not None:
        return round_to_floats(rows_ri, precision.activation, bounds)
    if precision.activation == "nvfp4":
        return round_to_floats(rows_ri[:, None], "nvfp4")[:, 0].masked_fill_(rows_ri == 0, 0)
    return round_weight(rows_ri, Precision("float", precision.activation, precision.bits))


def _to_integers(rows_ri: Tensor, precision: Precision, bounds: Tensor | None) -> Tensor:
    from study.precision import ao

    if bounds is None and runs_int8_kernel(precision):
        rounded: Tensor = ao.Int8Tensor.from_hp(rows_ri, ao.PerRow()).dequantize()
        return rounded
    format_of_inputs = Precision(
        "int",
        str(precision.activation),
        4 if precision.activation == "int4" else 8,
        granularity="channel" if bounds is None else "tensor",
        symmetric=runs_int8_kernel(precision),
    )
    if bounds is None:
        return round_weight(rows_ri, format_of_inputs)
    return round_to_integers(rows_ri, format_of_inputs, bounds)


@torch.no_grad()
def input_bounds(
    model: nn.Module, layers: Mapping[str, list[nn.Module]], inputs: Callable[[], Iterable[Tensor]]
) -> dict[str, Tensor]:
    """The least and the largest input (1, 2) of layers by name, over all batches.

    Raises PrecisionError for a layer that saw no input.
    """
    bounds: dict[str, Tensor] = {}

    def widen(name: str, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        own = torch.stack(arguments[0].detach().aminmax())[None]
        known = bounds.get(name, own)
        least, largest = torch.minimum(known, own)[:, :1], torch.maximum(known, own)[:, 1:]
        bounds[name] = torch.cat([least, largest], dim=1)

    with ExitStack() as stack:
        for name, modules in layers.items():
            for module in modules:
                stack.callback(module.register_forward_pre_hook(partial(widen, name)).remove)
        for batch in inputs():
            model(batch)
    for name, modules in layers.items():
        if modules and name not in bounds:
            raise PrecisionError(
                f"calibration saw no input of {name}, which is not called as a layer: take a "
                "format without -static"
            )
    return bounds


@dataclass(frozen=True)
class CacheRounding:
    """Rounds keys or values (..., K) as they are written to a cache of `bits` bits.

    Gradients pass straight through. One scale and one zero point for each token and head.
    """

    bits: int

    def __call__(self, states: Tensor) -> Tensor:
        cached = Precision("int", f"int{self.bits}", self.bits, symmetric=False)
        rounded = round_weight(states.detach().flatten(0, -2), cached).view(states.shape)
        return straight_through(states, rounded)


class StraightThrough(torch.autograd.Function):
    """Forward another tensor, backward the gradient of this one (Bengio et al. 2013).

    `StraightThrough.apply(x, rounded)` is `rounded`, with gradient 1 with respect to x, also where
    values were clamped.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, with the gradient of x where there is one."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return rounded
    through: Tensor = StraightThrough.apply(x, rounded)
    return through
