"""The figure of levels at equal training loss: a panel a metric, a row a level."""

from __future__ import annotations

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO
from analysis.figures.drawing import STYLE, columns_of_rows
from analysis.findings.changes import CHANGED

LOG10 = "log10"


def matched_figure(lines: pl.DataFrame) -> Figure:
    """Difference and interval of each level, each metric on an axis of its own.

    `lines` are of `MatchedContrast`, at least one, all with an estimate. A dot is filled where the
    verdict is that the level differs.
    """
    lines = lines.with_columns(label=pl.col("level") + " (" + pl.col("group") + ")")
    labels = lines["label"].unique(maintain_order=True).to_list()
    metrics = lines["metric"].unique(maintain_order=True).to_list()
    with mpl.rc_context(STYLE):
        figure, panels = columns_of_rows(
            labels,
            len(metrics),
            wide=min(3.0, 6.9 / len(metrics)),
            above=0.45,
            below=0.65,
            high=0.24,
        )
        for panel, metric in zip(panels, metrics, strict=True):
            own = lines.filter(pl.col("metric") == metric)
            for line in own.to_dicts():
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
            panel.locator_params(axis="x", nbins=3)
            unit = "log10 of the ratio" if own["scale"][0] == LOG10 else "difference"
            panel.set_xlabel(unit)
            panel.set_title(metric)
    return figure
