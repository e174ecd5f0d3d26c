"""How far apart groups of samples are treated, and what changes that.

Gaps are of one training at one precision; everything else is paired by training or by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from analysis.findings.blocks import Blocks, Response, blocks_of
from analysis.findings.changes import Change, changes_of
from analysis.findings.dose_response import dose_response
from analysis.findings.frames import frame_of
from analysis.findings.interventions import Contrast, contrasts
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import Choices, Direction, Table

GAP, GAP_SE, WORST, COSINE = (
    "group_accuracy_gap",
    "group_accuracy_gap_se",
    "group_accuracy_worst",
    "group_cosine_gap",
)
BETTER: dict[str, Direction] = {GAP: "lower", WORST: "higher", COSINE: "lower"}
"""What is asked of groups, and the direction that is fairer."""
CLEAR = 2.0  # standard errors from which a gap is told from chance


@dataclass(frozen=True)
class GapLine:
    """One line: the gaps of `n` trainings at a precision, as means over them.

    `gap` of accuracy, from `gap_least` to `gap_largest`, `gap_se` the standard error of one;
    `clear` trainings whose gap is more than two of their own; `worst` accuracy of a group, `cosine`
    the gap of self-duality.
    """

    precision: str
    n: int
    gap: float | None = None
    gap_least: float | None = None
    gap_largest: float | None = None
    gap_se: float | None = None
    clear: int | None = None
    worst: float | None = None
    cosine: float | None = None


def has_groups(table: Table) -> bool:
    """Whether rows have gaps between groups."""
    names = {*BETTER, GAP_SE}
    return names <= set(table.frame.columns) and table.frame[GAP].count() > 0


def gaps(table: Table) -> pl.DataFrame:
    """Table of `GapLine` lines, the reference precision first."""
    lines = []
    for precision in precisions(table) or [""]:
        rows = final_rows(table, precision or None).drop_nulls([GAP, GAP_SE])
        line = GapLine(precision, len(rows))
        if len(rows):
            line = GapLine(
                precision,
                len(rows),
                gap=_mean(rows[GAP]),
                gap_least=float(rows[GAP].to_numpy().min()),
                gap_largest=float(rows[GAP].to_numpy().max()),
                gap_se=_mean(rows[GAP_SE]),
                clear=rows.filter(pl.col(GAP) > CLEAR * pl.col(GAP_SE)).height,
                worst=_mean(rows[WORST]),
                cosine=_mean(rows[COSINE]),
            )
        lines.append(line)
    return frame_of(GapLine, lines)


def _mean(values: pl.Series) -> float | None:
    known = values.drop_nulls().to_numpy()
    return float(known.mean()) if len(known) else None


def gap_changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines: what precisions do to gaps and worst accuracy."""
    roles = replace(table.roles, responses={**table.roles.responses, **BETTER})
    return frame_of(Change, changes_of(replace(table, roles=roles), list(BETTER), choices))


def gap_doses(table: Table) -> list[Blocks]:
    """The blocks of each declared intervention, with gaps at every precision."""
    wide, asked = _wide(table)
    doses = []
    for intervention in table.roles.interventions:
        blocks = blocks_of(wide, intervention, list(asked))
        values = {
            asked[response.metric]: own
            for response, own in blocks.values.items()
            if response.metric in asked
        }
        doses.append(replace(blocks, values=values))
    return doses


def gap_effects(doses: Sequence[Blocks], table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Contrast` lines: what interventions do to gaps, at every precision.

    One family over levels, precisions and the three columns of an intervention.
    """
    lines = [line for blocks in doses for line in contrasts(blocks, table.roles, choices)]
    return frame_of(Contrast, lines)


def gap_trends(doses: Sequence[Blocks], table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Trend` lines, of interventions that have several levels."""
    several = [blocks for blocks in doses if len(blocks.levels) > 2]
    return dose_response(several, table.roles, choices)


def _wide(table: Table) -> tuple[Table, dict[str, Response]]:
    """One row a training, with a column for each question at each precision."""
    names = precisions(table) or [""]
    rows, unit = final_rows(table), table.roles.unit
    asked: dict[str, Response] = {}
    for precision in names:
        here = final_rows(table, precision or None)
        for column in BETTER:
            name = f"{column} {precision}".strip()
            reference = precision == names[0]
            asked[name] = Response(column, None if reference else precision)
            values = here.select(unit, pl.col(column).cast(pl.Float64).alias(name))
            rows = rows.join(values, on=unit, how="left") if name not in rows else rows
    return replace(table, frame=rows), asked
