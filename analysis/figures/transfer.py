"""The figure of probes: how accurate they are by shots and precision."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.drawing import intervals, panels, share_y
from analysis.figures.key import Entry, Group
from analysis.figures.looks import looks_of_names
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis

TITLES = {"linear": "linear probe", "ncc": "centre probe"}
APART = 0.09  # of a step between shots, by which the precisions stand apart


def probes_by_shots(lines: pl.DataFrame) -> Figure:
    """A panel a kind of probe: accuracy by shots, a colour and marker a precision.

    `lines` are those of `probe_lines`.
    """
    kinds = lines["kind"].unique(maintain_order=True).to_list()
    names = lines["precision"].unique(maintain_order=True).to_list()
    levels = sorted(lines["shots"].unique(), key=lambda each: (each == "all", len(each), each))
    looks = looks_of_names(names)
    entries = [Entry(name, *look) for name, look in looks.items() if name]
    with styled():
        figure, axes = panels(
            len(kinds),
            "accuracy on other classes",
            titles=[TITLES[kind] for kind in kinds],
            xlabels="training samples of a class",
            key=[Group("", entries)] if entries else (),
            levels=levels,
        )
        for axis, kind in zip(axes, kinds, strict=True):
            for place, (name, look) in enumerate(looks.items()):
                own = lines.filter(pl.col("kind") == kind, pl.col("precision") == name)
                own = own.drop_nulls("accuracy")
                aside = APART * (place - (len(names) - 1) / 2)
                x = [levels.index(each) + aside for each in own["shots"]]
                intervals(axis, x, own, "accuracy", ("low", "high"), look)
            linear_axis(axis, "y")
        share_y(axes)
    return figure
