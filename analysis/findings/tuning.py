"""Whether a search's winner beats the untuned default on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.search_record import SearchRecord
from analysis.reading.table import Metric
from analysis.statistics.paired import mean_difference

LEAST = 2  # pairs for a difference with an interval or a p


@dataclass(frozen=True)
class Arm:
    """One side of a confirmation: its seeds by what became of them.

    `values`, by the place of the seed, are those of the seeds that hold the constraints.
    """

    cells: tuple[str, ...]
    values: Mapping[int, float]
    broke: int
    failed: int


@dataclass(frozen=True)
class Comparison:
    """The winner against the default, seed by seed.

    `n` seeds are sound in both arms and make the pairs. `scale` is `log` (natural logarithm) or
    `raw`; the means are those of the pairs, back on the raw scale. `difference` mean of tuned less
    default; `p` of all `patterns` of its signs, `low` and `high` the shifts that this test does not
    reject, null where it can reject none; `ratio` and its interval are their exponentials.

    `stands`: whether the trial is still the best one (of several objectives: on the front), not one
    that later trials surpassed. `tuned_n`, `default_n`: sound seeds of an arm. `*_broke`: seeds
    that broke a constraint, `*_failed`: without rows; they and their pair are left out. `beats` is
    true where the interval lies on the better side of 0 and no seed of the winner was left out.
    """

    metric: str
    scale: str
    trial: int
    stands: bool
    n: int
    tuned_n: int
    default_n: int
    tuned_broke: int
    default_broke: int
    tuned_failed: int
    default_failed: int
    tuned_mean: float | None = None
    default_mean: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    p: float | None = None
    patterns: int | None = None
    beats: bool | None = None
    note: str = ""


def last_values(rows: pl.DataFrame, cells: Sequence[str], column: str) -> dict[str, float | None]:
    """cell -> value at its last checkpoint, of the cells that have rows."""
    last = (
        rows.filter(pl.col("cell").is_in(list(cells)))
        .sort("epoch")
        .group_by("cell", maintain_order=True)
        .last()
    )
    return dict(zip(last["cell"].to_list(), last[column].to_list(), strict=True))


def broken(rows: pl.DataFrame, cells: Sequence[str], constraints: Sequence[str]) -> set[str]:
    """Cells whose last checkpoint breaks a constraint.

    A constraint is written `column >= bound` or `column <= bound`.
    """
    cells_outside: set[str] = set()
    for constraint in constraints:
        column, relation, bound = constraint.split(" ")
        for cell, value in last_values(rows, cells, column).items():
            inside = value is not None and (
                value >= float(bound) if relation == ">=" else value <= float(bound)
            )
            cells_outside |= set() if inside else {cell}
    return cells_outside


def arm(rows: pl.DataFrame, cells: tuple[str, ...], column: str, constraints: Sequence[str]) -> Arm:
    """What became of the seeds of an arm."""
    values, breaks = last_values(rows, cells, column), broken(rows, cells, constraints)
    known = {place: values.get(cell) for place, cell in enumerate(cells)}
    there = {place: value for place, value in known.items() if value is not None}
    sound = {place: value for place, value in there.items() if cells[place] not in breaks}
    return Arm(cells, sound, len(there) - len(sound), len(cells) - len(there))


def confirmed(search: SearchRecord, rows: pl.DataFrame, metric: Metric | None) -> Comparison | None:
    """The comparison of the search's first objective; None before there is one.

    On the logarithm where the metric has heavy tails and all values are positive.
    """
    if search.confirmation is None:
        return None
    objective = search.objectives[0]
    sides = search.confirmation.tuned, search.confirmation.default
    tuned, default = (arm(rows, cells, objective.column, search.constraints) for cells in sides)
    places = sorted(tuned.values.keys() & default.values.keys())
    pairs = np.array([[side.values[place] for side in (tuned, default)] for place in places])
    log = metric is not None and metric.heavy_tailed and bool((pairs > 0).all())
    line = Comparison(
        metric=objective.column,
        scale="log" if log else "raw",
        trial=search.confirmation.trial,
        stands=search.confirmation.trial in search.best,
        n=len(places),
        tuned_n=len(tuned.values),
        default_n=len(default.values),
        tuned_broke=tuned.broke,
        default_broke=default.broke,
        tuned_failed=tuned.failed,
        default_failed=default.failed,
        note="; ".join(_left_out(tuned, "tuned") + _left_out(default, "default")),
    )
    if line.n < LEAST:
        return _noted(line, f"{line.n} seeds are sound in both arms: no test")
    scaled = np.log(pairs) if log else pairs
    means, test = scaled.mean(axis=0), mean_difference(scaled[:, 0] - scaled[:, 1])
    line = replace(
        line,
        tuned_mean=_back(float(means[0]), log),
        default_mean=_back(float(means[1]), log),
        difference=test.mean,
        ratio=_back(test.mean, True) if log else None,
        p=test.p,
        patterns=test.patterns,
        beats=False,
    )
    if test.cannot_reject:
        return _noted(line, f"cannot reject with n = {line.n}")
    better = test.high < 0 if objective.lower else test.low > 0
    return replace(
        line,
        low=test.low,
        high=test.high,
        ratio_low=_back(test.low, True) if log else None,
        ratio_high=_back(test.high, True) if log else None,
        beats=better and not tuned.broke and not tuned.failed,
    )


def _noted(line: Comparison, reason: str) -> Comparison:
    return replace(line, note="; ".join(filter(None, [line.note, reason])))


def _back(value: float, log: bool) -> float:
    return float(np.exp(value)) if log else value


def _left_out(side: Arm, name: str) -> list[str]:
    parts = [(side.broke, "broke a constraint"), (side.failed, "have no value")]
    return [
        f"{count} of {len(side.cells)} seeds of {name} {what} and are left out"
        for count, what in parts
        if count
    ]


def comparison_table(line: Comparison) -> pl.DataFrame:
    """The comparison as a table of one line."""
    return frame_of(Comparison, [line])
