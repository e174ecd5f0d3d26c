"""The figure of effects: what each axis of the grid does to each metric."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import columns_of_rows
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis
from analysis.statistics.levels import ALPHA
from study.columns import label

SUBTITLE = (
    "change from the least to the greatest value of the axis (standard deviations of the metric)"
)


def effect_figure(shown: pl.DataFrame) -> Figure:
    """Effect and interval of each axis on each metric: a column per axis.

    A dot is filled where the adjusted p is at most 5%.

    `shown`: at least one line, all with an effect.
    """
    names = shown["metric"].unique(maintain_order=True).to_list()
    axes = shown["axis"].unique(maintain_order=True).to_list()
    reach = 1.08 * max(float(shown[name].abs().max() or 0.0) for name in ("effect", "low", "high"))  # type: ignore[arg-type]
    with styled():
        figure, panels = columns_of_rows(
            [label(name) for name in names],
            [_of_axis(axis) for axis in axes],
            wide=5.2 if len(axes) == 1 else 2.3,
            xlabel=SUBTITLE,
        )
        for panel, axis in zip(panels, axes, strict=True):
            for line in shown.filter(pl.col("axis") == axis).to_dicts():
                row, sure = (
                    names.index(line["metric"]),
                    line["p_maxt"] is not None and line["p_maxt"] <= ALPHA,
                )
                if line["low"] is not None:
                    panel.plot(
                        [line["low"], line["high"]], [row, row], color=OKABE_ITO[0], linewidth=1.2
                    )
                panel.plot(
                    line["effect"],
                    row,
                    marker="o",
                    markersize=5,
                    color=OKABE_ITO[0],
                    markerfacecolor=OKABE_ITO[0] if sure else "none",
                )
            panel.axvline(0, color="#333333", linewidth=0.8)
            panel.set_xlim(-reach, reach)
            linear_axis(panel, "x")
    return figure


def _of_axis(name: str) -> str:
    """What an axis is called, which may stand as its logarithm, `log width`."""
    log, _, axis = name.rpartition(" ")
    return f"{log} {label(axis)}".strip()
