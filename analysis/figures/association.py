"""Figures of associations: response against metric, and what each control leaves."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import KEY_HEIGHT, MARKERS, OKABE_ITO, Colours
from analysis.figures.drawing import STYLE, dots, label, panels, rows_of, share_y
from analysis.figures.ticks import log_axis, plain_ticks, spans_decades
from analysis.reading.table import Roles


def scatter(
    rows: pl.DataFrame,
    roles: Roles,
    lines: pl.DataFrame,
    metrics: Sequence[str],
    *,
    colour: str | None,
) -> Figure:
    """The response against each metric, one panel each.

    A title has R^2 and r of `lines`, a table of associations.

    Colours are an axis of the grid, normally a size. A metric whose line has no r is left out.
    """
    known = {(line["metric"], line["scale"], line["given"]): line for line in lines.to_dicts()}
    shown = [name for name in metrics if known.get((name, "raw", ""), {}).get("r") is not None]
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour)
        figure, axes = panels(
            len(shown), label(roles.response), above=KEY_HEIGHT if colours else 0.1
        )
        for axis, name in zip(axes, shown, strict=True):
            complete = rows.drop_nulls([name, roles.response])
            values = complete[colours.axis].to_list() if colours.axis else [None] * len(complete)
            dots(axis, complete.select(name, roles.response).to_numpy(), colours.of(values))
            line = known[name, "raw", ""]
            log = known.get((name, "log10", "")) or known.get((f"{name}_log10", "raw", ""))
            title = f"R² {line['r2']:.3f}, r {line['r']:+.2f}, n {line['n']}"
            if log is not None and log["r"] is not None:
                title += f"\nof log: R² {log['r2']:.3f}, r {log['r']:+.2f}"
            if log is not None and spans_decades(complete[name].to_numpy(), 5):
                log_axis(axis, "x", complete[name].to_numpy())
            else:
                plain_ticks(axis)
            axis.set_title(title.replace("-", "−"))
            axis.set_xlabel(label(name))
        share_y(axes)
        colours.key(figure)
    return figure


def controls(shown: pl.DataFrame) -> Figure:
    """Signed r of each metric under each control, one row per metric.

    As it is, given the axes, within and between architectures.

    `shown`: at least one line, all with an r and not given another metric.
    """
    kinds = (
        ("r", "as it is"),
        ("partial_r", "given the axes"),
        ("within_r", "within architectures"),
        ("between_r", "between architectures"),
    )
    names = shown["metric"].to_list()
    with mpl.rc_context(STYLE):
        figure, axis = rows_of(names, wide=5.2, below=0.85)
        rows = np.arange(len(names))
        for offset, (column, text) in enumerate(kinds):
            if shown[column].null_count() == len(shown):
                continue
            axis.scatter(
                shown[column],
                rows + 0.15 * (offset - 1.5),
                s=24,
                marker=MARKERS[offset],
                color=OKABE_ITO[offset],
                label=text,
            )
        axis.axvline(0, color="#333333", linewidth=0.8)
        axis.set(xlim=(-1.05, 1.05), xlabel="correlation with the response")
        figure.legend(loc="lower center", ncol=4, frameon=False)
    return figure
