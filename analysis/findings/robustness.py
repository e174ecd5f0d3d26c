"""What attacks do to trainings, at each precision and by the adversary of each.

An attacked row stands beside the clean row of the same model, so everything is paired.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from analysis.findings.frames import frame_of
from analysis.findings.outcomes import changes_of_outcomes, links_of
from analysis.reading.selection import final_rows, precisions
from analysis.reading.subjects import ATTACK
from analysis.reading.table import Choices, Direction, Table
from analysis.statistics.changes import signed_rank

CLEAN, ROBUST, GAP = "val_accuracy", "robust_accuracy", "attack_gap"
ARRIVAL, PROGRESS, DISTANCE = "leap_arrival", "leap_progress", "leap_distance"
BETTER: dict[str, Direction] = {
    ROBUST: "higher",
    "robust_loss": "lower",
    GAP: "lower",
    ARRIVAL: "lower",
    PROGRESS: "lower",
    DISTANCE: "lower",
}
"""Outcomes of attacks, and which direction of each is better."""
ASKED = (ROBUST, ARRIVAL)
"""Outcomes that collapse is related to."""
KIND, RADIUS, NORM = "adversary_kind", "adversary_eps", "adversary_norm"
NO_ADVERSARY = "none"
ABSENT = ("none", "0", "0.0")
"""Radii of no adversary, as texts: a table may hold either."""


@dataclass(frozen=True)
class RobustLine:
    """One line: accuracy with and without an attack, over `n` trainings.

    They are alike in `adversary`. `clean` and `robust` are Hodges-Lehmann pseudo-medians over
    trainings with the 95% intervals that invert the signed-rank test; of the leaps there are
    medians over trainings.
    """

    attack: str
    adversary: str
    precision: str
    n: int
    clean: float | None = None
    clean_low: float | None = None
    clean_high: float | None = None
    robust: float | None = None
    robust_low: float | None = None
    robust_high: float | None = None
    arrival: float | None = None
    progress: float | None = None
    distance: float | None = None


def outcomes(table: Table) -> dict[str, Direction]:
    """Outcomes of attacks that the table has, with the better direction."""
    return {
        name: better
        for name, better in BETTER.items()
        if name in table.frame.columns and table.frame[name].count() > 0
    }


def with_adversary(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the column `adversary`.

    It is kind and radius, `none` for no adversary, and "" where all trainings have the same.
    """
    named = [name for name in (KIND, RADIUS, NORM) if name in rows.columns]
    varied = [name for name in named if rows[name].n_unique() > 1]
    if RADIUS not in named or not varied:
        return rows.with_columns(pl.lit("").alias("adversary"))
    parts = [KIND, RADIUS] if KIND in named else [RADIUS]
    parts += [NORM] if NORM in varied else []
    radius = pl.col(RADIUS).cast(pl.String).fill_null(NO_ADVERSARY)
    text = pl.concat_str([pl.col(name).cast(pl.String) for name in parts], separator=" ")
    return rows.with_columns(
        pl.when(radius.is_in(ABSENT)).then(pl.lit(NO_ADVERSARY)).otherwise(text).alias("adversary")
    )


def robust_lines(table: Table) -> pl.DataFrame:
    """Table of `RobustLine` lines: the reference precision first, no adversary first."""
    lines = []
    for precision in precisions(table) or [""]:
        rows = with_adversary(final_rows(table, precision or None)).drop_nulls([ROBUST, CLEAN])
        names = rows["adversary"].unique().sort().to_list()
        for adversary in sorted(names, key=lambda name: name != NO_ADVERSARY):
            own = rows.filter(pl.col("adversary") == adversary)
            attacks = own[ATTACK].unique().sort().to_list() if ATTACK in own.columns else []
            lines.append(_line(own, RobustLine(", ".join(attacks), adversary, precision, len(own))))
    return frame_of(RobustLine, lines)


def _line(rows: pl.DataFrame, line: RobustLine) -> RobustLine:
    clean, robust = (signed_rank(rows[name].to_numpy()) for name in (CLEAN, ROBUST))
    return replace(
        line,
        clean=clean.estimate,
        clean_low=clean.low,
        clean_high=clean.high,
        robust=robust.estimate,
        robust_low=robust.low,
        robust_high=robust.high,
        arrival=_median(rows, ARRIVAL),
        progress=_median(rows, PROGRESS),
        distance=_median(rows, DISTANCE),
    )


def _median(rows: pl.DataFrame, column: str) -> float | None:
    value = rows[column].median() if column in rows.columns else None
    return value if isinstance(value, float) else None


def robust_changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines: what each precision does to outcomes of attacks."""
    return changes_of_outcomes(table, outcomes(table), choices)


def robust_links(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Link` lines: every metric with each outcome that is asked for."""
    known = outcomes(table)
    asked = {name: known[name] for name in ASKED if name in known}
    return links_of(table, asked, choices)
