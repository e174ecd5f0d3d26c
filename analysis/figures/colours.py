"""Colours of points and lines by one setting, told apart by any eye.

Viridis for numbers, Okabe & Ito 2008 for names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, LogNorm, Normalize

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#A8901E")
"""The eighth is their yellow, darkened: it could not be seen on white."""
# The middle of viridis: its ends vanish on a white page, or on a dark one, where the page inverts
# its figures.
SIZES = ListedColormap(colormaps["viridis"](np.linspace(0.08, 0.68, 256)), name="sizes")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FEW = 6  # numbers that are told one by one; more are a bar
UNKNOWN = "#999999"  # of a setting that a row lacks


class Colours:
    """The colour of each value of `axis` in `rows`.

    One colour for all where the axis is None or does not vary.
    """

    def __init__(self, rows: pl.DataFrame, axis: str | None) -> None:
        self.axis = axis if axis is not None and rows[axis].n_unique() > 1 else None
        self.values: list[Any] = (
            [] if self.axis is None else rows[self.axis].unique().drop_nulls().sort().to_list()
        )
        self.norm: Normalize | None = None
        if self.axis is not None and len(self.values) > 1 and rows[self.axis].dtype.is_numeric():
            self.norm = norm_of(float(self.values[0]), float(self.values[-1]), 3)

    def __bool__(self) -> bool:
        return self.axis is not None

    def of(self, value: Any) -> Any:
        """The colour of a value."""
        if self.axis is None:
            return OKABE_ITO[0]
        if value is None:
            return UNKNOWN
        if self.norm is not None:
            return SIZES(float(self.norm(float(value))))
        place = self.values.index(value)
        if len(self.values) <= len(OKABE_ITO):
            return OKABE_ITO[place]
        return SIZES(place / (len(self.values) - 1))


def norm_of(low: float, high: float, factor: float) -> Normalize:
    """Colours in equal ratios where all are positive and span more than `factor`."""
    return (LogNorm if low > 0 and high > factor * low else Normalize)(low, high)
