"""Scales and ticks of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes


def plain_ticks(axis: Axes) -> None:
    """A few ticks along x with whole values: no offset or power of ten set apart."""
    axis.locator_params(axis="x", nbins=4)
    axis.xaxis.set_major_formatter(lambda value, _: plain(value))


def plain(value: float) -> str:
    """A tick label: `0.05`, `2e−5`."""
    return f"{value:.6g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def log_axis(
    axis: Axes, which: Literal["x", "y"], values: Sequence[float] | np.ndarray[Any, Any]
) -> None:
    """A logarithmic axis for positive values, with a few round ticks."""
    ticks = log_ticks(float(np.min(values)), float(np.max(values)), 4 if which == "x" else 5)
    of_axis = axis.xaxis if which == "x" else axis.yaxis
    axis.set(**{f"{which}scale": "log"})
    of_axis.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
    of_axis.set_ticks([], minor=True)


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers in [low, high].

    1, 2, 5 of each decade; else 1 and 3; else powers of ten, or some of these.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            tick
            for tick in (float(f"{step}e{decade}") for decade in decades for step in steps)
            if low <= tick <= high
        ]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def spans_decades(values: Sequence[float] | np.ndarray[Any, Any], factor: float = 30.0) -> bool:
    """Whether a logarithmic axis reads better.

    All values are positive, the largest more than `factor` times the least.
    """
    numbers = np.asarray(values, dtype=np.float64)
    return (
        bool(numbers.size)
        and float(numbers.min()) > 0
        and float(numbers.max()) > factor * float(numbers.min())
    )


def apart(ticks: Sequence[float], *, log: bool, least: float = 0.13) -> list[float]:
    """The ticks whose labels have room.

    These are the first, the last, and others that lie `least` of the axis from the next.
    """
    places = np.log(ticks) if log else np.asarray(ticks, dtype=np.float64)
    room = least * (places[-1] - places[0])
    positions = [0]
    for number in range(1, len(ticks) - 1):
        if places[number] - places[positions[-1]] >= room and places[-1] - places[number] >= room:
            positions.append(number)
    return [ticks[number] for number in dict.fromkeys([*positions, len(ticks) - 1])]
