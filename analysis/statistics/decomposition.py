"""Spread within groups. Shapes: n rows, g groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.statistics.linear import Floats


def pooled_deviation(groups: Sequence[Floats]) -> float | None:
    """Standard deviation within groups: sqrt(squares about the group means / (n - g)).

    Groups (n_g,) without rows are passed over; None where no group has two rows.
    """
    free = sum(max(len(group) - 1, 0) for group in groups)
    if free < 1:
        return None
    squares = sum(np.square(group - group.mean()).sum() for group in groups if len(group))
    return float(np.sqrt(squares / free))
