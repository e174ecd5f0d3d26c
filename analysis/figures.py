"""Figures of the report, drawn with matplotlib's object interface (no global state) and returned as figures.

Colours are those of Okabe & Ito 2008 (categories) and viridis (sizes): told apart with any colour vision.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from analysis.roles import Roles

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
RASTER_ABOVE = 2_000
STYLE: Any = {
    "svg.hashsalt": "collapse-study",  # the same numbers give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
}
UNITS = {
    "val_loss": "validation loss (nats per sample)",
    "train_loss": "training loss (nats per sample)",
    "generalization_gap": "generalization gap (nats per sample)",
    "val_accuracy": "validation accuracy (share)",
    "train_accuracy": "training accuracy (share)",
    "perplexity": "perplexity",
}
FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True)
class FigureExhibit:
    """A figure of the report. `caption` says which rows and how many trainings it shows."""

    name: str
    title: str
    caption: str
    figure: Figure

    @cached_property
    def svg(self) -> str:
        """The svg element alone, for inlining and for the file."""
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
        content = buffer.getvalue()
        return content[content.index("<svg") :]

    def write(self, folder: Path, formats: tuple[str, ...]) -> None:
        """NAME.svg, NAME.png, NAME.pdf in `folder`, as asked for."""
        for kind in formats:
            path = folder / f"{self.name}.{kind}"
            if kind == "svg":
                path.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + self.svg, encoding="utf-8")
            else:
                metadata = {"CreationDate": None} if kind == "pdf" else {}
                with mpl.rc_context(STYLE):
                    self.figure.savefig(path, dpi=200, metadata=metadata)


def label(column: str) -> str:
    """Axis label of a column, with its unit where it has one."""
    return UNITS.get(column, column)


def plain_ticks(axis: Axes) -> None:
    """A few ticks along x, each with its whole value: no offset or power of ten set apart."""
    axis.locator_params(axis="x", nbins=4)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.6g}".replace("-", "−"))


def panels(count: int, ylabel: str, *, above: float = 0.1, titled: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, four across, that share their y axis; sizes in inches, `above` free at the top.

    Fixed sizes, not a layout engine: that takes seconds for forty panels.
    """
    across, down = min(4, max(count, 1)), max(1, math.ceil(count / 4))
    left, right, wide, gap = 0.75, 0.15, 2.15, 0.22
    high, bottom, title = 1.75, 0.5, 0.4 if titled else 0.05
    between = bottom + title
    width = left + across * wide + (across - 1) * gap + right
    height = above + title + down * high + (down - 1) * between + bottom
    figure = Figure(figsize=(width, height))
    axes: list[Axes] = []
    for place in range(count):
        row, column = divmod(place, across)
        x = left + column * (wide + gap)
        y = height - above - title - high - row * (high + between)
        axis = figure.add_axes((x / width, y / height, wide / width, high / height), sharey=axes[0] if axes else None)
        axis.tick_params(labelleft=column == 0)
        axis.set_ylabel(ylabel if column == 0 else "")
        axes.append(axis)
    return figure, axes


def scatter(rows: pl.DataFrame, roles: Roles, lines: pl.DataFrame, *, colour: str | None) -> Figure:
    """The response against each metric of `lines` (a table of associations): one panel each, R^2 and r in its title.

    Heavy-tailed metrics that span a factor of five have a logarithmic axis; their title gives the r of logarithms too.
    """
    shown = lines.filter((pl.col("given") == "") & (pl.col("scale") == "raw") & pl.col("r").is_not_null())
    coloured = colour is not None and rows[colour].n_unique() > 1
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(shown), label(roles.response), above=0.55 if coloured else 0.1)
        drawn: Any = None
        for axis, line in zip(axes, shown.to_dicts(), strict=True):
            name = line["metric"]
            log = lines.filter((pl.col("metric") == name) & (pl.col("scale") == "log10"))
            kept = rows.drop_nulls(name)
            drawn = axis.scatter(
                kept[name],
                kept[roles.response],
                s=14,
                linewidths=0.3,
                edgecolors="#333333",
                rasterized=len(kept) > RASTER_ABOVE,
                **_colouring(rows, kept, colour),
            )
            title = f"R² {line['r2']:.3f}, r {line['r']:+.2f}, n {line['n']}"
            if not log.is_empty():
                title += f"\nof log: R² {log['r2'][0]:.3f}, r {log['r'][0]:+.2f}"
            if not log.is_empty() and max(kept[name]) > 5 * min(kept[name]):
                axis.set_xscale("log")
            else:
                plain_ticks(axis)
            axis.set_title(title.replace("-", "−"))
            axis.set_xlabel(name)
        if coloured and drawn is not None:
            _colour_bar(figure, drawn, rows, str(colour))
    return figure


def _colour_bar(figure: Figure, drawn: Any, rows: pl.DataFrame, colour: str) -> None:
    """A bar of fixed size above the panels, with the values of the axis as its ticks where they are few."""
    width, height = figure.get_size_inches()
    bar = figure.add_axes((0.75 / width, 1 - 0.2 / height, min(3.0, width - 2) / width, 0.1 / height))
    made = figure.colorbar(drawn, cax=bar, orientation="horizontal")
    values = rows[colour].unique().sort().to_list()
    if len(values) <= 8:
        made.set_ticks(values, labels=[f"{value:g}" for value in values])
        made.minorticks_off()
    bar.text(1.03, 0.5, colour, transform=bar.transAxes, va="center")


def _colouring(rows: pl.DataFrame, kept: pl.DataFrame, colour: str | None) -> dict[str, Any]:
    if colour is None or rows[colour].n_unique() < 2:
        return {"color": OKABE_ITO[0]}
    values = rows[colour].cast(pl.Float64).to_numpy()
    positive = values.min() > 0 and values.max() / max(values.min(), 1e-300) > 3
    norm = (LogNorm if positive else Normalize)(values.min(), values.max())
    return {"c": kept[colour].cast(pl.Float64).to_numpy(), "cmap": "viridis", "norm": norm}


def controls(lines: pl.DataFrame) -> Figure:
    """Signed r of each metric: as it is, given the axes, within and between architectures, one row per metric."""
    kinds = (
        ("r", "as it is"),
        ("partial_r", "given the axes"),
        ("within_r", "within architectures"),
        ("between_r", "between architectures"),
    )
    shown = lines.filter((pl.col("given") == "") & pl.col("r").is_not_null())
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


def rows_of(names: list[str], *, wide: float, below: float) -> tuple[Figure, Axes]:
    """A figure with one axes `wide` inches across and a labelled, banded row for each name; `below` inches under it."""
    left, top, high = 2.3, 0.15, 0.3 * len(names)
    width, height = left + wide + 0.2, top + high + below
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((left / width, below / height, wide / width, high / height))
    for row in range(1, len(names), 2):
        axis.axhspan(row - 0.5, row + 0.5, color="#000000", alpha=0.05, linewidth=0)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    return figure, axis


def degradation(lines: pl.DataFrame, response: str) -> Figure:
    """Median change of the response at each precision with its bootstrap interval."""
    shown = lines.filter((pl.col("column") == response) & pl.col("median").is_not_null())
    names = [f"{precision} − {baseline}" for precision, baseline in shown.select("precision", "baseline").rows()]
    with mpl.rc_context(STYLE):
        figure, axis = rows_of(names, wide=5.2, below=0.6)
        for row, line in enumerate(shown.to_dicts()):
            if line["low"] is not None:
                axis.plot([line["low"], line["high"]], [row, row], color=OKABE_ITO[0], linewidth=1.6)
            axis.plot(line["median"], row, marker="o", color=OKABE_ITO[0], markersize=5)
        axis.axvline(0, color="#333333", linewidth=0.8)
        axis.set_xlabel(f"change of {label(response)}: median, 95% interval")
        sizes = np.abs(shown["median"].to_numpy())
        if sizes.size and sizes.min() > 0 and sizes.max() > 30 * sizes.min():
            axis.set_xscale("symlog", linthresh=float(sizes.min()))
            axis.set_xlabel(f"{axis.get_xlabel()}\nlogarithmic beyond ±{sizes.min():.0e}".replace("-", "−"))
    return figure


def change_scatter(changes: list[tuple[str, pl.DataFrame]], metrics: list[str], response: str) -> Figure:
    """Change of the response against change of each metric, one colour and marker per precision."""
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(metrics), f"change of {response}", above=0.3, titled=False)
        for axis, name in zip(axes, metrics, strict=True):
            for number, (precision, rows) in enumerate(changes):
                axis.scatter(
                    rows[f"{name}_q"] - rows[name],
                    rows[f"{response}_q"] - rows[response],
                    s=16,
                    marker=MARKERS[number % len(MARKERS)],
                    color=OKABE_ITO[number % len(OKABE_ITO)],
                    alpha=0.85,
                    linewidths=0,
                    label=precision,
                    rasterized=len(rows) > RASTER_ABOVE,
                )
            axis.axhline(0, color="#999999", linewidth=0.6)
            axis.axvline(0, color="#999999", linewidth=0.6)
            axis.set_xlabel(f"change of {name}")
            plain_ticks(axis)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="upper left", ncol=8, frameon=False)
    return figure
