"""What frozen features know of other classes, and whether collapse goes with it.

Probes are of one training at one precision; everything else is paired by training or by block, or
under the control of the other tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.findings.outcomes import changes_of_outcomes, links_of
from analysis.reading.naming import better_of
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import Choices, Direction, Table
from analysis.statistics.changes import signed_rank

PROBE = re.compile(r"probe_(linear|ncc)_(\d+|all)")
"""Accuracies of probes: kind, and training samples of a class."""
FORGETTING = "forgetting"
LINEAR = "linear"


@dataclass(frozen=True)
class ProbeLine:
    """One line: a probe over `n` trainings at a precision.

    `accuracy` is the Hodges-Lehmann pseudo-median over trainings with the 95% interval `low` to
    `high` that inverts the signed-rank test, `least` and `largest` that of a training; `draws` the
    mean over trainings of the standard deviation between draws of the shots.
    """

    column: str
    kind: str
    shots: str
    precision: str
    n: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    least: float | None = None
    largest: float | None = None
    draws: float | None = None


def outcomes(table: Table) -> dict[str, Direction]:
    """Outcomes of transfer that the table has, with the better direction.

    Probes come by their kind and the number of shots, forgetting last.
    """
    probes = sorted((name for name in table.frame.columns if PROBE.fullmatch(name)), key=_place)
    directions = {name: better_of(name) for name in (*probes, FORGETTING)}
    return {
        name: direction
        for name, direction in directions.items()
        if direction is not None and name in table.frame and table.frame[name].count() > 0
    }


def _place(column: str) -> tuple[bool, float]:
    kind, shots = parts_of(column)
    return kind != LINEAR, float("inf") if shots == "all" else int(shots)


def parts_of(column: str) -> tuple[str, str]:
    """Kind and shots of a probe."""
    match = PROBE.fullmatch(column)
    assert match is not None
    return match[1], match[2]


def asked_of(table: Table) -> list[str]:
    """Outcomes that collapse is related to.

    The probe that learns from the most samples, and forgetting.
    """
    names = list(outcomes(table))
    probes = [name for name in names if name != FORGETTING]
    kind = parts_of(probes[0])[0] if probes else ""
    most = [name for name in probes if parts_of(name)[0] == kind][-1:]
    return [*most, *(name for name in names if name == FORGETTING)]


def probe_lines(table: Table) -> pl.DataFrame:
    """Table of `ProbeLine` lines by probe, the reference precision first."""
    rows = {name: final_rows(table, name or None) for name in precisions(table) or [""]}
    lines = []
    for column in (name for name in outcomes(table) if name != FORGETTING):
        for precision, own in rows.items():
            values = own[column].drop_nulls().cast(pl.Float64).to_numpy()
            line = ProbeLine(column, *parts_of(column), precision, len(values))
            if len(values):
                rank = signed_rank(values)
                line = replace(
                    line,
                    accuracy=rank.estimate,
                    low=rank.low,
                    high=rank.high,
                    least=float(values.min()),
                    largest=float(values.max()),
                    draws=_mean(own, f"{column}_std"),
                )
            lines.append(line)
    return frame_of(ProbeLine, lines)


def _mean(rows: pl.DataFrame, column: str) -> float | None:
    known = rows[column].drop_nulls().to_numpy() if column in rows.columns else np.empty(0)
    return float(known.mean()) if len(known) else None


def transfer_changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines: what each precision does to transfer."""
    return changes_of_outcomes(table, outcomes(table), choices)


def links(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Link` lines: every metric with each outcome that is asked for."""
    known = outcomes(table)
    return links_of(table, {name: known[name] for name in asked_of(table)}, choices)
