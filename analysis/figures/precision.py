"""Figures of what a precision changes: by precision, by bits, change by change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.colours import KEY_HEIGHT, MARKERS, OKABE_ITO, SIZES, Colours
from analysis.figures.drawing import (
    LETTER,
    RASTER_ABOVE,
    STYLE,
    Lines,
    columns_of_rows,
    finish,
    label,
    panels,
    share_y,
)
from analysis.figures.ticks import log_axis, log_ticks, plain, plain_ticks, spans_decades
from analysis.reading.groups import medians
from analysis.reading.table import BITS, Roles

PANEL = 2.3
"""Inches of a panel across, with the gap beside it."""
ROWS = 5.2
"""Inches of a panel of rows across."""


def by_precision(lines: pl.DataFrame, response: str) -> Figure:
    """Change of the response at each precision with its interval.

    Over all trainings, and by level.

    `lines` are those of the table of changes. The margin within which a change counts as none is
    shaded; a filled point has the verdict `changed`.
    """
    shown = lines.filter((pl.col("column") == response) & pl.col("estimate").is_not_null())
    pairs = shown.select("precision", "baseline").unique(maintain_order=True).rows()
    levels = shown["level"].unique(maintain_order=True).to_list()
    heights = dict(zip(levels, np.linspace(-0.3, 0.3, len(levels) + 1)[1:] - 0.15, strict=True))
    heights = heights if len(levels) > 1 else dict.fromkeys(levels, 0.0)
    colours = {level: OKABE_ITO[place] for place, level in enumerate(levels)}
    with mpl.rc_context(STYLE):
        figure, (axis,) = columns_of_rows(
            [f"{precision} − {baseline}" for precision, baseline in pairs],
            1,
            wide=ROWS,
            above=KEY_HEIGHT if len(levels) > 1 else 0.15,
            below=0.75,
            high=0.3 if len(levels) == 1 else 0.14 * (len(levels) + 1),
        )
        for line in shown.to_dicts():
            colour = colours[line["level"]]
            height = pairs.index((line["precision"], line["baseline"])) + heights[line["level"]]
            if line["low"] is not None:
                axis.plot([line["low"], line["high"]], [height] * 2, color=colour, linewidth=1.4)
            axis.plot(
                line["estimate"],
                height,
                marker="o",
                color=colour,
                markerfacecolor=colour if line["verdict"] == "changed" else "white",
                markersize=5 if line["level"] == "" else 4,
            )
        axis.axvline(0, color="#333333", linewidth=0.8)
        margins = shown["margin"].drop_nulls().unique().to_list()
        if len(margins) == 1:
            axis.axvspan(-margins[0], margins[0], color="#000000", alpha=0.08, linewidth=0)
        axis.set_xlabel(f"change of {label(response)}: pseudo-median, 95% interval")
        sizes = np.abs(shown["estimate"].to_numpy())
        if sizes.size and sizes.min() > 0 and sizes.max() > 30 * sizes.min():
            values = [v for name in ("estimate", "low", "high") for v in shown[name].drop_nulls()]
            linear = margins[0] if len(margins) == 1 else float(sizes.min())
            both_signs(axis, values, linear, ROWS)
        if len(levels) > 1:
            handles = [
                Line2D([], [], color=colours[level], marker="o", label=level or "all trainings")
                for level in levels
            ]
            figure.legend(handles=handles, loc="upper left", ncol=6, frameon=False)
    return figure


def both_signs(axis: Axes, values: list[float], linear: float, inches: float) -> None:
    """A logarithmic axis for values of both signs, linear within `linear` of zero.

    It is `inches` across.
    """
    least, most = min(0.0, *values), max(0.0, *values)
    axis.set_xscale("symlog", linthresh=linear)
    axis.set_xlim(
        1.5 * least if least < -linear else -linear, 1.5 * most if most > linear else linear
    )
    ticks = next(
        ticks
        for room in (4, 3, 2, 1)
        if _have_room(axis, inches, ticks := _signed_ticks(values, linear, room)) or room == 1
    )
    axis.set_xticks(ticks, labels=[plain(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel(f"{axis.get_xlabel()}\nlogarithmic beyond ±{plain(float(f'{linear:.0e}'))}")


def _signed_ticks(values: list[float], linear: float, most: int) -> list[float]:
    """Zero, and about `most` round numbers on both sides of it."""
    ticks = [0.0]
    decades = {
        sign: math.log10(max(1.0, *(sign * value / linear for value in values))) for sign in (-1, 1)
    }
    for sign, length in decades.items():
        if length > 0.5:  # else its labels would touch the zero
            room = max(1, round(most * length / sum(decades.values())))
            ticks += [sign * tick for tick in log_ticks(3 * linear, linear * 10**length, room)]
    return sorted(ticks)


def _have_room(axis: Axes, inches: float, ticks: list[float]) -> bool:
    """Whether the labels of ascending ticks lie apart on an axis whose limits are set."""
    shares = (axis.transScale + axis.transLimits).transform([(tick, 0) for tick in ticks])[:, 0]
    widths = [LETTER * (len(plain(tick)) + 1) for tick in ticks]
    pairs = zip(pairwise(inches * shares), pairwise(widths), strict=True)
    return all(right - left >= (one + other) / 2 for (left, right), (one, other) in pairs)


def against_bits(
    rows: pl.DataFrame, roles: Roles, columns: Sequence[str], *, colour: str | None
) -> Figure:
    """Columns against bits per weight: a line per configuration, medians over seeds.

    `rows` are those of `at_all_precisions`; precisions whose weights were fine-tuned stand apart
    as hollow diamonds, other methods and parts of the model as points without a line. Colours are
    an axis of the grid.
    """
    curve, tuned = rows.filter("curve"), rows.filter("tuned")
    others = rows.filter(~pl.col("curve") & ~pl.col("tuned"))
    with mpl.rc_context(STYLE):
        colours = Colours(rows, colour)
        figure, axes = panels(
            len(columns), above=KEY_HEIGHT if colours else 0.1, titled=0.27, gap=0.6
        )
        diamonds = {"width": 0, "size": 22, "marker": "D", "hollow": True}
        points = {"width": 0, "size": 5}
        styles: tuple[tuple[pl.DataFrame, dict[str, Any]], ...] = (
            (curve, {}),
            (others, points),
            (tuned, diamonds),
        )
        for part, style in styles:
            drawn = [Lines() for _ in columns]
            for settings, line in _by_precision(part, roles, columns):
                hue = colours.of([settings.get(colours.axis or "")])[0]
                for lines, name in zip(drawn, columns, strict=True):
                    lines.add(line[BITS], line[name], hue)
            for axis, lines in zip(axes, drawn, strict=True):
                lines.draw(axis, **style)
        for axis, name in zip(axes, columns, strict=True):
            finish(axis, rows[name], name)
            _bits(axis)
        colours.key(figure)
    return figure


def _by_precision(
    rows: pl.DataFrame, roles: Roles, columns: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """For each configuration its settings, and medians of each precision, by bits.

    Formats may share their bits, so each precision is a point of its own.
    """
    axes, precision = roles.axes, str(roles.precision)
    lines: dict[tuple[Any, ...], list[pl.DataFrame]] = {}
    for settings, points in medians(rows, (*axes, precision), BITS, columns):
        lines.setdefault(tuple(settings[axis] for axis in axes), []).append(points)
    for values, parts in lines.items():
        yield dict(zip(axes, values, strict=True)), pl.concat(parts).sort(BITS, precision)


def loss_against_bits(
    rows: pl.DataFrame, before: pl.DataFrame, roles: Roles, metrics: Sequence[str]
) -> Figure:
    """The response against bits per weight, a line per training, coloured by a metric.

    One panel for each metric, whose values at the reference precision are in `before`; `rows`
    are those of `at_all_precisions`, of which the curve is drawn.
    """
    response, unit = roles.response, roles.unit
    rows = rows.filter("curve").sort(unit, BITS, str(roles.precision))
    trainings = {key[0]: part for key, part in rows.partition_by(unit, as_dict=True).items()}
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(metrics), label(response))
        for axis, name in zip(axes, metrics, strict=True):
            known = before.drop_nulls(name)
            low, high = float(known[name].to_numpy().min()), float(known[name].to_numpy().max())
            norm = (LogNorm if spans_decades([low, high], 10) else Normalize)(low, high)
            colours = dict(zip(known[unit], SIZES(norm(known[name].to_numpy())), strict=True))
            lines = Lines()
            for training, line in trainings.items():
                if training in colours:
                    lines.add(line[BITS], line[response], colours[training])
            lines.draw(axis, width=1.0, size=0)
            if spans_decades(rows[response].to_numpy()):
                log_axis(axis, "y", rows[response].to_numpy())
            hues = " to ".join(
                f"{plain(float(f'{value:.3g}'))} ({hue})"
                for value, hue in ((low, "violet"), (high, "green"))
            )
            axis.set_title(f"colour: {name}\n{hues}", loc="left")
            _bits(axis)
        share_y(axes)
    return figure


def _bits(axis: Axes) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks([2, 4, 8, 16, 32], labels=["2", "4", "8", "16", "32"])
    axis.minorticks_off()
    axis.set_xlabel(label(BITS))


def change_scatter(
    changes: list[tuple[str, pl.DataFrame]], metrics: Sequence[str], response: str
) -> Figure:
    """Change of the response against change of each metric, a colour per precision."""
    with mpl.rc_context(STYLE):
        longest = max((len(precision) for precision, _ in changes), default=0)
        inches = PANEL * min(4, len(metrics))
        wide = max(1, min(6, int(inches / (LETTER * longest + 0.7))))
        above = 0.1 + 0.205 * -(-len(changes) // wide)
        figure, axes = panels(len(metrics), f"change of {response}", above=above, titled=0.05)
        for axis, name in zip(axes, metrics, strict=True):
            for number, (precision, rows) in enumerate(changes):
                axis.scatter(
                    rows[f"{name}_q"] - rows[name],
                    rows[f"{response}_q"] - rows[response],
                    s=16,
                    marker=MARKERS[number % len(MARKERS)],
                    color=OKABE_ITO[(number + number // len(OKABE_ITO)) % len(OKABE_ITO)],
                    alpha=0.85,
                    linewidths=0,
                    label=precision,
                    rasterized=len(rows) > RASTER_ABOVE,
                )
            axis.axhline(0, color="#999999", linewidth=0.6)
            axis.axvline(0, color="#999999", linewidth=0.6)
            axis.set_xlabel(f"change of {name}")
            plain_ticks(axis)
        share_y(axes)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="upper left", ncol=wide, frameon=False)
    return figure
