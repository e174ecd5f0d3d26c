"""Colours of points and lines by one setting, told apart by any eye.

Viridis for numbers, Okabe & Ito 2008 for names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.ticks import apart

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
# The middle of viridis: its ends vanish on a white page, or on a dark one, where the page inverts
# its figures.
SIZES = ListedColormap(colormaps["viridis"](np.linspace(0.08, 0.68, 256)), name="sizes")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FEW = 4  # numbers that are told one by one; more are a bar
KEY_HEIGHT = 0.45  # inches above the panels that the key needs


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
        if self.axis is not None and rows[self.axis].dtype.is_numeric():
            least, most = float(self.values[0]), float(self.values[-1])
            self.norm = (LogNorm if least > 0 and most > 3 * least else Normalize)(least, most)

    def __bool__(self) -> bool:
        return self.axis is not None

    def of(self, values: list[Any]) -> list[Any]:
        """A colour for each value."""
        if self.axis is None:
            return [OKABE_ITO[0]] * len(values)
        if self.norm is not None:
            return list(SIZES(self.norm(np.asarray(values, dtype=np.float64))))
        return [OKABE_ITO[self.values.index(value) % len(OKABE_ITO)] for value in values]

    def key(self, figure: Figure) -> None:
        """What the colours mean, in the strip of `KEY_HEIGHT` at the top of the figure."""
        if self.axis is None:
            return
        width, height = figure.get_size_inches()
        if self.norm is None or len(self.values) <= FEW:
            handles = [
                Line2D([], [], color=self.of([value])[0], marker="o", linestyle="")
                for value in self.values
            ]
            names = [f"{self.axis} {value}" for value in self.values]
            figure.legend(handles, names, loc="upper left", ncol=4, frameon=False)
            return
        bar = figure.add_axes(
            (0.75 / width, 1 - 0.2 / height, min(3.0, width - 2) / width, 0.1 / height)
        )
        drawn = ScalarMappable(self.norm, SIZES)
        scale = figure.colorbar(drawn, cax=bar, orientation="horizontal")
        if len(self.values) <= 8:
            shown = apart(
                [float(value) for value in self.values], log=isinstance(self.norm, LogNorm)
            )
            scale.set_ticks(shown, labels=[f"{value:g}" for value in shown])
            scale.minorticks_off()
        bar.text(1.03, 0.5, self.axis, transform=bar.transAxes, va="center")
