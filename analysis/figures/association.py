"""Figures of associations: the response against each metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.drawing import dots, panels, share_y
from analysis.figures.looks import Looks
from analysis.figures.marks import Marks
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis, log_axis, spans_decades
from analysis.reading.table import Roles
from study.columns import label


def scatter(
    rows: pl.DataFrame,
    roles: Roles,
    lines: pl.DataFrame,
    metrics: Sequence[str],
    *,
    axes: Sequence[str],
) -> Figure:
    """The response against each metric, one panel each.

    A panel is titled with R^2 and r of `lines`.

    Colours are the first of `axes` that varies, markers the next. A metric whose line has no r is
    left out; one with heavy tails has a logarithmic axis.
    """
    known = {line["metric"]: line for line in lines.to_dicts() if line["estimate"] is not None}
    shown = [name for name in metrics if name in known]
    titles = [
        f"R² {line['r2']:.3f}, r {line['estimate']:+.2f}, n {line['n']}".replace("-", "−")
        for line in (known[name] for name in shown)
    ]
    with styled():
        looks = Looks(rows, axes)
        key = looks.key(lines=False)
        figure, drawn = panels(
            len(shown),
            label(roles.response),
            titles=titles,
            xlabels=[label(name) for name in shown],
            key=key,
        )
        for panel, name in zip(drawn, shown, strict=True):
            complete = rows.drop_nulls([name, roles.response])
            points, each = complete.select(name, roles.response).to_numpy(), looks.each(complete)
            dots(panel, points, [at.colour for at in each], marker=[at.marker for at in each])
            numbers = complete[name].to_numpy()
            heavy = roles.metrics[name].heavy_tailed and numbers.min() > 0
            if heavy and spans_decades(numbers, 5):
                log_axis(panel, "x", numbers)
            else:
                linear_axis(panel, "x")
            linear_axis(panel, "y")
        share_y(drawn)
        marked = [
            (panel, _points(rows, name, roles)) for panel, name in zip(drawn, shown, strict=True)
        ]
        colours = [at.colour for at in looks.each(rows)]
        figure.marks = Marks(rows[roles.unit].to_list(), colours, marked)
    return figure


def _points(rows: pl.DataFrame, name: str, roles: Roles) -> np.ndarray[Any, Any]:
    """A metric and the response of all rows, (n, 2)."""
    return rows.select(pl.col(name, roles.response).cast(pl.Float64)).to_numpy()
