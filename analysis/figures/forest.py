"""Forest plots: estimates with their intervals, one row each, panel beside panel."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import columns_of_rows
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis
from study.columns import in_words, label

LABELLED = 7  # panels that stand side by side at most
ROW, DENSE_ROW = 0.3, 0.19  # inches of a row, of one among many
MANY = 12  # rows from which they are dense


def forest(lines: pl.DataFrame, *, xlabel: str, whole: bool = False) -> Figure:
    """One panel for each `panel`, one row for each `label`, in order of appearance.

    `lines` has at least one line of the columns panel, label, estimate, low, high, solid (whether
    the dot is filled) and summary (whether it is a diamond, such as a pooled estimate). The axis
    of correlations is `whole`, -1 to 1; others reach as far as the intervals.
    """
    panels = lines["panel"].unique(maintain_order=True).to_list()[:LABELLED]
    labels = lines["label"].unique(maintain_order=True).to_list()
    ends = [lines[name].abs().max() for name in ("estimate", "low", "high")]
    reach = 1.05 if whole else 1.08 * max(float(str(end)) for end in ends if end is not None)
    with styled():
        figure, axes = columns_of_rows(
            [in_words(name) for name in labels],
            [label(panel) for panel in panels] if len(panels) > 1 else [""],
            wide=5.2 if len(panels) == 1 else 2.0,
            xlabel=xlabel,
            high=ROW if len(labels) < MANY else DENSE_ROW,
        )
        for axis, panel in zip(axes, panels, strict=True):
            for line in lines.filter(pl.col("panel") == panel).to_dicts():
                row, colour = labels.index(line["label"]), OKABE_ITO[int(line["summary"])]
                if line["low"] is not None:
                    axis.plot([line["low"], line["high"]], [row, row], color=colour, linewidth=1.2)
                axis.plot(
                    line["estimate"],
                    row,
                    marker="D" if line["summary"] else "o",
                    markersize=4.5,
                    color=colour,
                    markerfacecolor=colour if line["solid"] else "none",
                )
            axis.axvline(0, color="#333333", linewidth=0.8)
            axis.set_xlim(-reach, reach)
            if whole:  # labels of more ticks would touch those of the next panel
                axis.set_xticks([-1, 0, 1])
                axis.set_xticks([-0.5, 0.5], minor=True)
            else:
                linear_axis(axis, "x")
    return figure
