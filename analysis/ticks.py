"""Scales and ticks of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes


def plain_ticks(axis: Axes) -> None:
    """A few ticks along x, each with its whole value: no offset or power of ten set apart."""
    axis.locator_params(axis="x", nbins=4)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.6g}".replace("-", "−"))


def spans_decades(values: Sequence[float] | np.ndarray[Any, Any], factor: float = 30.0) -> bool:
    """Whether a logarithmic axis reads better: all positive, the largest more than `factor` times the least."""
    found = np.asarray(values, dtype=np.float64)
    return bool(found.size) and float(found.min()) > 0 and float(found.max()) > factor * float(found.min())


def apart(ticks: Sequence[float], *, log: bool, least: float = 0.13) -> list[float]:
    """The ticks whose labels have room: first and last, and of the others those `least` of the axis from the next."""
    places = np.log(ticks) if log else np.asarray(ticks, dtype=np.float64)
    room = least * (places[-1] - places[0])
    kept = [0]
    for number in range(1, len(ticks) - 1):
        if places[number] - places[kept[-1]] >= room and places[-1] - places[number] >= room:
            kept.append(number)
    return [ticks[number] for number in dict.fromkeys([*kept, len(ticks) - 1])]
