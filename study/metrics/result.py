"""What a metric computation returns.

Values by column, and for every undefined column the reason.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROUNDING = 4 * torch.finfo(torch.float64).eps
"""Relative size below which a float64 difference is only rounding."""


class CollapseMetrics(dict[str, float | None]):
    """Values by column.

    None where the metric does not exist for the data, with the reason in `reasons[column]`.

    A value is always finite: a NaN or an infinity that arises all the same (finite data beyond the
    range of float64) is recorded as undefined, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, str] = {}

    def put(self, column: str, value: float | Tensor) -> None:
        """Record a value. Integers stay integers."""
        number = value.item() if isinstance(value, Tensor) else value
        if math.isfinite(number):
            self[column] = number
        else:
            self.undefine(
                "the value is beyond the range of float64: the features or weights are too large "
                "or too small",
                column,
            )

    def undefine(self, reason: str, *columns: str) -> None:
        """Record that columns do not exist for the data at hand, and why."""
        for column in columns:
            self[column] = None
            self.reasons[column] = reason

    def put_ratio(
        self, column: str, numerator: Tensor, denominator: Tensor, zero: float, reason: str
    ) -> None:
        """Record numerator / denominator, or `reason` where that is at most `zero`."""
        if float(denominator) <= zero:
            self.undefine(reason, column)
        else:
            self.put(column, numerator / denominator)


def mean_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of all entries, in two passes."""
    mean = values.mean()
    return mean, (values - mean).square().mean().sqrt()
