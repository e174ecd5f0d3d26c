"""How a response goes with the dose of an intervention, and means by dose.

Shapes: n rows, one a block and level; b blocks, l levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.findings.blocks import Blocks, Long, Response
from analysis.findings.controls import Control, controlled
from analysis.findings.frames import frame_of
from analysis.findings.interventions import OUTCOME, family_of, shown_level
from analysis.findings.verdicts import EXPLORATORY, PRIMARY, Tested
from analysis.reading.table import Choices, Metric, Roles
from analysis.statistics.levels import CONFIDENCE
from analysis.statistics.linear import Codes, Floats

WITHIN_BLOCKS = "within blocks"


@dataclass(frozen=True)
class Trend(Tested):
    """One line: a column against the rank of the level of a numeric intervention.

    Both centred in their block over `n` trainings in `blocks`; `estimate` is their r, `slope` the
    change a level. `p` by permutation of the levels inside blocks, studentized; `p_maxt` over the
    columns of its `family` (primary metrics, or `outcome`: losses and damage), `q` over the
    exploratory metrics. `scale` log10: of decimal logarithms.
    """

    intervention: str = ""
    precision: str | None = None
    scale: str = "raw"
    blocks: int = 0
    levels: int = 0
    slope: float | None = None


@dataclass(frozen=True)
class LevelMean:
    """One line: a column at one level of an intervention, over `n` blocks.

    Blocks have all levels. `mean` with its 95% interval `low` to `high`: Student's t of the values
    less the mean of their block, times l / (l - 1) (Cousineau 2005, Morey 2008), so that it shows
    what differs between levels. Of a column on the `scale` log10 they are geometric, in the unit of
    the column.
    """

    intervention: str
    metric: str
    precision: str | None
    level: str
    n: int
    scale: str = "raw"
    mean: float | None = None
    low: float | None = None
    high: float | None = None


def rows_of(long: Long, known: NDArray[np.bool_]) -> Control:
    """The control of comparisons inside blocks over the known rows (n,)."""
    rows = long.comparable(known)
    block = long.block[rows]
    return Control(WITHIN_BLOCKS, rows, block, block, np.zeros((len(rows), 0)))


def family_roles(roles: Roles, responses: Iterable[Response], family: str) -> Roles:
    """Roles whose metrics are these responses, all primary but for exploratory ones."""
    names = tuple(response.name for response in responses)
    return replace(
        roles,
        metrics={name: Metric(name) for name in names},
        primary=() if family == EXPLORATORY else names,
    )


def dose_response(doses: Sequence[Blocks], roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Trend` lines of the interventions whose levels are numbers."""
    lines = [
        line
        for blocks in doses
        if blocks.intervention.numeric
        for line in trends(blocks, roles, choices)
    ]
    return frame_of(Trend, lines)


def trends(blocks: Blocks, roles: Roles, choices: Choices) -> list[Trend]:
    """The lines of one intervention, in the order of its responses."""
    long = blocks.long()
    control = rows_of(long, np.ones(len(long.block), dtype=bool))
    rank = long.level.astype(np.float64)
    lines: dict[str, Trend] = {}
    for family in (PRIMARY, OUTCOME, EXPLORATORY):
        chosen = [each for each in blocks.values if family_of(each, roles) == family]
        if not chosen or not len(control.rows):
            continue
        start = {
            each.name: Trend(
                each.name,
                0,
                intervention=blocks.intervention.name,
                scale="log10" if each.log10 else "raw",
                levels=len(blocks.levels),
            )
            for each in chosen
        }
        values = {each.name: long.values[each] for each in chosen}
        own = family_roles(roles, chosen, family)
        for line in controlled(start, values, rank, control, own, choices):
            label = family if line.family == PRIMARY else line.family
            lines[line.metric] = replace(line, family=label, note=of_level(line.note))
    return [
        _with_slope(lines[response.name], response, long)
        for response in blocks.values
        if response.name in lines
    ]


def of_level(note: str) -> str:
    """A note of tests whose response is the level, with its name."""
    return note.replace("with the response", "with the level")


def _with_slope(line: Trend, response: Response, long: Long) -> Trend:
    line = replace(line, metric=response.metric, precision=response.precision)
    values = long.values[response]
    rows = long.comparable(np.isfinite(values))
    line = replace(line, blocks=len(np.unique(long.block[rows])))
    if line.estimate is None:
        return line
    y = centred(values[rows], long.block[rows])
    z = centred(long.level[rows].astype(np.float64), long.block[rows])
    return replace(line, slope=float(z @ y / (z @ z)))


def centred(values: Floats, block: Codes) -> Floats:
    """Values (n,) less the mean of their block (n,)."""
    sizes = np.maximum(np.bincount(block), 1)
    return np.asarray(values - (np.bincount(block, weights=values) / sizes)[block])


def dose_levels(doses: Sequence[Blocks]) -> pl.DataFrame:
    """Table of `LevelMean` lines of every intervention, by column, then level."""
    return frame_of(
        LevelMean,
        [
            line
            for blocks in doses
            for response in blocks.values
            for line in level_means(blocks, response)
        ],
    )


def level_means(blocks: Blocks, response: Response) -> list[LevelMean]:
    """Mean and interval of a response at each level."""
    from scipy.special import stdtrit

    values = blocks.values[response]
    values = values[np.isfinite(values).all(axis=1)]
    b, levels = values.shape
    lines = []
    for at, level in enumerate(blocks.levels):
        line = LevelMean(
            blocks.intervention.name,
            response.metric,
            response.precision,
            shown_level(level),
            b,
            "log10" if response.log10 else "raw",
        )
        if b:
            mean = float(values[:, at].mean())
            line = replace(line, mean=10**mean if response.log10 else mean)
        if b > 1:
            left = values[:, at] - values.mean(axis=1)
            error = float(left.std(ddof=1)) * np.sqrt(levels / (levels - 1) / b)
            reach = float(stdtrit(b - 1, 0.5 + CONFIDENCE / 2) * error)
            low, high = mean - reach, mean + reach
            if response.log10:
                low, high = 10**low, 10**high
            line = replace(line, low=low, high=high)
        lines.append(line)
    return lines
