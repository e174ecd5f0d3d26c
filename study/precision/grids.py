"""The grid of integers of a matrix: a scale and a zero point for each weight.

Shapes: o output channels (rows), i weights of a channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from study.precision.names import Precision


@dataclass(frozen=True)
class Grid:
    """Values (q - zero) scale with integers q from `low` to `high`.

    `scale` and `zero` broadcast with the weights; a scale is that of a block of them.
    """

    scale: Tensor
    zero: Tensor
    low: int
    high: int

    @classmethod
    def of(cls, weight_oi: Tensor, precision: Precision) -> Grid:
        """The grid of nearest integers that `round_weight` uses for an integer format."""
        from study.precision import ao

        o, i = weight_oi.shape
        low, high = integer_range(precision)
        # Where no row is longer than one weight, torchao takes one scale for all rows.
        matrix = F.pad(weight_oi, (0, 1)) if i == 1 else weight_oi
        size = block_size(matrix.shape[1], precision)
        scale, zero = ao.choose_qparams_affine(
            matrix,
            ao.MappingType.SYMMETRIC if precision.symmetric else ao.MappingType.ASYMMETRIC,
            tuple(matrix.shape) if precision.granularity == "tensor" else (1, size),
            target_dtype=torch.int8,
            quant_min=low,
            quant_max=high,
            zero_point_dtype=torch.int8,
        )
        if precision.granularity == "tensor":
            return cls(scale.expand(o, i), zero.expand(o, i), low, high)
        scale, zero = scale.view(o, -1), zero.view(o, -1)
        return cls(
            scale.repeat_interleave(size, 1)[:, :i],
            zero.repeat_interleave(size, 1)[:, :i],
            low,
            high,
        )

    def integers(self, weights: Tensor) -> Tensor:
        """The nearest integers q, as floats."""
        return (weights * (1 / self.scale)).round_().add(self.zero).clamp_(self.low, self.high)

    def values(self, integers: Tensor) -> Tensor:
        """The values of integers, in the dtype of the scales."""
        return (integers - self.zero).to(self.scale.dtype) * self.scale

    def round(self, weights: Tensor) -> Tensor:
        """The nearest values."""
        return self.values(self.integers(weights))

    def columns(self, start: int, end: int) -> Grid:
        """The grid of some columns."""
        return Grid(self.scale[:, start:end], self.zero[:, start:end], self.low, self.high)


def integer_range(precision: Precision) -> tuple[int, int]:
    """The least and the largest integer of a format."""
    return -(2 ** (precision.bits - 1)), 2 ** (precision.bits - 1) - 1


def block_size(i: int, precision: Precision) -> int:
    """How many weights of a row share a scale (all of a tensor: all rows as well)."""
    return i if precision.group is None else precision.group
