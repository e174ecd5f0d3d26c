"""Calibrating a model: inputs of its layers, and the weights that they lead to.

Shapes: n groups of a convolution (1 elsewhere), r samples of a layer's inputs, o output channels,
i weights of a channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from math import prod
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.precision.calibrate import InputMoments, awq, gptq, hqq, of_rows, smooth_scales
from study.precision.formats import round_weight
from study.precision.inputs import InputRounding
from study.precision.layers import CONVOLUTIONS, Weight
from study.precision.names import Precision, PrecisionError
from study.precision.options import PrecisionOptions
from study.precision.rotate import Rotated, rotated_bases

Inputs = Callable[[], Iterator[Tensor]]
"""Batches of calibration inputs on the device of the model, the same ones at each call."""

_BLOCK = re.compile(r".*?\.\d+(?=\.)")


@dataclass(frozen=True)
class Calibration:
    """What precisions with a method work with: inputs of the model, and settings."""

    inputs: Inputs | None = None
    options: PrecisionOptions = field(default_factory=PrecisionOptions)


class Basis(Protocol):
    """The basis in which a layer's weight is rounded, and its inputs are.

    Input channels lie along a dimension of `x`.
    """

    def weight(self, matrix_oi: Tensor) -> Tensor:
        """The weight in this basis."""

    def back_weight(self, matrix_oi: Tensor) -> Tensor:
        """The inverse of `weight`."""

    def into(self, x: Tensor, dimension: int) -> Tensor:
        """Inputs in this basis."""

    def back(self, x: Tensor, dimension: int) -> Tensor:
        """The inverse of `into`."""


@dataclass(frozen=True)
class Scaled:
    """Inputs x / s and weights W diag(s).

    s is (n, i), the same over the kernel of a channel.
    """

    s_ni: Tensor
    kernel: int

    def weight(self, matrix_oi: Tensor) -> Tensor:
        """W diag(s)."""
        return matrix_oi * of_rows(self.s_ni, matrix_oi)

    def back_weight(self, matrix_oi: Tensor) -> Tensor:
        """W diag(1 / s)."""
        return matrix_oi / of_rows(self.s_ni, matrix_oi)

    def into(self, x: Tensor, dimension: int) -> Tensor:
        """x / s."""
        return x / self._along(x, dimension)

    def back(self, x: Tensor, dimension: int) -> Tensor:
        """x s."""
        return x * self._along(x, dimension)

    def _along(self, x: Tensor, dimension: int) -> Tensor:
        shape = [1] * x.ndim
        shape[dimension] = x.shape[dimension]
        return self.s_ni[:, :: self.kernel].to(x.dtype).reshape(shape)


@dataclass(frozen=True)
class InBasis:
    """A pre-hook of a layer that rounds its input in a basis."""

    rounding: InputRounding
    basis: Basis

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x, *others = arguments
        dimension = 1 if isinstance(module, CONVOLUTIONS) else -1
        rounded = self.rounding(module, (self.basis.into(x, dimension),))[0]
        return (self.basis.back(rounded, dimension), *others)


@dataclass(frozen=True)
class Calibrated:
    """A weight, the matrices (stack, o, i) that it becomes, and the basis of rounding."""

    weight: Weight
    matrices: Tensor
    basis: Basis | None


def calibrated(
    model: nn.Module, weights: list[Weight], precision: Precision, calibration: Calibration
) -> Iterator[Calibrated]:
    """Each weight as rounded by a precision that has a method.

    `gptq` goes block by block: the inputs of a block are those behind the weights that were given
    before, which the caller puts into the model as they come. The other methods see the inputs of
    the unrounded model. Embeddings, which are looked up, are rounded to nearest. An embedding that
    is tied to a head is calibrated by the inputs of the head, to whose second moment S the multiple
    of the identity with its trace is added: a lookup errs by all entries of a row alike.

    Raises PrecisionError where inputs are needed and there are none, a layer has seen none, or the
    model cannot be rotated.
    """
    inputs = calibration.inputs
    if inputs is None and (precision.calibrated or precision.rotated):
        raise PrecisionError(
            f"{precision.name} needs training samples, and there are none here: measure it in a "
            "study, or pass `calibration`"
        )
    bases: dict[str, Rotated] = {}
    if precision.rotated and inputs is not None:
        x = next(inputs())[:1]
        bases = rotated_bases(model, weights, x, calibration.options.rotation.seed)
    for block in blocks(weights) if precision.method == "gptq" else [weights]:
        seen: dict[str, InputMoments] = {}
        if precision.calibrated and inputs is not None:
            seen = input_moments(model, block, inputs, bases)
        for weight in block:
            basis: Basis | None = bases.get(weight.name)
            moments = seen.get(weight.name)
            if precision.method == "smooth" and moments is not None:
                strength = calibration.options.smooth.strength
                basis = Scaled(smooth_scales(weight.matrices[0], moments, strength), moments.kernel)
            yield Calibrated(
                weight,
                torch.stack(
                    [
                        _rounded(matrix, basis, moments, precision, calibration.options)
                        for matrix in weight.matrices
                    ]
                ),
                basis,
            )


def _rounded(
    matrix_oi: Tensor,
    basis: Basis | None,
    moments: InputMoments | None,
    precision: Precision,
    options: PrecisionOptions,
) -> Tensor:
    matrix = matrix_oi if basis is None else basis.weight(matrix_oi)
    if precision.method == "hqq":
        values = hqq(matrix, precision)
    elif precision.method == "gptq" and moments is not None:
        settings = options.gptq
        values = gptq(matrix, moments, precision, damping=settings.damping, order=settings.order)
    elif precision.method == "awq" and moments is not None:
        values = awq(matrix, moments, precision)
    else:
        values = round_weight(matrix, precision)
    return values if basis is None else basis.back_weight(values)


def blocks(weights: list[Weight]) -> list[list[Weight]]:
    """Weights by block, in the order of the model.

    A block is an entry of a list of modules, such as `blocks.3`; weights outside of lists are
    blocks of their own.
    """

    def block(weight: Weight) -> str:
        match = _BLOCK.match(_layers(weight)[-1][0] if _layers(weight) else weight.name)
        return weight.name if match is None else match[0]

    return [list(group) for _, group in groupby(weights, block)]


def input_moments(
    model: nn.Module,
    weights: Iterable[Weight],
    inputs: Inputs,
    bases: Mapping[str, Basis] = MappingProxyType({}),
) -> dict[str, InputMoments]:
    """Moments of the inputs of layers, by name of their weight.

    In the basis of the weight, where it has one. A weight that is only looked up has none. Raises
    PrecisionError for a layer that saw no input: the experts of a mixture and attention that
    PyTorch computes in one function.
    """
    moments: dict[str, InputMoments] = {}
    expected = {weight.name: weight for weight in weights if _layers(weight)}
    with ExitStack() as stack:
        for name, weight in expected.items():
            hook = _adder(moments, name, bases.get(name))
            for _, module in _layers(weight):
                stack.callback(module.register_forward_pre_hook(hook).remove)
        for batch in inputs():
            model(batch)
    for name, weight in expected.items():
        if name not in moments or weight.stack > 1:
            raise PrecisionError(
                f"calibration saw no input of {name}, which is not called as a layer of its own: "
                "take a format without gptq-, awq- or smooth-, or another scope"
            )
        if weight.embedding:
            diagonal = moments[name].second.diagonal(dim1=1, dim2=2)
            diagonal += diagonal.mean(1, keepdim=True)
    return moments


def _adder(
    moments: dict[str, InputMoments], name: str, basis: Basis | None
) -> Callable[[nn.Module, Any], None]:
    def add(module: nn.Module, arguments: Any) -> None:
        x = arguments[0].detach()
        x_nri = layer_inputs(module, x if basis is None else basis.into(x, -1))
        if name not in moments:
            n, _, i = x_nri.shape
            kernel = prod(module.kernel_size) if isinstance(module, CONVOLUTIONS) else 1
            moments[name] = InputMoments.zeros(n, i, x_nri.device, kernel)
        moments[name].update(x_nri)

    return add


def layer_inputs(module: nn.Module, x: Tensor) -> Tensor:
    """What each output of a layer is a product with: (n, r, i).

    Of a linear layer its inputs (..., i); of a convolution the patches under its kernel, flattened
    as its kernel is, for each of its groups.
    """
    if not isinstance(module, CONVOLUTIONS):
        return x.reshape(1, -1, x.shape[-1])
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    patches = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
    sizes = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    for dimension, (size, stride, dilation) in enumerate(sizes, start=2):
        reach = (size - 1) * dilation + 1
        patches = patches.unfold(dimension, reach, stride)[..., ::dilation]
    spatial = len(module.kernel_size)
    batch, channels, *places = patches.shape[: 2 + spatial]
    groups = patches.reshape(batch, module.groups, channels // module.groups, *patches.shape[2:])
    order = [1, 0, *range(3, 3 + len(places)), 2, *range(3 + spatial, 3 + 2 * spatial)]
    kernel = channels // module.groups * patches.shape[2 + spatial :].numel()
    return groups.permute(order).reshape(module.groups, -1, kernel)


def _layers(weight: Weight) -> list[tuple[str, nn.Module]]:
    """The layers, by name of their weight, that multiply it by an input."""
    lookups = (nn.Embedding, nn.EmbeddingBag)
    return [(p.name, p.module) for p in weight.places if not isinstance(p.module, lookups)]
