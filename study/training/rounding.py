"""Rounded weights, and inputs of layers, in the passes of a training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from study.precision import Precision
from study.precision.apply import check_takes, weight_values
from study.precision.inputs import InputRounding, StraightThrough
from study.precision.layers import Weight, covered_weights, from_matrices

T = TypeVar("T")


class Rounding:
    """Rounds the weights of a model in each pass, by what `quantize` rounds with.

    The parameters stay as they are, and get the gradient of the rounded weights unchanged (the
    straight-through estimator, Bengio et al. 2013), also where values were clamped. Inputs of the
    layers are rounded in the same way where the precision says so.

    Raises PrecisionError for a layer that cannot take the format.
    """

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        self.model, self.precision = model, precision
        self.weights = covered_weights(model, precision)
        check_takes(self.weights, precision)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained beside the model."""
        return []

    def before_update(self) -> None:
        """Called between the gradients of a step and its update."""

    def after_update(self) -> None:
        """Called after the update of a step."""

    def values(self, weight: Weight) -> Tensor:
        """The weight as the pass sees it."""
        matrices = weight_values(weight, self.precision)
        rounded = from_matrices(matrices, weight.parameter, weight.transposed)
        values: Tensor = StraightThrough.apply(weight.parameter, rounded)
        return values

    @torch.no_grad()
    def write(self) -> None:
        """Give the parameters the values that a pass sees."""
        for weight in self.weights:
            weight.parameter.copy_(self.values(weight))

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)` while the model has its rounded weights."""
        with ExitStack() as stack:
            if self.precision.activation is not None:
                for layer in {p.module for weight in self.weights for p in weight.places}:
                    hook = layer.register_forward_pre_hook(InputRounding(self.precision))
                    stack.callback(hook.remove)
            for weight in self.weights:
                stack.callback(_put, weight, weight.parameter)
                _put(weight, self.values(weight))
            return function(*arguments)


def _put(weight: Weight, values: Tensor) -> None:
    """Let all places of a weight hold these values.

    Its order among the parameters stays. `torch.func.functional_call` leaves rounded values behind
    in modules that a model holds under two names.
    """
    for place in weight.places:
        place.module._parameters[place.attribute] = values  # type: ignore[assignment]
