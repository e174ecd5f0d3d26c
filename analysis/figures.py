"""Figures of the report, drawn with matplotlib's object interface (no global state) and returned as figures.

Colours are those of Okabe & Ito 2008 (categories) and viridis (sizes): told apart with any colour vision.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
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
    "figure.constrained_layout.use": True,
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

    def svg(self) -> str:
        """The svg element alone, for inlining."""
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        content = buffer.getvalue()
        return content[content.index("<svg") :]

    def write(self, folder: Path, formats: tuple[str, ...]) -> None:
        """NAME.svg, NAME.png, NAME.pdf in `folder`, as asked for."""
        with mpl.rc_context(STYLE):
            for kind in formats:
                metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
                self.figure.savefig(folder / f"{self.name}.{kind}", dpi=200, metadata=metadata)


def label(column: str) -> str:
    """Axis label of a column, with its unit where it has one."""
    return UNITS.get(column, column)


def scatter(rows: pl.DataFrame, roles: Roles, lines: pl.DataFrame, *, colour: str | None) -> Figure:
    """The response against each metric of `lines` (a table of associations): one panel each, R^2 and r in its title.

    Positive heavy-tailed metrics have a logarithmic axis, and the title then gives the r of logarithms as well.
    """
    shown = lines.filter((pl.col("given") == "") & (pl.col("scale") == "raw") & pl.col("r").is_not_null())
    across = min(4, max(len(shown), 1))
    down = max(1, math.ceil(len(shown) / across))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * across + 0.8, 2.45 * down))
        axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        drawn: Any = None
        for place, line in enumerate(shown.to_dicts()):
            axis, name = axes[place], line["metric"]
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
                axis.set_xscale("log")
                title += f"\nof log: R² {log['r2'][0]:.3f}, r {log['r'][0]:+.2f}"
            axis.set_title(title.replace("-", "−"))
            axis.set_xlabel(name)
            if place % across == 0:
                axis.set_ylabel(label(roles.response))
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        if colour is not None and drawn is not None and rows[colour].n_unique() > 1:
            figure.colorbar(drawn, ax=axes.tolist(), label=colour, shrink=0.8, aspect=30)
    return figure


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
        figure = Figure(figsize=(7.5, 0.9 + 0.3 * len(names)))
        axis = figure.subplots()
        rows = np.arange(len(names))
        for offset, (column, text) in enumerate(kinds):
            values = shown[column].to_numpy()
            if np.isnan(values.astype(float)).all():
                continue
            axis.scatter(
                values,
                rows + 0.15 * (offset - 1.5),
                s=26,
                marker=MARKERS[offset],
                color=OKABE_ITO[offset],
                label=text,
            )
        for row in rows[1::2]:
            axis.axhspan(row - 0.5, row + 0.5, color="#000000", alpha=0.04, linewidth=0)
        axis.axvline(0, color="#333333", linewidth=0.8)
        axis.set(xlim=(-1.05, 1.05), ylim=(len(names) - 0.5, -0.5), xlabel="correlation with the response")
        axis.set_yticks(rows, names)
        axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.28 if len(names) < 8 else -0.09), ncol=4, frameon=False)
    return figure


def degradation(lines: pl.DataFrame, response: str) -> Figure:
    """Median change of the response at each precision with its bootstrap interval."""
    shown = lines.filter((pl.col("column") == response) & pl.col("median").is_not_null())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 0.9 + 0.32 * len(shown)))
        axis = figure.subplots()
        for row, line in enumerate(shown.to_dicts()):
            if line["low"] is not None:
                axis.plot([line["low"], line["high"]], [row, row], color=OKABE_ITO[0], linewidth=1.6)
            axis.plot(line["median"], row, marker="o", color=OKABE_ITO[0], markersize=5)
        axis.axvline(0, color="#333333", linewidth=0.8)
        axis.set_yticks(range(len(shown)), [f"{p} − {b}" for p, b in shown.select("precision", "baseline").rows()])
        axis.set(xlabel=f"change of {label(response)}, median and 95% interval", ylim=(len(shown) - 0.5, -0.5))
        positive = shown["median"].to_numpy()
        if (np.abs(positive) > 0).all() and np.abs(positive).max() > 30 * np.abs(positive).min():
            axis.set_xscale("symlog", linthresh=float(np.abs(positive).min()))
    return figure


def change_scatter(changes: list[tuple[str, pl.DataFrame]], metrics: list[str], response: str) -> Figure:
    """Change of the response against change of each metric, one colour and marker per precision."""
    across = min(4, max(len(metrics), 1))
    down = max(1, math.ceil(len(metrics) / across))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * across, 2.4 * down + 0.5))
        axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for place, name in enumerate(metrics):
            for number, (precision, rows) in enumerate(changes):
                axes[place].scatter(
                    (rows[f"{name}_q"] - rows[name]),
                    (rows[f"{response}_q"] - rows[response]),
                    s=16,
                    marker=MARKERS[number % len(MARKERS)],
                    color=OKABE_ITO[number % len(OKABE_ITO)],
                    alpha=0.85,
                    linewidths=0,
                    label=precision,
                    rasterized=len(rows) > RASTER_ABOVE,
                )
            axes[place].axhline(0, color="#999999", linewidth=0.6)
            axes[place].axvline(0, color="#999999", linewidth=0.6)
            axes[place].set_xlabel(f"change of {name}")
            axes[place].ticklabel_format(axis="both", scilimits=(-3, 4))
            if place % across == 0:
                axes[place].set_ylabel(f"change of {response}")
        for axis in axes[len(metrics) :]:
            axis.set_visible(False)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncol=min(len(names), 8), frameon=False)
    return figure
