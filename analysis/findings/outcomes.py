"""Outcomes beside the response, such as transfer and robustness.

Whether collapse goes with them, and what precisions and interventions do to them: everything is
under the control of the other tables, or paired by training or by block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.blocks import Blocks, blocks_of
from analysis.findings.changes import Change, changes_of
from analysis.findings.controls import control_for, controlled
from analysis.findings.frames import frame_of
from analysis.findings.interventions import Contrast, contrasts
from analysis.findings.verdicts import Tested, family_of, metric_values
from analysis.reading.selection import final_rows
from analysis.reading.table import Choices, Direction, Roles, Table, expected_sign
from analysis.statistics.decide import CANNOT_REJECT

WORSE, BETTER = "worse", "better"


@dataclass(frozen=True)
class Link(Tested):
    """One line: a metric and an outcome at the reference precision.

    `estimate` is the partial r under `control`; `collapse` says whether trainings that collapse
    more have a `worse` or a `better` outcome, by the sign of r: null for metrics without a
    direction.
    """

    response: str = ""
    control: str = ""
    collapse: str | None = None


def links_of(table: Table, outcomes: Mapping[str, Direction], choices: Choices) -> pl.DataFrame:
    """Table of `Link` lines: every metric with each outcome.

    `outcomes` have the direction that is better.
    """
    lines: list[Link] = []
    for name, better in outcomes.items():
        responses = {**table.roles.responses, name: better}
        roles = replace(table.roles, response=name, responses=responses)
        rows = final_rows(table).drop_nulls(name)
        lines += [_read(line, roles) for line in _linked(rows, roles, choices)]
    return frame_of(Link, lines)


def changes_of_outcomes(
    table: Table, outcomes: Mapping[str, Direction], choices: Choices
) -> pl.DataFrame:
    """Table of `Change` lines: what each precision does to the outcomes."""
    roles = replace(table.roles, responses={**table.roles.responses, **outcomes})
    return frame_of(Change, changes_of(replace(table, roles=roles), list(outcomes), choices))


def doses_of(table: Table, outcomes: Sequence[str]) -> list[Blocks]:
    """The blocks of each declared intervention, with the outcomes alone."""
    doses = []
    for intervention in table.roles.interventions:
        blocks = blocks_of(table, intervention, list(outcomes))
        values = {each: own for each, own in blocks.values.items() if each.metric in outcomes}
        doses.append(replace(blocks, values=values))
    return doses


def effects_of(doses: Sequence[Blocks], table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Contrast` lines: what interventions do to outcomes."""
    lines = [line for blocks in doses for line in contrasts(blocks, table.roles, choices)]
    return frame_of(Contrast, lines)


def _linked(rows: pl.DataFrame, roles: Roles, choices: Choices) -> list[Link]:
    y = rows[roles.response].cast(pl.Float64).to_numpy()
    values = metric_values(rows, roles)
    start = {
        name: Link(name, len(y), family=family_of(name, roles), response=roles.response)
        for name in values
    }
    cannot = f"cannot reject with n = {len(y)}"
    if not len(y) or not np.ptp(y):
        note = f"{cannot}: {roles.response} does not vary"
        return [replace(line, verdict=CANNOT_REJECT, note=note) for line in start.values()]
    try:
        control = control_for(rows, y, roles, choices)
    except ValueError as error:
        note = f"{cannot}: {error}"
        return [replace(line, verdict=CANNOT_REJECT, note=note) for line in start.values()]
    start = {name: replace(line, control=control.name) for name, line in start.items()}
    tested = controlled(start, values, y, control, roles, choices)
    return [line for line in tested if isinstance(line, Link)]


def _read(line: Link, roles: Roles) -> Link:
    """The line with what the sign of r says of trainings that collapse more."""
    expected = expected_sign(roles.metrics[line.metric], roles.responses[roles.response])
    if expected is None or not line.estimate:
        return line
    return replace(line, collapse=BETTER if line.estimate * expected > 0 else WORSE)
