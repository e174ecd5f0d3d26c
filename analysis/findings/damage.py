"""Whether collapse predicts what a precision costs, and changes with it.

Shapes: n trainings that are measured at a precision and at its baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.controls import Control, control_for, controlled
from analysis.findings.frames import frame_of
from analysis.findings.pairs import comparisons, fine_tuned, paired
from analysis.findings.verdicts import PRIMARY, Tested, family_of, joined, metric_values
from analysis.reading.table import Choices, Roles, Table
from analysis.statistics.decide import (
    ASSOCIATED,
    CANNOT_REJECT,
    MOST,
    NOT_FOUND,
    STEP,
    SURE,
    UNDECIDED,
)
from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Floats
from analysis.statistics.multiplicity import benjamini_hochberg
from analysis.statistics.permutation import monte_carlo_interval

BASELINE, CHANGE = "baseline", "change"
TRAIN_LOSS = "train_loss"
# Relative error of the weights, which drives the changes of metric and loss alike.
NOISE = "weight_error"


@dataclass(frozen=True)
class Damage(Tested):
    """One line: a metric and the change of the response between two precisions.

    They are `baseline` and `precision`.

    `kind` baseline: x is the metric at the baseline, given the response and the training loss
    there; `kind` change: x is the change of the metric, given the relative error of the weights.
    `estimate` is the partial r under `control` and what is `given`. p max-T is over the primary
    metrics at one precision, `q_precisions` adjusts it over the precisions (Benjamini & Hochberg
    1995) and decides.
    """

    kind: str = ""
    precision: str = ""
    baseline: str = ""
    control: str = ""
    given: str = ""
    q_precisions: float | None = None


@dataclass(frozen=True)
class _Question:
    """One comparison: its rows, y, the metrics, and the control.

    The rows have all that is needed.
    """

    line: Damage
    y: Floats
    values: Mapping[str, Floats]
    control: Control | None
    obstacle: str = ""

    def lines(self, roles: Roles, choices: Choices, *, only: tuple[str, ...] = ()) -> list[Damage]:
        """The lines of all metrics, or of some."""
        names = [name for name in self.values if name in only or not only]
        start = {
            name: replace(self.line, metric=name, family=family_of(name, roles)) for name in names
        }
        if self.control is None:
            return [
                replace(line, n=len(self.y), verdict=CANNOT_REJECT, note=self.obstacle)
                for line in start.values()
            ]
        return controlled(start, self.values, self.y, self.control, roles, choices)


def damage(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Damage` lines of every comparison; empty without two precisions."""
    lines: list[Damage] = []
    pairings = [(pair, paired(table, *pair)) for pair in comparisons(table)]
    for kind in (BASELINE, CHANGE):
        questions = [_question(table, kind, pair, rows, choices) for pair, rows in pairings]
        lines += _over_precisions(questions, table.roles, choices)
    return frame_of(Damage, lines)


def _question(
    table: Table, kind: str, pair: tuple[str, str], rows: pl.DataFrame, choices: Choices
) -> _Question:
    roles = table.roles
    given = _before(rows, roles) if kind == BASELINE else _noise(rows, pair[0])
    change = pl.col(f"{roles.response}_q") - pl.col(roles.response)
    rows = rows.with_columns(change.alias("_change")).drop_nulls(["_change", *given.values()])
    y = rows["_change"].to_numpy()
    values = metric_values(rows, roles)
    if kind == CHANGE:
        after = rows.select(pl.col(f"{name}_q").alias(name) for name in values)
        values = {name: x - values[name] for name, x in metric_values(after, roles).items()}
    line = Damage("", 0, kind=kind, precision=pair[0], baseline=pair[1], given=", ".join(given))
    cannot = f"cannot reject with n = {len(y)}"
    if len(y) and not np.ptp(y):
        return _Question(line, y, values, None, f"{cannot}: the response changes alike everywhere")
    try:
        control = control_for(rows, y, roles, choices)
    except ValueError as error:
        return _Question(line, y, values, None, f"{cannot}: {error}")
    if given:
        columns = rows.select(list(given.values())).to_numpy().astype(np.float64)
        control = control.given(columns[control.rows])
    return _Question(replace(line, control=control.name), y, values, control)


def _before(rows: pl.DataFrame, roles: Roles) -> dict[str, str]:
    """Columns at the baseline that are given, by what they are called."""
    names = dict.fromkeys([roles.response, TRAIN_LOSS])
    return {name: name for name in names if _varies(rows, name)}


def _noise(rows: pl.DataFrame, precision: str) -> dict[str, str]:
    """The weight error where it is one of rounding: not after fine-tuning."""
    column = f"{NOISE}_q" if f"{NOISE}_q" in rows.columns else NOISE
    return {} if fine_tuned(precision) or not _varies(rows, column) else {NOISE: column}


def _varies(rows: pl.DataFrame, column: str) -> bool:
    return column in rows.columns and rows[column].drop_nulls().n_unique() > 1


def _over_precisions(questions: list[_Question], roles: Roles, choices: Choices) -> list[Damage]:
    """The lines of each comparison.

    Those of primary metrics are adjusted over the comparisons.

    Permutations go on for the comparisons that have a line whose verdict they leave open.
    """
    answers = [{line.metric: line for line in each.lines(roles, choices)} for each in questions]
    permutations = choices.permutations
    while True:
        adjusted, unclear = _adjusted(answers, roles.primary)
        if not unclear or permutations >= MOST:
            break
        permutations = min(STEP * permutations, MOST)
        longer = replace(choices, permutations=permutations)
        for at in unclear:
            answers[at] |= {
                line.metric: line for line in questions[at].lines(roles, longer, only=roles.primary)
            }
    return [line for answer in adjusted for line in answer.values()]


def _adjusted(
    answers: list[dict[str, Damage]], primary: tuple[str, ...]
) -> tuple[list[dict[str, Damage]], set[int]]:
    """The lines with their q over precisions, and the comparisons left open.

    A comparison is left open where one of its lines is.
    """
    done, unclear = [dict(answer) for answer in answers], set()
    for name in primary:
        places = [
            at
            for at, answer in enumerate(answers)
            if name in answer and answer[name].p_maxt is not None
        ]
        if not places:
            continue
        lines = [answers[at][name] for at in places]
        bounds = [_bounds(line) for line in lines]
        q, low, high = (
            benjamini_hochberg(column)
            for column in ([line.p_maxt or 0.0 for line in lines], *zip(*bounds, strict=True))
        )
        for at, line, value, least, most in zip(places, lines, q, low, high, strict=True):
            if least <= ALPHA < most:
                unclear.add(at)
            done[at][name] = _decided(line, float(value), bool(least <= ALPHA < most), len(places))
    return done, unclear


def _bounds(line: Damage) -> tuple[float, float]:
    """99% interval of the p max-T that infinitely many permutations would give."""
    p = line.p_maxt or 0.0
    if line.exact or line.permutations is None:
        return p, p
    return monte_carlo_interval(p, line.permutations, confidence=SURE)


def _decided(line: Damage, q: float, unclear: bool, precisions: int) -> Damage:
    line = replace(line, q_precisions=q)
    if line.verdict not in (ASSOCIATED, NOT_FOUND, UNDECIDED) or line.family != PRIMARY:
        return line
    word = UNDECIDED if unclear else ASSOCIATED if q <= ALPHA else NOT_FOUND
    if line.verdict == ASSOCIATED and word == NOT_FOUND:
        note = f"p max-T is not below {ALPHA:g} once adjusted over {precisions} precisions"
        return replace(line, verdict=word, note=joined(line.note, note))
    return replace(line, verdict=word)
