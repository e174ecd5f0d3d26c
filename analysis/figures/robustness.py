"""The figure of attacks: accuracy with and without one, by precision."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.drawing import intervals, panels, share_y
from analysis.figures.key import Entry, Group
from analysis.figures.looks import looks_of_names
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis

TITLES = {"clean": "clean samples", "robust": "under attack"}
APART = 0.1  # of a step between precisions, by which adversaries stand apart


def accuracy_under_attack(lines: pl.DataFrame) -> Figure:
    """Panels for clean and attacked samples, a colour and marker an adversary.

    `lines` are those of `robust_lines`.
    """
    names = lines["adversary"].unique(maintain_order=True).to_list()
    levels = lines["precision"].unique(maintain_order=True).to_list()
    looks = looks_of_names(names)
    entries = [Entry(name, *look) for name, look in looks.items() if name]
    with styled():
        figure, axes = panels(
            len(TITLES),
            "accuracy",
            titles=list(TITLES.values()),
            xlabels="precision" if levels != [""] else "",
            key=[Group("adversary in training", entries)] if entries else (),
            levels=levels,
        )
        for axis, column in zip(axes, TITLES, strict=True):
            for place, (name, look) in enumerate(looks.items()):
                own = lines.filter(pl.col("adversary") == name).drop_nulls(column)
                aside = APART * (place - (len(names) - 1) / 2)
                x = [levels.index(each) + aside for each in own["precision"]]
                intervals(axis, x, own, column, (f"{column}_low", f"{column}_high"), look)
            linear_axis(axis, "y")
        share_y(axes)
    return figure
