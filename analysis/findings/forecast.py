"""What a metric adds to a forecast of the response of unseen architectures.

Shapes: n trainings, k metrics, q columns of the model of the design.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.controls import numeric_and_categorical
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import (
    EXPLORATORY,
    FUNCTION_OF_AXES,
    NO_FAMILY,
    PRIMARY,
    Tested,
    axis_functions,
    design_cells,
    family_of,
    in_words,
    joined,
    metric_values,
)
from analysis.reading.table import Choices, Roles
from analysis.statistics.decide import (
    ASSOCIATED,
    CANNOT_REJECT,
    MOST,
    NOT_FOUND,
    STEP,
    SURE,
    UNDECIDED,
)
from analysis.statistics.design import choose_design, design_candidates
from analysis.statistics.forecast import forecast as forecast_of
from analysis.statistics.forecast import ridge_forecast
from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Codes, Floats, nuisance
from analysis.statistics.multiplicity import benjamini_hochberg, holm
from analysis.statistics.permutation import monte_carlo_interval

TOGETHER, JOINT = "primary metrics together", "joint"
RIDGE_PERMUTATIONS = 999
LEAST_GROUPS = 3  # architectures, so that a model sees two when one is left out


@dataclass(frozen=True)
class Forecast(Tested):
    """One line: a metric beside the model of the design.

    One architecture is left out in turn.

    `q2_without` is Q^2 of the design alone, `q2_with` that of the design and the metric. Q^2 is 1
    less the squared errors of prediction by the squares about the mean; `estimate` is what the
    metric adds to it. p is one-sided, by exchanging the metric inside design cells; p max-T is by
    Holm. The line `TOGETHER` has all primary metrics by ridge
    regression. `model` and `terms` name the model of the design, `groups` the architectures.
    """

    q2_without: float | None = None
    q2_with: float | None = None
    groups: int = 0
    model: str = ""
    terms: str = ""


@dataclass(frozen=True)
class _Design:
    """The model of the design (n, q), what is left out (n,), and design cells (n,)."""

    columns: Floats
    groups: Codes
    cells: Codes


def forecast(rows: pl.DataFrame, roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Forecast` lines over rows of one training each.

    Empty where fewer than `LEAST_GROUPS` architectures were trained.
    """
    architecture = [axis for axis in roles.architecture if rows[axis].n_unique() > 1]
    if not architecture or rows.select(architecture).n_unique() < LEAST_GROUPS:
        return frame_of(Forecast, [])
    groups = (rows.select(pl.struct(architecture).rank("dense") - 1)).to_series().to_numpy()
    groups, y = groups.astype(np.intp), rows[roles.response].to_numpy()
    values = metric_values(rows, roles)
    start = Forecast("", len(rows), groups=int(groups.max()) + 1)
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
                    note=reason,
                )
                for name in values
            ],
        )
    start = replace(start, model=model.name, terms=model.terms)
    design = _Design(model.columns, groups, design_cells(rows, roles))
    functions = axis_functions(values, design.cells)
    lines = {
        name: _screened(
            replace(start, metric=name, family=_family(name, roles, functions)), x, design
        )
        for name, x in values.items()
    }
    lines |= _gains(lines, values, y, design, choices)
    together = [name for name in roles.primary if _complete(lines[name], len(rows))]
    answers = list(lines.values())
    if len(together) > 1:
        x = np.column_stack([values[name] for name in together])
        line = replace(
            start, metric=TOGETHER, family=JOINT, note=f"by ridge: {', '.join(together)}"
        )
        answers.append(_together(line, x, y, design, choices))
    return frame_of(Forecast, answers)


def _family(name: str, roles: Roles, functions: frozenset[str]) -> str:
    return NO_FAMILY if name in functions else family_of(name, roles)


def _screened(line: Forecast, x: Floats, design: _Design) -> Forecast:
    """The line as it is if its metric can be used, else with the reason why it cannot."""
    known = np.isfinite(x)
    missing = len(x) - int(known.sum())
    note = f"{missing} of {len(x)} rows have no value" if missing else ""
    line = replace(line, n=int(known.sum()), note=note)
    if line.family == NO_FAMILY:
        return replace(line, note=joined(note, FUNCTION_OF_AXES))
    try:
        nuisance(line.n, covariates=design.columns[known]).vary(line.metric, x[known][:, None])
    except ValueError as error:
        return replace(line, family=NO_FAMILY, note=joined(note, in_words(error, line.metric)))
    return line


def _complete(line: Forecast, n: int) -> bool:
    return line.family != NO_FAMILY and line.n == n


def _gains(
    lines: dict[str, Forecast],
    values: dict[str, Floats],
    y: Floats,
    design: _Design,
    choices: Choices,
) -> dict[str, Forecast]:
    """The lines that can be used, with what their metric adds and its verdict."""
    names = [name for name, line in lines.items() if line.family != NO_FAMILY]
    answers: dict[str, Forecast] = {}
    permutations = choices.permutations
    unclear = names
    while unclear:
        answers |= _alone(unclear, lines, values, y, design, permutations, choices.seed)
        decided: dict[str, Forecast] = {}
        for family, adjust, column in (
            (PRIMARY, holm, "p_maxt"),
            (EXPLORATORY, benjamini_hochberg, "q"),
        ):
            members = [
                name
                for name in names
                if answers[name].family == family and answers[name].p is not None
            ]
            decided |= _adjusted([answers[name] for name in members], adjust, column)
        unclear = [name for name, line in decided.items() if line.verdict == UNDECIDED]
        answers |= decided
        if permutations >= MOST:
            break
        permutations = min(STEP * permutations, MOST)
    return answers


def _alone(
    names: list[str],
    lines: dict[str, Forecast],
    values: dict[str, Floats],
    y: Floats,
    design: _Design,
    permutations: int,
    seed: int,
) -> dict[str, Forecast]:
    """What each metric adds to the forecast.

    Metrics with a value in the same rows share their permutations.
    """
    batches: dict[bytes, list[str]] = {}
    for name in names:
        batches.setdefault(np.isfinite(values[name]).tobytes(), []).append(name)
    answers: dict[str, Forecast] = {}
    for batch in batches.values():
        at = np.isfinite(values[batch[0]])
        x = np.column_stack([values[name][at] for name in batch])
        try:
            result = forecast_of(
                x,
                y[at],
                design.columns[at],
                design.groups[at],
                design.cells[at],
                permutations=permutations,
                seed=seed,
            )
        except ValueError as error:
            answers |= {name: _unanswered(lines[name], in_words(error, name)) for name in batch}
            continue
        for place, name in enumerate(batch):
            line = replace(
                lines[name],
                estimate=float(result.gain[place]),
                q2_without=result.q2_without,
                q2_with=float(result.q2_with[place]),
            )
            p = float(result.p[place])
            answers[name] = (
                _unanswered(
                    line, "no design cell has two trainings whose metric could be exchanged"
                )
                if np.isnan(p)
                else replace(line, p=p, permutations=result.permutations, exact=result.exact)
            )
    return answers


def _unanswered(line: Forecast, reason: str) -> Forecast:
    note = joined(line.note, f"cannot reject with n = {line.n}: {reason}")
    return replace(line, verdict=CANNOT_REJECT, note=note)


def _adjusted(
    lines: list[Forecast], adjust: Callable[[list[float]], Floats], column: str
) -> dict[str, Forecast]:
    """The lines of a family with their adjusted p and what it says."""
    if not lines:
        return {}
    bounds = [_bounds(line) for line in lines]
    p, low, high = (
        adjust(list(each))
        for each in ([line.p or 0.0 for line in lines], *zip(*bounds, strict=True))
    )
    done = {}
    for line, value, least, most in zip(lines, p, low, high, strict=True):
        word = UNDECIDED if least <= ALPHA < most else ASSOCIATED if value <= ALPHA else NOT_FOUND
        line = _worth(replace(line, verdict=word))  # noqa: PLW2901
        done[line.metric] = (
            replace(line, q=float(value)) if column == "q" else replace(line, p_maxt=float(value))
        )
    return done


def _worth(line: Forecast) -> Forecast:
    """Not found where the forecast is no better, however small p.

    Chance would then have harmed it more.
    """
    if (line.estimate or 0.0) > 0 or line.verdict == NOT_FOUND:
        return line
    return replace(line, verdict=NOT_FOUND, note=joined(line.note, "the forecast is no better"))


def _bounds(line: Forecast) -> tuple[float, float]:
    """99% interval of the p that infinitely many permutations would give."""
    p = line.p or 0.0
    if line.exact or not line.permutations:
        return p, p
    return monte_carlo_interval(p, line.permutations, confidence=SURE)


def _together(line: Forecast, x: Floats, y: Floats, design: _Design, choices: Choices) -> Forecast:
    """The line of all primary metrics at once, a test of its own."""
    permutations = min(RIDGE_PERMUTATIONS, choices.permutations)
    while True:
        try:
            result = ridge_forecast(
                x,
                y,
                design.columns,
                design.groups,
                design.cells,
                permutations=permutations,
                seed=choices.seed,
            )
        except ValueError as error:
            return _unanswered(line, in_words(error, "a metric"))
        answer = replace(
            line,
            estimate=result.gain,
            q2_without=result.q2_without,
            q2_with=result.q2_with,
            p=result.p,
            permutations=result.permutations,
            exact=result.exact,
        )
        if result.p is None:
            return _unanswered(answer, "no design cell has two trainings")
        low, high = _bounds(answer)
        if not low <= ALPHA < high:
            return _worth(replace(answer, verdict=ASSOCIATED if result.p <= ALPHA else NOT_FOUND))
        if permutations >= MOST // STEP:
            return replace(answer, verdict=UNDECIDED)
        permutations *= STEP
