"""Each metric against the response over all trainings.

A description: nothing is taken out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.findings.verdicts import (
    Preparation,
    Tested,
    Verdict,
    compared,
    design_cells,
    joined,
    metric_values,
    p_beside,
    verdicts,
)
from analysis.reading.table import (
    CDNV_NORM,
    CDNV_SCALE_FREE,
    CDNV_VARIANTS,
    Choices,
    Roles,
    expected_sign,
)
from analysis.statistics.linear import Codes, Floats
from analysis.statistics.permutation import Prepared, prepare
from analysis.statistics.regression import bootstrap_r, regress

LEAST_CELLS = 4  # design cells below which trainings are drawn and not cells


@dataclass(frozen=True)
class Described(Tested):
    """What is said of a metric and the response where no axis is taken out.

    `estimate` is r, with the interval of r; `r2` its square, with that of R^2; `spearman` the
    correlation of ranks. `expected` is the sign of r if more collapse went with a better
    response, `agrees` whether r has it. A CDNV scales with the feature norm: `given_norm` is its
    partial r given that, with p `given_norm_p`.
    """

    r2: float | None = None
    r2_low: float | None = None
    r2_high: float | None = None
    spearman: float | None = None
    expected: int | None = None
    agrees: bool | None = None
    given_norm: float | None = None
    given_norm_p: float | None = None


@dataclass(frozen=True)
class Association(Described):
    """One line: a metric and the response over trainings of all `cells` of the design.

    The interval draws whole cells; p permutes trainings freely, as is published. `slope` of the
    response on the metric with its HC3 standard error.
    """

    cells: int = 0
    slope: float | None = None
    slope_se: float | None = None


def associations(rows: pl.DataFrame, roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Association` lines of every metric, over rows of one training each."""
    y = rows[roles.response].to_numpy()
    values, cells = metric_values(rows, roles), design_cells(rows, roles)
    outcomes = verdicts(values, free(y), roles, choices, cells=cells)
    beside = norm_given(values, rows, y, choices)
    distinct = len(np.unique(cells))
    clusters = cells if distinct >= LEAST_CELLS else np.arange(len(rows))
    lines = []
    for line in described(Association, values, y, outcomes, beside, roles):
        line = replace(line, cells=distinct)  # noqa: PLW2901
        if line.estimate is not None:
            at = outcomes[line.metric].rows
            x = values[line.metric][at]
            bounds = bootstrap_r(
                x, y[at], clusters[at], replicates=choices.bootstrap, seed=choices.seed
            )
            line = with_interval(line, float(bounds[0][0]), float(bounds[1][0]))  # noqa: PLW2901
            fit = regress(x, y[at])
            line = replace(line, slope=fit.slope, slope_se=fit.se)  # noqa: PLW2901
        lines.append(line)
    return frame_of(Association, lines)


def free(y: Floats) -> Preparation:
    """The published test: r, rows permuted freely."""

    def test(x: Floats, at: Codes) -> Prepared:
        return prepare(x, y[at])

    return test


def norm_given(
    values: Mapping[str, Floats], rows: pl.DataFrame, y: Floats, choices: Choices
) -> dict[str, tuple[float, float]]:
    """(partial r, p) of each CDNV given the feature norm, where the table has one."""
    variants = {name: values[name] for name in CDNV_VARIANTS if name in values}
    if not variants or CDNV_NORM not in rows.columns or rows[CDNV_NORM].null_count():
        return {}
    norm = rows[CDNV_NORM].cast(pl.Float64).to_numpy()

    def test(x: Floats, at: Codes) -> Prepared:
        return prepare(x, y[at], covariates=norm[at], studentized=True)

    return p_beside(variants, test, choices)


def described(
    kind: type[Any],
    values: Mapping[str, Floats],
    y: Floats,
    outcomes: Mapping[str, Verdict],
    beside: Mapping[str, tuple[float, float]],
    roles: Roles,
) -> list[Any]:
    """Lines of a `kind` of `Described`, without intervals."""
    from scipy.stats import spearmanr

    better = roles.responses.get(roles.response)
    lines = []
    for name, column in values.items():
        outcome = outcomes[name]
        line = outcome.fill(kind(name, 0))
        if name in CDNV_VARIANTS and CDNV_SCALE_FREE not in values:
            remark = f"scales with the feature norm; {CDNV_SCALE_FREE} is not in this table"
            line = replace(line, note=joined(line.note, remark))
        expected = expected_sign(roles.metrics[name], better)
        line = replace(line, expected=expected)
        if line.estimate is not None:
            r, at = line.estimate, outcome.rows
            line = replace(
                line,
                r2=r**2,
                spearman=float(spearmanr(column[at], y[at]).statistic),
                agrees=None if expected is None or not r else (r > 0) == (expected > 0),
            )
        if name in beside:
            line = replace(line, given_norm=beside[name][0], given_norm_p=beside[name][1])
        lines.append(line)
    return lines


def with_interval(line: Any, low: float, high: float) -> Any:
    """The line with the interval of r, and that of R^2 which follows from it."""
    if np.isnan(low):
        return line
    squares = sorted((low**2, high**2))
    least = 0.0 if low <= 0.0 <= high else squares[0]
    return compared(replace(line, low=low, high=high, r2_low=least, r2_high=squares[1]))
