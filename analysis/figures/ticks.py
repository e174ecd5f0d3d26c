"""Scales and ticks of axes, whose labels have the room that they need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures.lettering import power_of_ten, width_of
from analysis.figures.sheets import sheet

Side = Literal["x", "y"]
BETWEEN = 0.08  # inches between two tick labels
BEYOND = 0.15  # inches that a tick label may reach beyond the ends of its axis
STEPS = (1, 2, 2.5, 5, 10)
MOST = {"x": 4, "y": 5}  # intervals of an axis
MARGIN = 0.06  # share of the levels of an axis that is free beside the outermost
LEVELS = 10  # of a setting, up to which each can be a tick
LABEL = 0.4  # inches of a label of a y axis
UP = 0.25  # inches of a y axis that an interval needs at least


class Roomy(MaxNLocator):
    """Round ticks, as many as have room for their labels along so many inches."""

    def __init__(self, inches: float, *, integer: bool = False) -> None:
        super().__init__(nbins=MOST["x"], steps=STEPS, integer=integer)
        self._inches, self._size = inches, sheet().size

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """The most ticks whose labels fit, without those at the ends that do not."""
        best: list[float] = []
        for intervals in range(MOST["x"], 0, -1):
            self.set_params(nbins=intervals)
            ticks = [tick for tick in super().tick_values(vmin, vmax) if vmin <= tick <= vmax]
            places = [self._inches * (tick - vmin) / (vmax - vmin) for tick in ticks]
            inside = _inside(ticks, places, self._inches, self._size)
            if len(inside) > len(best) and labels_fit(
                [ticks[at] for at in inside], [places[at] for at in inside], self._size
            ):
                best = [ticks[at] for at in inside]
        return best


class Narrow(MaxNLocator):
    """Round ticks up an axis, fewer where their labels would be too wide."""

    def __init__(self, most: int, *, integer: bool = False) -> None:
        super().__init__(nbins=most, steps=STEPS, integer=integer)
        self._most, self._size = most, sheet().size

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """The most ticks whose labels fit, else those with the narrowest labels."""
        choices: dict[float, list[float]] = {}
        for intervals in range(self._most, 0, -1):
            self.set_params(nbins=intervals)
            ticks = [tick for tick in super().tick_values(vmin, vmax) if vmin <= tick <= vmax]
            if ticks:
                width = max(width_of(plain(tick), self._size) for tick in ticks)
                choices.setdefault(max(width, LABEL), ticks)
        return choices[min(choices)] if choices else [vmin]


def _inside(
    ticks: Sequence[float], places: Sequence[float], inches: float, size: float
) -> list[int]:
    """Ticks whose labels stay within `BEYOND` of the ends of the axis."""
    halves = [width_of(plain(tick), size) / 2 for tick in ticks]
    return [
        at
        for at, (place, half) in enumerate(zip(places, halves, strict=True))
        if place - half >= -BEYOND and place + half <= inches + BEYOND
    ]


def labels_fit(ticks: Sequence[float], places: Sequence[float], size: float) -> bool:
    """Whether the labels of ticks at ascending places, in inches, lie apart."""
    widths = [width_of(plain(tick), size) for tick in ticks]
    pairs = zip(pairwise(places), pairwise(widths), strict=True)
    return all(right - left >= (one + other) / 2 + BETWEEN for (left, right), (one, other) in pairs)


def length_of(axis: Axes, which: Side) -> float:
    """Inches of an axis."""
    figure, box = axis.get_figure(root=True), axis.get_position()
    assert figure is not None
    width, height = figure.get_size_inches()
    return float(box.width * width if which == "x" else box.height * height)


def linear_axis(axis: Axes, which: Side, *, integer: bool = False) -> None:
    """A few ticks with whole values: no offset or power of ten set apart."""
    of_axis = axis.xaxis if which == "x" else axis.yaxis
    if which == "x":
        of_axis.set_major_locator(Roomy(length_of(axis, "x"), integer=integer))
    else:
        most = max(1, min(MOST["y"], int(length_of(axis, "y") / UP)))
        of_axis.set_major_locator(Narrow(most, integer=integer))
    of_axis.set_major_formatter(lambda value, _: plain(value))


def plain(value: float) -> str:
    """A tick label.

    >>> plain(-0.05), plain(2e-5), plain(1e9)
    ('−0.05', '2×10⁻⁵', '10⁹')
    """
    digits, _, exponent = f"{value:.6g}".replace("-", "−", 1 if value < 0 else 0).partition("e")
    if not exponent:
        return digits
    power = power_of_ten(int(exponent))
    return f"{digits.removesuffix('1')}{power}" if digits in ("1", "−1") else f"{digits}×{power}"


def log_axis(axis: Axes, which: Side, values: Sequence[float] | np.ndarray[Any, Any]) -> None:
    """A logarithmic axis for positive values, with a few round ticks."""
    low, high, inches = float(np.min(values)), float(np.max(values)), length_of(axis, which)
    ticks: list[float] = []
    for most in range(MOST[which], 0, -1):
        ticks = log_ticks(low, high, most)
        if which == "y" and most * UP <= inches + UP:
            break
        length = math.log10(high / low) or 1.0
        places = [inches * math.log10(tick / low) / length / 1.1 for tick in ticks]
        if which == "x" and labels_fit(ticks, places, sheet().size):
            break
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


def level_axis(axis: Axes, levels: Sequence[float], *, log: bool) -> None:
    """An x axis whose ticks are the levels of a setting, as many as have room.

    Of more than `LEVELS` they are round numbers.
    """
    if len(levels) > LEVELS:
        if log:
            log_axis(axis, "x", levels)
        else:
            linear_axis(axis, "x")
        return
    if log:
        axis.set_xscale("log")
    low, high = float(min(levels)), float(max(levels))
    room = MARGIN * (math.log(high / low) if log else high - low) or 1.0
    axis.set_xlim(
        *((low / math.exp(room), high * math.exp(room)) if log else (low - room, high + room))
    )
    inches = length_of(axis, "x") / (1 + 2 * MARGIN)
    widest = max(width_of(plain(level), sheet().size) for level in levels)
    ticks = apart(levels, log=log, least=(widest + BETWEEN) / inches)
    axis.set_xticks(ticks, labels=[plain(tick) for tick in ticks])
    axis.minorticks_off()
    last = width_of(plain(ticks[-1]), sheet().size)
    if len(ticks) > 1 and last / 2 > BEYOND + MARGIN * inches:  # it could leave the figure
        axis.get_xticklabels()[-1].set_horizontalalignment("right")


def with_room(axis: Axes, ticks: Sequence[float]) -> list[float]:
    """The last tick of an x axis with limits, and those before that have room."""
    points = [(tick, 0.0) for tick in ticks]
    shares = (axis.transScale + axis.transLimits).transform(points)[:, 0]
    places = list(length_of(axis, "x") * shares)
    kept = [len(ticks) - 1]
    for at in range(len(ticks) - 2, -1, -1):
        pair = [at, kept[0]]
        if labels_fit([ticks[n] for n in pair], [places[n] for n in pair], sheet().size):
            kept.insert(0, at)
    return [ticks[at] for at in kept]


def signed_axis(axis: Axes, which: Side, values: Sequence[float], linear: float) -> None:
    """A logarithmic axis for values of both signs, linear within `linear` of zero.

    The label says so, where it has one.
    """
    least, most = min(0.0, *values), max(0.0, *values)
    low = 1.5 * least if least < -linear else -linear
    high = 1.5 * most if most > linear else linear
    getattr(axis, f"set_{which}scale")("symlog", linthresh=linear)
    getattr(axis, f"set_{which}lim")(low, high)
    ticks = next(
        ticks
        for room in (4, 3, 2, 1)
        if _have_room(axis, which, ticks := signed_ticks(values, linear, room)) or room == 1
    )
    of_axis = axis.xaxis if which == "x" else axis.yaxis
    of_axis.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
    axis.minorticks_off()


def beyond(linear: float) -> str:
    """What the label of such an axis adds: `logarithmic beyond ±0.01`."""
    return f"logarithmic beyond ±{plain(float(f'{linear:.0e}'))}"


def signed_ticks(values: Sequence[float], linear: float, most: int) -> list[float]:
    """Zero, and about `most` round numbers on both sides of it."""
    ticks = [0.0]
    decades = {
        sign: math.log10(max(1.0, *(sign * value / linear for value in values))) for sign in (-1, 1)
    }
    for sign, length in decades.items():
        if length > 0.5:  # else its labels would touch the zero
            room = max(1, round(most * length / sum(decades.values())))
            ticks += [sign * tick for tick in log_ticks(3 * linear, linear * 10**length, room)]
    return sorted(ticks)


def _have_room(axis: Axes, which: Side, ticks: Sequence[float]) -> bool:
    """Whether the labels of ascending ticks lie apart on an axis whose limits are set."""
    place = 0 if which == "x" else 1
    points = [(tick, 0) if which == "x" else (0, tick) for tick in ticks]
    shares = (axis.transScale + axis.transLimits).transform(points)[:, place]
    inches = list(length_of(axis, which) * shares)
    if which == "x":
        return labels_fit(ticks, inches, sheet().size)
    return all(right - left >= UP * 0.8 for left, right in pairwise(inches))


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
