"""What a metric adds to a forecast of the response of unseen architectures.

Shapes: n trainings, k metrics, q columns of the model of the design.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.controls import numeric_and_categorical
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import (
    NO_FAMILY,
    Preparation,
    Tested,
    compared,
    design_cells,
    family_of,
    joined,
    metric_values,
    verdicts,
)
from analysis.reading.table import Choices, Roles
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, MOST, NOT_FOUND, UNDECIDED, settle
from analysis.statistics.design import choose_design, design_candidates
from analysis.statistics.forecast import ForecastTest, prepare_forecast
from analysis.statistics.linear import Codes, Floats

TOGETHER, JOINT = "primary metrics together", "joint"
LEAST_GROUPS = 3  # architectures, so that a model sees two when one is left out


@dataclass(frozen=True)
class Forecast(Tested):
    """One line: a metric beside the model of the design.

    One architecture is left out in turn.

    `q2_without` is Q^2 of the design alone, `q2_with` that of the design and the metric. Q^2 is 1
    less the squared errors of prediction by the squares about the mean; `estimate` is what the
    metric adds to it, its interval by the squared errors of each architecture. p is one-sided, by
    exchanging the metric inside design cells. The line `TOGETHER` has all primary metrics by ridge
    regression. `model` and `terms` name the model of the design, `groups` the architectures.
    Trainings with a setting that no other architecture has are left out, as nothing that remains
    says what it does; `note` counts them.
    """

    q2_without: float | None = None
    q2_with: float | None = None
    groups: int = 0
    model: str = ""
    terms: str = ""


def forecast(rows: pl.DataFrame, roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Forecast` lines over rows of one training each.

    Empty where fewer than `LEAST_GROUPS` architectures were trained.
    """
    architecture = [axis for axis in roles.architecture if rows[axis].n_unique() > 1]
    if not architecture or rows.select(architecture).n_unique() < LEAST_GROUPS:
        return frame_of(Forecast, [])
    everything, rows = len(rows), _shared_settings(rows, roles, architecture)
    left_out = everything - len(rows)
    named = [
        ", ".join(f"{axis} {value}" for axis, value in row.items())
        for row in rows.select(architecture).iter_rows(named=True)
    ]
    groups, y = np.asarray(named), rows[roles.response].to_numpy()
    values = metric_values(rows, roles)
    note = f"{left_out} trainings with a setting of one architecture left out" if left_out else ""
    start = Forecast("", len(rows), groups=len(np.unique(groups)), note=note)
    try:
        numeric, categorical = numeric_and_categorical(rows, roles)
        model = choose_design(design_candidates(y, numeric, categorical, groups=groups))
    except ValueError as error:
        reason = f"cannot reject with n = {len(rows)}: {error}"
        return frame_of(
            Forecast,
            [
                replace(
                    start,
                    metric=name,
                    family=family_of(name, roles),
                    verdict=CANNOT_REJECT,
                    note=joined(note, reason),
                )
                for name in values
            ],
        )
    start = replace(start, model=model.name, terms=model.terms)
    cells = design_cells(rows, roles)

    def test(x: Floats, at: Codes, *, together: bool = False) -> ForecastTest:
        return prepare_forecast(
            x, y[at], model.columns[at], groups[at], cells[at], together=together
        )

    outcomes = verdicts(values, test, roles, choices, cells=cells)
    lines = [
        _gained(outcome.fill(replace(start, metric=name)), values[name], outcome.rows, test)
        for name, outcome in outcomes.items()
    ]
    usable = {line.metric for line in lines if line.q2_with is not None and line.n == len(y)}
    joint = [name for name in roles.primary if name in usable]
    if len(joint) > 1:
        by = joined(note, f"by ridge: {', '.join(joint)}")
        line = replace(start, metric=TOGETHER, family=JOINT, note=by)
        x = np.column_stack([values[name] for name in joint])
        lines.append(_together(line, test(x, np.arange(len(y)), together=True), choices))
    return frame_of(Forecast, lines)


def _shared_settings(rows: pl.DataFrame, roles: Roles, architecture: list[str]) -> pl.DataFrame:
    """The rows whose other axes have values that a second architecture has as well.

    All rows where fewer than `LEAST_GROUPS` architectures would be left.
    """
    kept = rows
    for axis in (name for name in roles.axes if name not in architecture):
        kept = kept.filter(pl.struct(architecture).n_unique().over(axis) > 1)
    return kept if kept.select(architecture).n_unique() >= LEAST_GROUPS else rows


def _gained(line: Forecast, x: Floats, at: Codes, test: Preparation) -> Forecast:
    """The line with Q^2 without and with its metric, verdict or not."""
    if line.family == NO_FAMILY or not len(at):
        return line
    try:
        alone = test(x[at, None], at)
    except ValueError:  # the note of the line says why
        return line
    assert isinstance(alone, ForecastTest)
    return _worth(_with_q2(line, alone))


def _with_q2(line: Forecast, test: ForecastTest) -> Forecast:
    """The line with what one metric, or all together, add."""
    low, high = test.interval()
    return replace(
        line,
        estimate=float(test.gain.item()),
        low=float(low.item()),
        high=float(high.item()),
        q2_without=test.q2_without,
        q2_with=float(test.q2_with.item()),
    )


def _worth(line: Forecast) -> Forecast:
    """Not found where the forecast is no better, however small p.

    Chance would then have harmed it more.
    """
    if line.verdict not in (ASSOCIATED, UNDECIDED) or (line.estimate or 0.0) > 0:
        return compared(line)
    return replace(line, verdict=NOT_FOUND, note=joined(line.note, "the forecast is no better"))


def _together(line: Forecast, test: ForecastTest, choices: Choices) -> Forecast:
    """The line of all primary metrics at once, a test of its own."""
    start = choices.permutations
    outcome = settle(test, permutations=start, most=max(MOST, start), seed=choices.seed)
    line = _with_q2(line, test)
    if outcome.cannot_reject:
        reason = f"cannot reject with n = {line.n}: no p below {outcome.least_p:.2g} is possible"
        return replace(line, verdict=CANNOT_REJECT, note=joined(line.note, reason))
    return _worth(
        replace(
            line,
            p=float(outcome.p),
            permutations=outcome.permutations,
            exact=outcome.exact,
            verdict=str(outcome.verdict.item()),
        )
    )
