"""Calibrating a model: inputs of its layers, block by block, and the weights they lead to.

Shapes: n groups of a convolution (1 elsewhere), r samples of a layer's inputs, o output channels,
i weights of a channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.precision.calibrate import InputMoments, awq, gptq, hqq, round_scaled, smooth_scales
from study.precision.layers import CONVOLUTIONS, Weight
from study.precision.names import Precision, PrecisionError
from study.precision.options import PrecisionOptions

Inputs = Callable[[], Iterator[Tensor]]
"""Batches of calibration inputs on the device of the model, the same ones at each call."""

_BLOCK = re.compile(r".*?\.\d+(?=\.)")


@dataclass(frozen=True)
class Calibration:
    """What precisions with a method work with: inputs of the model, and settings."""

    inputs: Inputs | None = None
    options: PrecisionOptions = PrecisionOptions()


def calibrated(
    model: nn.Module, weights: list[Weight], precision: Precision, calibration: Calibration
) -> Iterator[tuple[Weight, Tensor]]:
    """Each weight with its matrices (1, o, i) at a precision that has a method.

    `gptq` goes block by block: the inputs of a block are those behind the weights that were given
    before, which the caller puts into the model as they come. The other methods see the inputs of
    the unrounded model. Embeddings, which are looked up, are rounded to nearest. An embedding that
    is tied to a head is calibrated by the inputs of the head, to whose second moment S the multiple
    of the identity with its trace is added: a lookup errs by all entries of a row alike.

    Raises PrecisionError where there are no inputs, or a layer has seen none.
    """
    if precision.method == "hqq":
        for weight in weights:
            yield weight, torch.stack([hqq(matrix, precision) for matrix in weight.matrices])
        return
    if calibration.inputs is None:
        raise PrecisionError(
            f"{precision.name} is calibrated on training samples, and there are none here: measure "
            "it in a study, or pass `calibration`"
        )
    for block in blocks(weights) if precision.method == "gptq" else [weights]:
        moments = input_moments(model, block, calibration.inputs)
        for weight in block:
            yield weight, _values(weight, moments.get(weight.name), precision, calibration.options)


def blocks(weights: list[Weight]) -> list[list[Weight]]:
    """Weights by block, in the order of the model.

    A block is an entry of a list of modules, such as `blocks.3`; weights outside of lists are
    blocks of their own.
    """

    def block(weight: Weight) -> str:
        match = _BLOCK.match(_layers(weight)[-1][0] if _layers(weight) else weight.name)
        return weight.name if match is None else match[0]

    return [list(group) for _, group in groupby(weights, block)]


def _values(
    weight: Weight, moments: InputMoments | None, precision: Precision, options: PrecisionOptions
) -> Tensor:
    matrix = weight.matrices[0]
    if weight.embedding and moments is not None:
        diagonal = moments.second.diagonal(dim1=1, dim2=2)
        diagonal += diagonal.mean(1, keepdim=True)
    if moments is None:
        one = torch.ones(1, matrix.shape[1], device=matrix.device)
        values = round_scaled(matrix, one, precision)
    elif precision.method == "gptq":
        settings = options.gptq
        values = gptq(matrix, moments, precision, damping=settings.damping, order=settings.order)
    elif precision.method == "awq":
        values = awq(matrix, moments, precision)
    else:
        values = round_scaled(
            matrix, smooth_scales(matrix, moments, options.smooth.strength), precision
        )
    return values[None]


def input_moments(
    model: nn.Module, weights: Iterable[Weight], inputs: Inputs
) -> dict[str, InputMoments]:
    """Moments of the inputs of the layers that hold the weights, by name of the weight.

    A weight that is only looked up has none. Raises PrecisionError for a layer that saw no input:
    the experts of a mixture and attention that PyTorch computes in one function.
    """
    moments: dict[str, InputMoments] = {}
    expected = {weight.name: weight for weight in weights if _layers(weight)}
    with ExitStack() as stack:
        for weight in expected.values():
            for _, module in _layers(weight):
                stack.callback(module.register_forward_pre_hook(_adder(moments, weight)).remove)
        for batch in inputs():
            model(batch)
    if missing := [name for name in expected if name not in moments]:
        raise PrecisionError(
            f"calibration saw no input of {missing[0]}, which is not called as a layer: take a "
            "format without gptq-, awq- or smooth-"
        )
    return moments


def _adder(moments: dict[str, InputMoments], weight: Weight) -> Callable[[nn.Module, Any], None]:
    def add(module: nn.Module, arguments: Any) -> None:
        x_nri = layer_inputs(module, arguments[0].detach())
        if weight.name not in moments:
            n, _, i = x_nri.shape
            moments[weight.name] = InputMoments.zeros(n, i, x_nri.device)
        moments[weight.name].update(x_nri)

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
