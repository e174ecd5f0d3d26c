"""Figures of a search: course, importances, front, schedules, confirmation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.colours import KEY_HEIGHT, MARKERS, OKABE_ITO
from analysis.figures.drawing import STYLE, label, rows_of
from analysis.figures.ticks import log_axis, spans_decades
from analysis.findings.tuning import Arm
from analysis.reading.search_record import Objective, SearchRecord

GREY = "#666666"
WITHOUT_VALUE = ("failed", "pruned")  # states of trials that have none


def history(search: SearchRecord) -> Figure:
    """Each objective over the trials in their order, with the best so far as a line.

    A point is filled where the constraints hold.
    """
    families = [name for name in dict.fromkeys(search.trials["family"].to_list()) if name]
    with mpl.rc_context(STYLE):
        figure, axes = _wide(len(search.objectives), above=KEY_HEIGHT)
        for axis, objective in zip(axes, search.objectives, strict=True):
            _history(axis, search.trials, objective, families)
        handles = [_point(number, name) for number, name in enumerate(families)]
        if search.constraints:
            handles.append(
                Line2D(
                    [],
                    [],
                    marker="o",
                    linestyle="",
                    mfc="none",
                    color=GREY,
                    label="breaks a constraint",
                )
            )
        if search.trials["state"].is_in(WITHOUT_VALUE).any():
            handles.append(
                Line2D([], [], marker="|", linestyle="", color=GREY, label="failed or pruned")
            )
        handles.append(Line2D([], [], color=GREY, linewidth=1.2, label="best so far"))
        figure.legend(handles=handles, loc="upper left", ncol=min(5, len(handles)), frameon=False)
    return figure


def _history(axis: Axes, trials: pl.DataFrame, objective: Objective, families: list[str]) -> None:
    column = objective.column
    complete = trials.filter(pl.col("state") == "complete")
    for row in complete.iter_rows(named=True):
        place = families.index(row["family"]) if row["family"] in families else 0
        colour = OKABE_ITO[place % len(OKABE_ITO)]
        face = colour if row["holds"] else "none"
        axis.scatter(
            row["trial"],
            row[column],
            s=26,
            marker=_marker(place),
            facecolors=face,
            edgecolors=colour,
        )
    sound = complete.filter("holds")
    if len(sound):
        best = sound[column].cum_min() if objective.lower else sound[column].cum_max()
        axis.step(sound["trial"], best, where="post", color=GREY, linewidth=1.2, zorder=0)
    if spans_decades(values := complete[column].to_numpy(), 5):
        log_axis(axis, "y", values)
    without_value = trials.filter(pl.col("state").is_in(WITHOUT_VALUE))["trial"].to_list()
    axis.plot(
        without_value,
        [0.02] * len(without_value),
        "|",
        color=GREY,
        transform=axis.get_xaxis_transform(),
    )
    axis.locator_params(axis="x", integer=True)
    axis.set_xlabel("trial")
    axis.set_title(label(column), loc="left", pad=3)


def _point(number: int, name: str) -> Line2D:
    colour = OKABE_ITO[number % len(OKABE_ITO)]
    return Line2D([], [], marker=_marker(number), linestyle="", color=colour, label=name)


def _marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def _wide(count: int, *, above: float = 0.1) -> tuple[Figure, list[Axes]]:
    """Panels beside each other, fewer and larger than those of metrics."""
    across = min(count, 2)
    down = -(-count // across)
    wide, high, left, gap = (7.5 if across == 1 else 4.1), 2.6, 0.85, 0.95
    width = left + across * wide + (across - 1) * gap + 0.2
    height = above + down * (high + 0.95)
    figure = Figure(figsize=(width, height))
    axes = []
    for place in range(count):
        row, column = divmod(place, across)
        x, y = left + column * (wide + gap), height - above - 0.35 - high - row * (high + 0.95)
        axes.append(figure.add_axes((x / width, y / height, wide / width, high / height)))
    return figure, axes


def importance_bars(frames: Mapping[str, pl.DataFrame]) -> Figure:
    """Importance of each parameter, for each objective by its name.

    The trials that had the parameter stand in parentheses.
    """
    known = [frame.drop_nulls("importance") for frame in frames.values()]
    counts = {row["parameter"]: row["n"] for frame in known for row in frame.iter_rows(named=True)}
    names = list(counts)
    with mpl.rc_context(STYLE):
        figure, axis = rows_of(
            [f"{short(name)} ({counts[name]})" for name in names], wide=5.2, below=0.85
        )
        thick = 0.7 / len(frames)
        for number, (objective, frame) in enumerate(frames.items()):
            values = dict(
                zip(frame["parameter"].to_list(), frame["importance"].to_list(), strict=True)
            )
            places = np.arange(len(names)) + thick * (number - (len(frames) - 1) / 2)
            axis.barh(
                places,
                [values.get(name, 0.0) for name in names],
                thick,
                color=OKABE_ITO[number],
                label=objective,
            )
        axis.set_xlabel("importance (shares of 1)")
        if len(frames) > 1:
            figure.legend(loc="lower center", ncol=4, frameon=False)
    return figure


def short(parameter: str) -> str:
    """A parameter as a figure calls it: `lr`, `schedule`, `cosine.floor`."""
    name = parameter.removeprefix("train.")
    return name.removeprefix("schedule.") if name != "schedule" else name


def front(search: SearchRecord) -> Figure:
    """The first objective against each other one.

    The front is filled, and joined where there are two objectives.
    """
    first, *others = search.objectives
    complete = search.trials.filter(pl.col("state") == "complete")
    with mpl.rc_context(STYLE):
        figure, axes = _wide(len(others), above=KEY_HEIGHT)
        for axis, other in zip(axes, others, strict=True):
            best = complete.filter(pl.col("trial").is_in(list(search.best))).sort(first.column)
            rest = complete.filter(~pl.col("trial").is_in(list(search.best)))
            for part, mark in ((rest.filter("holds"), "o"), (rest.filter(~pl.col("holds")), "x")):
                axis.plot(
                    part[first.column],
                    part[other.column],
                    mark,
                    mfc="none",
                    color=GREY,
                    markersize=5,
                )
            axis.plot(
                best[first.column],
                best[other.column],
                "o" if others[1:] else "o-",
                color=OKABE_ITO[1],
                linewidth=1.0,
                markersize=6,
            )
            for row in best.iter_rows(named=True):
                at = (row[first.column], row[other.column])
                axis.annotate(
                    str(row["trial"]), at, xytext=(4, 4), textcoords="offset points", fontsize=8
                )
            if spans_decades(values := complete[first.column].to_numpy()):
                log_axis(axis, "x", values)
            if spans_decades(values := complete[other.column].to_numpy()):
                log_axis(axis, "y", values)
            axis.set_xlabel(label(first.column))
            axis.set_title(label(other.column), loc="left", pad=3)
        handles = [
            Line2D(
                [],
                [],
                marker="o",
                color=OKABE_ITO[1],
                label="on the front, with the number of its trial",
            ),
            Line2D([], [], marker="o", linestyle="", mfc="none", color=GREY, label="other trials"),
        ]
        if search.constraints:
            handles.append(
                Line2D([], [], marker="x", linestyle="", color=GREY, label="breaks a constraint")
            )
        figure.legend(handles=handles, loc="upper left", ncol=3, frameon=False)
    return figure


def schedules(
    rates: Mapping[str, pl.DataFrame], collapse: Mapping[str, pl.DataFrame], columns: Sequence[str]
) -> Figure:
    """Learning rate by step, and columns by checkpoint, of a few trainings by name."""
    with mpl.rc_context(STYLE):
        figure, axes = _wide(1 + len(columns), above=KEY_HEIGHT)
        for number, name in enumerate(collapse):
            colour = OKABE_ITO[number]
            if name in rates:
                axes[0].plot(rates[name]["epoch"], rates[name]["lr"], color=colour, linewidth=1.5)
            for axis, column in zip(axes[1:], columns, strict=True):
                rows = collapse[name].drop_nulls(column)
                axis.plot(
                    rows["epoch"],
                    rows[column],
                    color=colour,
                    marker=_marker(number),
                    markersize=4,
                    linewidth=1.2,
                )
        axes[0].set_title("learning rate", loc="left", pad=3)
        for axis, column in zip(axes[1:], columns, strict=True):
            values = [rows[column].drop_nulls().to_numpy() for rows in collapse.values()]
            if spans_decades(every := np.concatenate(values)):
                log_axis(axis, "y", every)
            axis.set_title(label(column), loc="left", pad=3)
        for axis in axes:
            axis.locator_params(axis="x", nbins=6, integer=True)
            axis.set_xlabel(label("epoch"))
        handles = [
            Line2D([], [], color=OKABE_ITO[number], marker=_marker(number), label=name)
            for number, name in enumerate(collapse)
        ]
        figure.legend(handles=handles, loc="upper left", ncol=3, frameon=False)
    return figure


def arms(
    tuned: Arm, default: Arm, names: tuple[str, str], column: str, *, geometric: bool
) -> Figure:
    """The value of each seed of both arms.

    A line joins a pair, a bar is a mean of pairs.
    """
    places = sorted(tuned.values.keys() | default.values.keys())
    spread = dict(zip(places, np.linspace(-0.18, 0.18, len(places)), strict=True))
    pairs = [place for place in places if place in tuned.values and place in default.values]
    with mpl.rc_context(STYLE):
        figure, axis = rows_of(list(names), wide=5.6, below=0.6)
        for place in pairs:
            axis.plot(
                [tuned.values[place], default.values[place]],
                [spread[place], 1 + spread[place]],
                color=GREY,
                linewidth=0.6,
                zorder=1,
            )
        for row, side in enumerate((tuned, default)):
            colour = OKABE_ITO[row]
            heights = [row + spread[place] for place in side.values]
            axis.scatter(list(side.values.values()), heights, s=26, color=colour, linewidths=0)
            if pairs:
                values = np.array([side.values[place] for place in pairs])
                mean = np.exp(np.log(values).mean()) if geometric else values.mean()
                axis.plot([mean, mean], [row - 0.32, row + 0.32], color=colour, linewidth=2)
        if spans_decades(every := [*tuned.values.values(), *default.values.values()], 5):
            log_axis(axis, "x", every)
        axis.set_xlabel(label(column))
    return figure
