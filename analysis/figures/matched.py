"""The figure of levels at equal training loss: a panel a metric, a row a level."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import columns_of_rows
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis
from analysis.findings.changes import CHANGED
from study.columns import in_words, label

LOG10 = "log10"


def matched_figure(lines: pl.DataFrame) -> Figure:
    """Difference and interval of each level, each metric on an axis of its own.

    `lines` are of `MatchedContrast`, at least one, all with an estimate. A dot is filled where the
    verdict is that the level differs.
    """
    lines = lines.with_columns(label=pl.col("level") + " (" + pl.col("group") + ")")
    labels = lines["label"].unique(maintain_order=True).to_list()
    metrics = lines["metric"].unique(maintain_order=True).to_list()
    units = [
        "log10 of the ratio"
        if lines.filter(pl.col("metric") == metric)["scale"][0] == LOG10
        else "difference"
        for metric in metrics
    ]
    with styled():
        figure, panels = columns_of_rows(
            [in_words(name) for name in labels],
            [f"{label(metric)}, {unit}" for metric, unit in zip(metrics, units, strict=True)],
            wide=5.2 if len(metrics) == 1 else 2.3,
            high=0.24,
        )
        for panel, metric in zip(panels, metrics, strict=True):
            for line in lines.filter(pl.col("metric") == metric).to_dicts():
                row, filled = labels.index(line["label"]), line["verdict"] == CHANGED
                if line["low"] is not None and line["high"] is not None:
                    panel.plot(
                        [line["low"], line["high"]], [row, row], color=OKABE_ITO[0], linewidth=1.2
                    )
                panel.plot(
                    line["estimate"],
                    row,
                    marker="o",
                    markersize=4.5,
                    color=OKABE_ITO[0],
                    markerfacecolor=OKABE_ITO[0] if filled else "none",
                )
            panel.axvline(0, color="#333333", linewidth=0.8)
            linear_axis(panel, "x")
    return figure
