"""Which training each point of a figure is, and where on the figure it lies."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

FULL = 65_534
"""The far edge of a figure: positions are whole numbers of 16 bits."""
MISSING = 65_535
"""In place of a point that its panel does not show."""


@dataclass(frozen=True)
class Marks:
    """Points of a figure; its panels show the same trainings in one order.

    `panels` has the axes and the points (n, 2) in data coordinates, NaN where a value lacks;
    `trainings`, `colours` and `notes` (which may be none) have one entry a point.
    """

    trainings: Sequence[Any]
    colours: Sequence[Any]
    panels: Sequence[tuple[Axes, np.ndarray[Any, Any]]]
    notes: Sequence[str] = ()

    def placed(self, numbers: dict[Any, int]) -> dict[str, Any]:
        """As plain values: each training by its number, positions as base64.

        A panel's `at` holds x and y of each point in turn, as `places` has them; its `box` the
        left, top, right and bottom of the axes, in shares of the figure.
        """
        return {
            "trainings": [numbers[name] for name in self.trainings],
            "colours": [to_hex(colour) for colour in self.colours],
            "notes": list(self.notes),
            "panels": [
                {
                    "box": [round(float(edge), 5) for edge in _box(axis)],
                    "at": base64.b64encode(places(axis, points).tobytes()).decode("ascii"),
                }
                for axis, points in self.panels
            ],
        }


def places(axis: Axes, points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where points (n, 2) lie on the figure: (n, 2) whole numbers, little-endian.

    0 to `FULL` from the left and from the top; `MISSING` for points beyond the axes.
    """
    # Limits are settled when they are asked for, and the transform is that of the former ones.
    axis.get_xlim()
    axis.get_ylim()
    figure = axis.get_figure(root=True)
    assert figure is not None
    shares = figure.transFigure.inverted().transform(axis.transData.transform(points))
    shares = np.column_stack([shares[:, 0], 1 - shares[:, 1]])
    left, top, right, bottom = _box(axis)
    slack = 1e-9
    with np.errstate(invalid="ignore"):
        inside = (shares >= [left - slack, top - slack]) & (
            shares <= [right + slack, bottom + slack]
        )
    known = inside.all(axis=1)
    numbers = np.full(shares.shape, MISSING, dtype="<u2")
    numbers[known] = np.rint(shares[known] * FULL)
    return numbers


def _box(axis: Axes) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of axes, in shares of the figure from its top left."""
    box = axis.get_position()
    return box.x0, 1 - box.y1, box.x1, 1 - box.y0
