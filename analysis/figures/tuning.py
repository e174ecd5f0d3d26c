"""Figures of a search: course, importances, front, schedules, confirmation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.annotations import name_points
from analysis.figures.colours import MARKERS, OKABE_ITO
from analysis.figures.drawing import panels, rows_of
from analysis.figures.key import Entry, Group
from analysis.figures.sheets import ONE_COLUMN, Picture, sheet, styled
from analysis.figures.ticks import Side, linear_axis, log_axis, spans_decades
from analysis.findings.tuning import Arm
from analysis.reading.search_record import Objective, SearchRecord
from analysis.statistics.linear import Floats
from study.columns import label

GREY = "#666666"
WITHOUT_VALUE = ("failed", "pruned")  # states of trials that have none


def history(search: SearchRecord) -> Figure:
    """Each objective over the trials in their order, with the best so far as a line.

    A point is filled where the constraints hold.
    """
    families = [name for name in dict.fromkeys(search.trials["family"].to_list()) if name]
    entries = [_entry(number, name) for number, name in enumerate(families)]
    if search.constraints:
        entries.append(Entry("breaks a constraint", GREY, "o", hollow=True))
    if search.trials["state"].is_in(WITHOUT_VALUE).any():
        entries.append(Entry("failed or pruned", GREY, "|"))
    entries.append(Entry("best so far", GREY, dash="-"))
    with styled():
        key = [Group("", entries)]
        figure, axes = _wide([label(each.column) for each in search.objectives], "trial", key)
        for axis, objective in zip(axes, search.objectives, strict=True):
            _history(axis, search.trials, objective, families)
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
    _scale(axis, "y", complete[column].to_numpy(), 5)
    without_value = trials.filter(pl.col("state").is_in(WITHOUT_VALUE))["trial"].to_list()
    axis.plot(
        without_value,
        [0.02] * len(without_value),
        "|",
        color=GREY,
        transform=axis.get_xaxis_transform(),
    )
    linear_axis(axis, "x", integer=True)


def _entry(number: int, name: str) -> Entry:
    return Entry(name, OKABE_ITO[number % len(OKABE_ITO)], _marker(number))


def _scale(axis: Axes, which: Side, values: Floats, factor: float = 30.0) -> None:
    """Logarithmic where the values span more than a factor."""
    if spans_decades(values, factor):
        log_axis(axis, which, values)
    else:
        linear_axis(axis, which)


def _marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def _wide(
    titles: Sequence[str], xlabels: str | Sequence[str], key: Sequence[Group]
) -> tuple[Picture, list[Axes]]:
    """Panels beside each other, fewer and larger than those of metrics."""
    across = 1 if sheet() == ONE_COLUMN else min(len(titles), 2)
    return panels(len(titles), titles=titles, xlabels=xlabels, key=key, across=across)


def importance_bars(frames: Mapping[str, pl.DataFrame]) -> Figure:
    """Importance of each parameter, for each objective by its name.

    The trials that had the parameter stand in parentheses.
    """
    known = [frame.drop_nulls("importance") for frame in frames.values()]
    counts = {row["parameter"]: row["n"] for frame in known for row in frame.iter_rows(named=True)}
    names = list(counts)
    entries = [Entry(label(name), OKABE_ITO[at], "s") for at, name in enumerate(frames)]
    with styled():
        key = [Group("", entries)] if len(frames) > 1 else []
        figure, axis = rows_of(
            [f"{short(name)} ({counts[name]})" for name in names],
            wide=5.2,
            xlabel="importance (shares of 1)",
            key=key,
        )
        thick = 0.7 / len(frames)
        for number, frame in enumerate(frames.values()):
            values = dict(
                zip(frame["parameter"].to_list(), frame["importance"].to_list(), strict=True)
            )
            places = np.arange(len(names)) + thick * (number - (len(frames) - 1) / 2)
            axis.barh(
                places,
                [values.get(name, 0.0) for name in names],
                thick,
                color=OKABE_ITO[number],
            )
        linear_axis(axis, "x")
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
    entries = [
        Entry("on the front, with the number of its trial", OKABE_ITO[1], "o", "-"),
        Entry("other trials", GREY, "o", hollow=True),
    ]
    if search.constraints:
        entries.append(Entry("breaks a constraint", GREY, "x"))
    with styled():
        key = [Group("", entries)]
        figure, axes = _wide([label(each.column) for each in others], label(first.column), key)
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
            _scale(axis, "x", complete[first.column].to_numpy())
            _scale(axis, "y", complete[other.column].to_numpy())
            points = best.select(first.column, other.column).rows()
            name_points(axis, points, [str(trial) for trial in best["trial"]])
    return figure


def schedules(
    rates: Mapping[str, pl.DataFrame], collapse: Mapping[str, pl.DataFrame], columns: Sequence[str]
) -> Figure:
    """Learning rate by step, and columns by checkpoint, of a few trainings by name."""
    entries = [
        Entry(name, OKABE_ITO[number], _marker(number), "-") for number, name in enumerate(collapse)
    ]
    with styled():
        key = [Group("", entries)]
        titles = ["learning rate", *(label(column) for column in columns)]
        figure, axes = _wide(titles, label("epoch"), key)
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
        linear_axis(axes[0], "y")
        for axis, column in zip(axes[1:], columns, strict=True):
            values = [rows[column].drop_nulls().to_numpy() for rows in collapse.values()]
            _scale(axis, "y", np.concatenate(values))
        for axis in axes:
            linear_axis(axis, "x", integer=True)
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
    with styled():
        figure, axis = rows_of(list(names), wide=5.6, xlabel=label(column))
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
        every = np.array([*tuned.values.values(), *default.values.values()])
        _scale(axis, "x", every, 5)
    return figure
