"""Figures of methods of quantization: what each recovers, and which layers hurt."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import columns_of_rows, rows_of
from analysis.figures.key import Entry, Group
from analysis.figures.looks import looks_of_names
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis, signed_axis
from study.columns import label

WIDE = 3.4
"""Inches of a panel across."""


def methods_by_format(lines: pl.DataFrame, response: str) -> Figure:
    """Change of the response by method, a row for each format.

    `lines` are those of `methods`; one panel for each kind of model. Medians, with lines from the
    least to the largest. The axis is linear near zero and logarithmic beyond.
    """
    models = lines["model"].unique(maintain_order=True).to_list()
    names = lines["method"].unique(maintain_order=True).to_list()
    formats = lines["format"].unique(maintain_order=True).to_list()
    looks = looks_of_names(names)
    entries = [Entry(name, *look) for name, look in looks.items()]
    with styled():
        key = [Group("", entries)]
        figure, axes = columns_of_rows(
            formats,
            models,
            wide=WIDE,
            xlabel=f"change of {label(response)}; linear near zero, logarithmic beyond",
            key=key,
            high=0.5,
        )
        for axis, model in zip(axes, models, strict=True):
            part = lines.filter(pl.col("model") == model)
            for place, (name, (colour, marker)) in enumerate(looks.items()):
                own = part.filter(pl.col("method") == name)
                offset = 0.7 * ((place + 0.5) / len(names) - 0.5)
                heights = [formats.index(each) + offset for each in own["format"]]
                axis.hlines(heights, own["least"], own["largest"], color=colour, linewidth=0.8)
                axis.scatter(own["change"], heights, s=24, marker=marker, color=colour)
            axis.axvline(0, color="#333333", linewidth=0.8)
            reached = [*part["least"].drop_nulls(), *part["largest"].drop_nulls()]
            largest = max(map(abs, reached), default=0.0)
            if largest > 0:
                signed_axis(axis, "x", reached, largest / 100)
    return figure


def damage_by_layer(lines: pl.DataFrame, response: str) -> Figure:
    """Change of the response where one part of the model alone is rounded.

    `lines` are those of `scopes`. Thin lines reach from the least to the largest, thick ones over
    the 95% interval.
    """
    names = [
        " ".join(part for part in (row["model"], f"{row['format']}/{row['scope']}") if part)
        for row in lines.to_dicts()
    ]
    marks = [Entry("the whole model", OKABE_ITO[0], "o"), Entry("a part", OKABE_ITO[1], "o")]
    with styled():
        key = [Group("", marks)]
        figure, axis = rows_of(names, wide=4.2, xlabel=f"change of {label(response)}", key=key)
        for height, row in enumerate(lines.to_dicts()):
            colour = OKABE_ITO[0] if row["scope"] == "all" else OKABE_ITO[1]
            axis.plot([row["least"], row["largest"]], [height] * 2, color=colour, linewidth=0.8)
            if row["low"] is not None and row["high"] is not None:
                axis.plot([row["low"], row["high"]], [height] * 2, color=colour, linewidth=2.0)
            axis.plot(row["change"], height, marker="o", color=colour, markersize=5)
        axis.axvline(0, color="#333333", linewidth=0.8)
        linear_axis(axis, "x")
    return figure
