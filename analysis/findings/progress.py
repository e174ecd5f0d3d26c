"""Association given how far training got, and with the gap of generalization.

Metrics are measured on training data. An association with the response that vanishes given the
training loss says how far a training got, not how well it generalizes. It vanishes where the
interval given the training loss leaves out what r was before; a test that merely finds it no
longer, in fewer degrees of freedom, says nothing of that kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.controls import control_for, controlled
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import Tested, family_of, inadequate, metric_values
from analysis.reading.table import Choices, Roles
from analysis.statistics.decide import ASSOCIATED, NOT_FOUND

TRAIN_LOSS, GAP = "train_loss", "generalization_gap"

REMAINS = "remains given train_loss"
VANISHES = "vanishes given train_loss"
UNSEEN = "is no longer found given train_loss"
TURNS = "turns its sign given train_loss"
APPEARS = "appears given train_loss"


@dataclass(frozen=True)
class GivenProgress(Tested):
    """One line: a metric and a `response`, under a `control`.

    `given` says whether the training loss is taken out.

    `before` is the partial r without train_loss, `verdict_before` what that test says of it;
    `reading` what becomes of an association given train_loss. The gap is not taken given
    train_loss: it is the response less train_loss, so that its partial r would be that of the
    response.
    """

    response: str = ""
    given: str = ""
    control: str = ""
    before: float | None = None
    verdict_before: str | None = None
    reading: str = ""


def given_train_loss(rows: pl.DataFrame, roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `GivenProgress` lines; empty without a column of the training loss.

    Lines with the response come first, then those with the gap of generalization.
    """
    if TRAIN_LOSS not in rows.columns or roles.response == TRAIN_LOSS:
        return frame_of(GivenProgress, [])
    known = rows.drop_nulls([TRAIN_LOSS])
    if known.is_empty() or known[TRAIN_LOSS].n_unique() < 2:
        return frame_of(GivenProgress, [])
    lines = _of_response(known, roles, choices)
    if GAP in known.columns and roles.response != GAP:
        lines += _of_gap(known.drop_nulls([GAP]), roles, choices)
    return frame_of(GivenProgress, lines)


def _of_response(rows: pl.DataFrame, roles: Roles, choices: Choices) -> list[GivenProgress]:
    values, y = metric_values(rows, roles), rows[roles.response].to_numpy()
    start = [GivenProgress(name, 0, response=roles.response, given=TRAIN_LOSS) for name in values]
    try:
        control = control_for(rows, y, roles, choices)
    except ValueError as error:
        return _without_control(start, values, roles, str(error))
    plain = [replace(line, control=control.name) for line in start]
    before = {
        line.metric: line
        for line in controlled(_by_name(plain), values, y, control, roles, choices)
    }
    progress = rows[TRAIN_LOSS].to_numpy()[control.rows, None]
    after = controlled(_by_name(plain), values, y, control.given(progress), roles, choices)
    return [_read(line, before[line.metric]) for line in after]


def _of_gap(rows: pl.DataFrame, roles: Roles, choices: Choices) -> list[GivenProgress]:
    if rows.is_empty() or rows[GAP].n_unique() < 2:
        return []
    values, y = metric_values(rows, roles), rows[GAP].to_numpy()
    start = [GivenProgress(name, 0, response=GAP) for name in values]
    try:
        control = control_for(rows, y, roles, choices)
    except ValueError as error:
        return _without_control(start, values, roles, str(error))
    plain = [replace(line, control=control.name) for line in start]
    return controlled(_by_name(plain), values, y, control, roles, choices)


def _by_name(lines: Iterable[GivenProgress]) -> dict[str, GivenProgress]:
    return {line.metric: line for line in lines}


def _without_control(
    lines: list[GivenProgress], values: dict[str, np.ndarray], roles: Roles, reason: str
) -> list[GivenProgress]:
    counted = [
        replace(
            line,
            n=int(np.isfinite(values[line.metric]).sum()),
            verdict="",
            family=family_of(line.metric, roles),
        )
        for line in lines
    ]
    return inadequate(counted, reason)


def _read(line: GivenProgress, before: GivenProgress) -> GivenProgress:
    """The line with what held before train_loss was given, and what becomes of it."""
    line = replace(line, before=before.estimate, verdict_before=before.verdict)
    held, holds = before.verdict == ASSOCIATED, line.verdict == ASSOCIATED
    if held and holds:
        assert line.estimate is not None and before.estimate is not None
        same = (line.estimate > 0) == (before.estimate > 0)
        return replace(line, reading=REMAINS if same else TURNS)
    if held and line.verdict == NOT_FOUND:
        return replace(line, reading=VANISHES if _left_out(before.estimate, line) else UNSEEN)
    if holds and before.verdict == NOT_FOUND:
        return replace(line, reading=APPEARS)
    return line


def _left_out(r: float | None, line: GivenProgress) -> bool:
    """Whether the interval of the line is known and does not hold r."""
    if r is None or line.low is None or line.high is None:
        return False
    return not line.low <= r <= line.high
