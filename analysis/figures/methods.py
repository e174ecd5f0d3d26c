"""Figures of methods of quantization: what each recovers, and which layers hurt."""

from __future__ import annotations

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import MARKERS, OKABE_ITO
from analysis.figures.drawing import STYLE, columns_of_rows, label, rows_of
from analysis.figures.precision import both_signs

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
    with mpl.rc_context(STYLE):
        figure, axes = columns_of_rows(
            formats,
            len(models),
            wide=WIDE,
            above=0.4 + 0.2 * -(-len(names) // 6),
            below=0.8,
            high=0.5,
        )
        for axis, model in zip(axes, models, strict=True):
            part = lines.filter(pl.col("model") == model)
            for place, name in enumerate(names):
                own = part.filter(pl.col("method") == name)
                offset = 0.7 * ((place + 0.5) / len(names) - 0.5)
                colour = OKABE_ITO[(place + place // len(OKABE_ITO)) % len(OKABE_ITO)]
                heights = [formats.index(each) + offset for each in own["format"]]
                axis.hlines(heights, own["least"], own["largest"], color=colour, linewidth=0.8)
                axis.scatter(
                    own["change"],
                    heights,
                    s=24,
                    marker=MARKERS[place % len(MARKERS)],
                    color=colour,
                    label=name,
                )
            axis.axvline(0, color="#333333", linewidth=0.8)
            reached = [*part["least"].drop_nulls(), *part["largest"].drop_nulls()]
            largest = max(map(abs, reached), default=0.0)
            axis.set_title(model, loc="left")
            axis.set_xlabel(f"change of {label(response)}")
            if largest > 0:
                both_signs(axis, reached, largest / 100, WIDE)
        handles, texts = axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="upper left", ncol=6, frameon=False)
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
    with mpl.rc_context(STYLE):
        figure, axis = rows_of(names, wide=4.2, below=0.6)
        for height, row in enumerate(lines.to_dicts()):
            colour = OKABE_ITO[0] if row["scope"] == "all" else OKABE_ITO[1]
            axis.plot([row["least"], row["largest"]], [height] * 2, color=colour, linewidth=0.8)
            if row["low"] is not None and row["high"] is not None:
                axis.plot([row["low"], row["high"]], [height] * 2, color=colour, linewidth=2.0)
            axis.plot(row["change"], height, marker="o", color=colour, markersize=5)
        axis.axvline(0, color="#333333", linewidth=0.8)
        axis.set_xlabel(f"change of {label(response)}")
    return figure
