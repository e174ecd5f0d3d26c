"""Forest plots: estimates with their intervals, one row each, panel beside panel."""

from __future__ import annotations

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import STYLE, columns_of_rows

LABELLED = 7  # panels that stand side by side at most
WIDE_PANELS = 3  # panels up to which a title has one line
ROW, DENSE_ROW = 0.3, 0.19  # inches of a row, of one among many
MANY = 12  # rows from which they are dense


def forest(lines: pl.DataFrame, *, xlabel: str, whole: bool = False) -> Figure:
    """One panel for each `panel`, one row for each `label`, in order of appearance.

    `lines` has at least one line of the columns panel, label, estimate, low, high, solid (whether
    the dot is filled) and summary (whether it is a diamond, such as a pooled estimate). The axis
    of correlations is `whole`, -1 to 1; others reach as far as the intervals.
    """
    panels = lines["panel"].unique(maintain_order=True).to_list()
    labels = lines["label"].unique(maintain_order=True).to_list()
    ends = [lines[name].abs().max() for name in ("estimate", "low", "high")]
    reach = 1.05 if whole else 1.08 * max(float(str(end)) for end in ends if end is not None)
    across = min(len(panels), LABELLED)
    with mpl.rc_context(STYLE):
        figure, axes = columns_of_rows(
            labels,
            across,
            wide=min(5.2, (6.9 - 0.15 * (across - 1)) / across),
            above=0.3 if across <= WIDE_PANELS else 0.45,
            below=0.62,
            high=ROW if len(labels) < MANY else DENSE_ROW,
        )
        for axis, panel in zip(axes, panels, strict=False):
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
                axis.locator_params(axis="x", nbins=5)
            if len(panels) > 1:
                narrow = across > WIDE_PANELS
                axis.set_title(
                    _in_two_lines(panel) if narrow else panel, fontsize=7.5 if narrow else 9
                )
        begin, end = axes[0].get_position().x0, axes[-1].get_position().x1
        figure.text((begin + end) / 2, 0.1 / figure.get_size_inches()[1], xlabel, ha="center")
    return figure


def _in_two_lines(name: str) -> str:
    """A name broken after the underscore that is nearest to its middle."""
    places = [at + 1 for at, letter in enumerate(name) if letter == "_"]
    if not places:
        return name
    middle = min(places, key=lambda at: abs(2 * at - len(name)))
    return f"{name[:middle]}\n{name[middle:]}"
