"""One configuration, many seeds: Table 1 of Wu & Papyan 2024.

For every cell that has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from analysis.findings.association import Described, described, free, norm_given, with_interval
from analysis.findings.controls import inverted
from analysis.findings.frames import frame_of
from analysis.findings.progress import TRAIN_LOSS
from analysis.findings.verdicts import Verdict, metric_values, p_beside, verdicts
from analysis.reading.selection import replicates
from analysis.reading.table import Choices, Roles, Table
from analysis.statistics.design_power import detectable_r
from analysis.statistics.linear import Codes, Floats
from analysis.statistics.partial import partial_correlation
from analysis.statistics.permutation import Prepared, prepare
from analysis.statistics.regression import leave_one_out

LEAST_SEEDS = 8  # replicates of a cell that has a table of its own


@dataclass(frozen=True)
class Fixed(Described):
    """One line: a metric and the response over the replicates of one `configuration`.

    `p_paper` is b/n, the estimate that is published; `spearman_p` by permutation of ranks;
    `loo_low` to `loo_high` the range of r without one training, `influential` the training whose
    removal moves r most, to `r_without`; `given_train_loss` the partial r with its p;
    `detectable_r2` the R^2 found with 80% power alone, `detectable_r2_family` within the family.
    """

    configuration: str = ""
    p_paper: float | None = None
    spearman_p: float | None = None
    loo_low: float | None = None
    loo_high: float | None = None
    influential: str | None = None
    r_without: float | None = None
    given_train_loss: float | None = None
    given_train_loss_p: float | None = None
    detectable_r2: float | None = None
    detectable_r2_family: float | None = None


def configurations(table: Table, rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Cells of at least `LEAST_SEEDS` replicates, the largest first.

    Each comes with its settings.
    """
    groups = sorted(replicates(table, rows, LEAST_SEEDS), key=lambda group: -len(group[1]))
    return [
        (", ".join(f"{name} {value}" for name, value in settings.items()) or "all trainings", part)
        for settings, part in groups
    ]


def fixed(table: Table, rows: pl.DataFrame, choices: Choices) -> pl.DataFrame:
    """Table of `Fixed` lines of every configuration.

    The rows are one per training.
    """
    lines = [
        line
        for name, part in configurations(table, rows)
        for line in fixed_lines(name, part, table.roles, choices)
    ]
    return frame_of(Fixed, lines)


def fixed_lines(name: str, rows: pl.DataFrame, roles: Roles, choices: Choices) -> list[Fixed]:
    """Lines of one configuration, `name`, over its replicates."""
    values, y = metric_values(rows, roles), rows[roles.response].to_numpy()
    if np.ptp(y) == 0:
        return []
    outcomes = verdicts(values, free(y), roles, choices)
    lines = described(Fixed, values, y, outcomes, norm_given(values, rows, y, choices), roles)
    ranks = _rank_tests(values, y, choices)
    progress = _given_train_loss(values, rows, y, choices)
    unit = rows[roles.unit].cast(pl.String).to_numpy()
    family = max(len(roles.primary), 1)
    filled = []
    for line in lines:
        new = replace(line, configuration=name)
        if line.metric in ranks:
            new = replace(new, spearman_p=ranks[line.metric][1])
        if line.metric in progress:
            r, p = progress[line.metric]
            new = replace(new, given_train_loss=r, given_train_loss_p=p)
        if new.estimate is not None:
            new = _alone(new, values[line.metric], y, unit, outcomes[line.metric], family)
            new = _bounded(new, values[line.metric], y, outcomes[line.metric].rows, choices)
        filled.append(new)
    return filled


def _alone(
    line: Fixed, x: Floats, y: Floats, unit: np.ndarray[Any, Any], outcome: Verdict, family: int
) -> Fixed:
    """What a line says that needs no permutation."""
    at = outcome.rows
    assert outcome.p is not None and outcome.permutations is not None
    published = outcome.p
    if not outcome.exact:
        published = (outcome.p * (outcome.permutations + 1) - 1) / outcome.permutations
    alone, within = (detectable_r(len(at) - 2, family=size) for size in (1, family))
    line = replace(
        line,
        p_paper=published,
        detectable_r2=None if alone is None else alone**2,
        detectable_r2_family=None if within is None else within**2,
    )
    try:
        without = leave_one_out(x[at], y[at], unit[at])
    except ValueError:  # x is constant without one of the rows: there is no r then
        return line
    return replace(
        line,
        loo_low=without.low,
        loo_high=without.high,
        influential=without.cluster,
        r_without=without.r_without,
    )


def _bounded(line: Fixed, x: Floats, y: Floats, at: Codes, choices: Choices) -> Fixed:
    """The line with the intervals of r and R^2, which invert the test."""

    def jackknife() -> tuple[Floats, Floats]:
        fit = partial_correlation(x[at, None], y[at])
        return fit.low, fit.high

    low, high = inverted(prepare(x[at, None], y[at]), jackknife, choices)
    bounded: Fixed = with_interval(line, float(low[0]), float(high[0]))
    return bounded


def _rank_tests(
    values: Mapping[str, Floats], y: Floats, choices: Choices
) -> dict[str, tuple[float, float]]:
    """(Spearman's correlation, p) of each metric."""
    from scipy.stats import rankdata

    ranks = {name: rankdata(column, nan_policy="omit") for name, column in values.items()}

    def test(x: Floats, at: Codes) -> Prepared:
        return prepare(x, rankdata(y[at]))

    return p_beside(ranks, test, choices)


def _given_train_loss(
    values: Mapping[str, Floats], rows: pl.DataFrame, y: Floats, choices: Choices
) -> dict[str, tuple[float, float]]:
    """(partial r, p) of each metric given the training loss, where the table has it."""
    if TRAIN_LOSS not in rows.columns or rows[TRAIN_LOSS].null_count():
        return {}
    progress = rows[TRAIN_LOSS].cast(pl.Float64).to_numpy()

    def test(x: Floats, at: Codes) -> Prepared:
        return prepare(x, y[at], covariates=progress[at])

    return p_beside(values, test, choices)
