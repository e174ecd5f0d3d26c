"""Figures of what a precision changes: by precision, by bits, change by change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.colours import OKABE_ITO, SIZES, norm_of
from analysis.figures.drawing import (
    RASTER_ABOVE,
    Lines,
    columns_of_rows,
    panels,
    scale_y,
    share_y,
)
from analysis.figures.key import Bar, Entry, Group
from analysis.figures.looks import Looks, looks_of_names
from analysis.figures.marks import Marks
from analysis.figures.sheets import PAGE, sheet, styled
from analysis.figures.ticks import beyond, level_axis, linear_axis, signed_axis
from analysis.reading.groups import medians
from analysis.reading.table import BITS, Roles
from study.columns import in_words, label

ROWS = 5.2
"""Inches of a panel of rows across."""
WHOLE = OKABE_ITO[6]
"""The colour of all trainings, beside those of a level."""
BITS_LABEL = "bits per weight"
TWOS = (1, 2, 4, 8, 16, 32)
"""Ticks of an axis of bits."""
HEAVY = 20.0  # times the size of nine in ten changes that the largest may have on a linear axis


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
    colours = _of_levels(levels)
    margins = shown["margin"].drop_nulls().unique().to_list()
    sizes = np.abs(shown["estimate"].to_numpy())
    decades = bool(sizes.size) and sizes.min() > 0 and sizes.max() > 30 * sizes.min()
    linear = margins[0] if len(margins) == 1 else float(sizes.min()) if decades else 0.0
    xlabel = f"change of {label(response)}: pseudo-median, 95% interval"
    entries = [
        Entry(in_words(level) or "all trainings", colours[level], "o", "-") for level in levels
    ]
    with styled():
        key = [Group("", entries)] if len(levels) > 1 else []
        figure, (axis,) = columns_of_rows(
            [f"{precision} − {baseline}" for precision, baseline in pairs],
            [""],
            wide=ROWS,
            xlabel=f"{xlabel}; {beyond(linear)}" if decades else xlabel,
            key=key,
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
        if len(margins) == 1:
            axis.axvspan(-margins[0], margins[0], color="#000000", alpha=0.08, linewidth=0)
        if decades:
            values = [v for name in ("estimate", "low", "high") for v in shown[name].drop_nulls()]
            signed_axis(axis, "x", values, linear)
        else:
            linear_axis(axis, "x")
    return figure


def _of_levels(levels: Sequence[str]) -> dict[str, Any]:
    """The colour of each level, `AXIS VALUE`; that of a number as in all figures."""
    named = [level for level in levels if level]
    values = [level.rpartition(" ")[2] for level in named]
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    hues: list[Any]
    if len(numbers) > 1:
        norm = norm_of(min(numbers), max(numbers), 3)
        hues = [SIZES(float(norm(number))) for number in numbers]
    else:
        hues = [OKABE_ITO[place % len(OKABE_ITO)] for place in range(len(named))]
    return {"": WHOLE if named else OKABE_ITO[0], **dict(zip(named, hues, strict=True))}


def against_bits(
    rows: pl.DataFrame, roles: Roles, columns: Sequence[str], *, axes: Sequence[str]
) -> Figure:
    """Columns against bits per weight: a line per configuration, medians over seeds.

    `rows` are those of `at_all_precisions`; precisions whose weights were fine-tuned stand apart
    as hollow diamonds, other methods and parts of the model as points without a line. Colours are
    the first of `axes` that varies, dashes the next.
    """
    curve, tuned = rows.filter("curve"), rows.filter("tuned")
    others = rows.filter(~pl.col("curve") & ~pl.col("tuned"))
    marks = [Entry("fine-tuned at the precision", marker="D", hollow=True)] * bool(len(tuned))
    marks += [Entry("other methods, or a part", marker="o", size=2.5)] * bool(len(others))
    with styled():
        looks = Looks(rows, axes)
        key = [*looks.key(markers=False), Group("", marks)]
        figure, drawn = panels(
            len(columns),
            titles=[label(name) for name in columns],
            xlabels=BITS_LABEL,
            key=key,
        )
        diamonds = {"width": 0, "size": 22, "marker": "D", "hollow": True}
        points = {"width": 0, "size": 5}
        styles: tuple[tuple[pl.DataFrame, dict[str, Any]], ...] = (
            (curve, {}),
            (others, points),
            (tuned, diamonds),
        )
        for part, style in styles:
            parts = [Lines() for _ in columns]
            for settings, line in _by_precision(part, roles, columns):
                look = looks.of(settings)
                for lines, name in zip(parts, columns, strict=True):
                    lines.add(line[BITS], line[name], look.colour, dash=look.dash)
            for panel, lines in zip(drawn, parts, strict=True):
                lines.draw(panel, **style)
        for panel, name in zip(drawn, columns, strict=True):
            scale_y(panel, rows[name])
            _bits(panel, rows)
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


def change_against_bits(
    rows: pl.DataFrame, before: pl.DataFrame, roles: Roles, metric: str
) -> Figure:
    """Change of the response against bits per weight, a line per training.

    A line is coloured by the `metric` at the reference precision, whose rows, one a training, are
    `before`; the change is that from there. `rows` are those of `at_all_precisions`, of which the
    curve is drawn.
    """
    response, unit = roles.response, roles.unit
    known = before.drop_nulls([metric, response])
    curve = rows.filter("curve").sort(unit, BITS, str(roles.precision))
    changed = curve.join(
        known.select(unit, pl.col(response).alias("before"), pl.col(metric).alias("collapse")),
        on=unit,
        how="inner",
    ).with_columns(change=pl.col(response) - pl.col("before"))
    low, high = float(known[metric].to_numpy().min()), float(known[metric].to_numpy().max())
    norm = norm_of(low, high, 10)
    changes = changed["change"].drop_nulls().to_numpy()
    linear = _heavy(changes)
    with styled():
        key = [Bar(f"{label(metric)} before", norm, SIZES)]
        figure, (axis,) = panels(
            1,
            _labelled(response, linear),
            xlabels=BITS_LABEL,
            key=key,
            wide=5.2 if sheet() == PAGE else None,
            high=3.0 if sheet() == PAGE else None,
            across=1,
        )
        lines = Lines()
        for part in changed.partition_by(unit, maintain_order=True):
            colour = SIZES(float(norm(part["collapse"][0])))
            lines.add(part[BITS], part["change"], colour)
        lines.draw(axis, width=0.8, size=3)
        axis.axhline(0, color="#333333", linewidth=0.8)
        if linear:
            signed_axis(axis, "y", list(changes), linear)
        else:
            linear_axis(axis, "y")
        _bits(axis, changed)
    return figure


def _labelled(name: str, linear: float) -> str:
    """The label of an axis of changes, which may be linear near zero alone."""
    text = f"change of {label(name)}"
    return f"{text}, {beyond(linear)}" if linear else text


def _bits(axis: Axes, rows: pl.DataFrame) -> None:
    """Ticks at powers of two, from the fewest bits to the most."""
    low, high = (
        float(str(rows[BITS].cast(pl.Float64).drop_nulls().min())),
        float(str(rows[BITS].cast(pl.Float64).drop_nulls().max())),
    )
    inside = [float(bits) for bits in TWOS if low / 1.2 <= bits <= 1.2 * high] or [low, high]
    level_axis(axis, inside, log=True)
    axis.set_xlim(low / 1.2, 1.2 * high)


def change_scatter(
    changes: list[tuple[str, pl.DataFrame]],
    metrics: Sequence[str],
    response: str,
    *,
    unit: str,
    precisions: Sequence[str],
) -> Figure:
    """Change of the response against change of each metric; `unit` names the training.

    A colour and a marker per precision, by its place among all `precisions` of the table. An axis
    is linear near zero and logarithmic beyond where few changes are far larger than all others.
    """
    looks = looks_of_names(precisions)
    entries = [Entry(precision, *looks[precision]) for precision, _ in changes]
    linear = [_heavy(_changes(changes, name)) for name in metrics]
    steep = _heavy(_changes(changes, response))
    with styled():
        key = [Group("", entries)]
        figure, axes = panels(
            len(metrics),
            _labelled(response, steep),
            xlabels=[_labelled(name, heavy) for name, heavy in zip(metrics, linear, strict=True)],
            key=key,
        )
        for axis, name, heavy in zip(axes, metrics, linear, strict=True):
            for precision, rows in changes:
                colour, marker = looks[precision]
                axis.scatter(
                    _change(rows, name),
                    _change(rows, response),
                    s=16,
                    marker=marker,
                    color=colour,
                    alpha=0.85,
                    linewidths=0,
                    rasterized=len(rows) > RASTER_ABOVE,
                )
            axis.axhline(0, color="#999999", linewidth=0.6)
            axis.axvline(0, color="#999999", linewidth=0.6)
            _scale(axis, "x", changes, name, heavy)
            _scale(axis, "y", changes, response, steep)
        share_y(axes)
        marked = [
            (axis, np.concatenate([_moved(rows, name, response) for _, rows in changes]))
            for axis, name in zip(axes, metrics, strict=True)
        ]
        figure.marks = Marks(
            [name for _, rows in changes for name in rows[unit].to_list()],
            [looks[precision][0] for precision, rows in changes for _ in range(len(rows))],
            marked,
            [precision for precision, rows in changes for _ in range(len(rows))],
        )
    return figure


def _moved(rows: pl.DataFrame, name: str, response: str) -> np.ndarray[Any, Any]:
    """The changes of a metric and of the response of all rows, (n, 2)."""
    changes = [_change(rows, column).cast(pl.Float64) for column in (name, response)]
    return np.column_stack([change.to_numpy() for change in changes])


def _change(rows: pl.DataFrame, name: str) -> pl.Series:
    return rows[f"{name}_q"] - rows[name]


def _changes(changes: list[tuple[str, pl.DataFrame]], name: str) -> np.ndarray[Any, Any]:
    parts = [_change(rows, name).drop_nulls().to_numpy() for _, rows in changes]
    return np.concatenate(parts) if parts else np.zeros(0)


def _heavy(changes: np.ndarray[Any, Any]) -> float:
    """Up to where an axis of changes is linear; 0 where it is so all along."""
    sizes = np.abs(changes)
    most = float(np.quantile(sizes, 0.9)) if sizes.size else 0.0
    return most if most > 0 and sizes.max() > HEAVY * most else 0.0


def _scale(axis: Axes, which: Any, changes: Any, name: str, linear: float) -> None:
    if linear:
        signed_axis(axis, which, list(_changes(changes, name)), linear)
    else:
        linear_axis(axis, which)
