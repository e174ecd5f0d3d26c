"""Figure of the collapse of targets over training, by precision."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.curves import along
from analysis.figures.drawing import panels, scale_y
from analysis.figures.key import Entry, Group
from analysis.figures.looks import looks_of_names
from analysis.figures.sheets import styled
from study.columns import label


def over_training(
    rows: pl.DataFrame, order: str, precision: str, names: Sequence[str], columns: Sequence[str]
) -> Figure:
    """A panel a column: its median at each checkpoint, a line a precision.

    Bands reach from the lower to the upper quartile of the trainings. `rows` have one training at
    one checkpoint and precision each, `names` are the precisions in the order of the key.
    """
    looks = looks_of_names(names)
    key = [Group("", [Entry(name, *look) for name, look in looks.items()])]
    with styled():
        titles = [label(column) for column in columns]
        figure, axes = panels(len(columns), titles=titles, xlabels=label(order), key=key)
        for axis, column in zip(axes, columns, strict=True):
            value = pl.col(column).cast(pl.Float64)
            reached = []
            # The reference, which fine precisions hardly differ from, is drawn over them.
            for name, (colour, marker) in reversed(list(looks.items())):
                course = (
                    rows.filter(pl.col(precision) == name)
                    .drop_nulls(column)
                    .group_by(order)
                    .agg(value.median(), low=value.quantile(0.25), high=value.quantile(0.75))
                    .sort(order)
                )
                at = course[order].to_numpy()
                low, high = course["low"].to_numpy(), course["high"].to_numpy()
                axis.fill_between(at, low, high, color=colour, alpha=0.1, linewidth=0)
                axis.plot(at, course[column], color=colour, marker=marker, markersize=3)
                reached.append(course[column])
            scale_y(axis, pl.concat(reached))
            longest = rows[order].cast(pl.Float64).max()
            along(axis, longest if isinstance(longest, float) else 0.0)
    return figure
