"""Levels of an axis compared at equal training loss, seed by seed.

Optimizers share no setting: each has its own learning rates and decays, and what differs in
collapse may only be how far a training got. So the levels are compared as in an analysis of
covariance. Shapes: a, b trainings of one seed at the baseline and at a level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.blocks import OTHER_SEEDS, Response
from analysis.findings.frames import frame_of
from analysis.findings.interventions import (
    Contrast,
    adjusted,
    family_of,
    margin_of,
    of_signed_ranks,
    shown_level,
)
from analysis.findings.verdicts import INADEQUATE, joined
from analysis.reading.selection import final_rows
from analysis.reading.table import Choices, Matched, Roles, Table
from analysis.statistics.decomposition import pooled_deviation
from analysis.statistics.linear import Floats

TRAIN_LOSS = "train_loss"
NO_SEEDS = "no seed has two trainings that differ in train_loss"
BLOCK = "block"
LEAST_WITHIN = 0.5
"""Share of seeds whose losses meet below which nothing is claimed."""


@dataclass(frozen=True)
class MatchedContrast(Contrast):
    """One line: a column at a level less that at the baseline, at equal train_loss.

    Over `n` seeds, in the trainings of one `group`, which agree in all axes that are not free. Of
    each seed the difference is that of an analysis of covariance on log10 train_loss with one
    slope,

        d = (mean y_b - mean y_a) - s (mean x_b - mean x_a),
        s = (Sxy_a + Sxy_b) / (Sxx_a + Sxx_b),

    and the differences are tested as those of pairs are (`Contrast`). `within` is the share of
    seeds whose mean x_b lies among the x_a: where it is less than half, the losses of the two
    levels hardly meet, equal loss is a guess beyond the data, and the verdict is `control
    inadequate`.
    """

    group: str = ""
    within: float | None = None


def matched(table: Table, columns: Sequence[str], choices: Choices) -> pl.DataFrame:
    """Table of `MatchedContrast` lines: by group, level, column.

    Empty where no axis is declared, or without training losses above zero.
    """
    axis, roles, rows = table.roles.matched, table.roles, final_rows(table)
    if axis is None or TRAIN_LOSS not in rows.columns:
        return frame_of(MatchedContrast, [])
    seeds = [name for name in (roles.seed, *OTHER_SEEDS) if name is not None and name in rows]
    block = pl.struct(seeds).rank("dense").cast(pl.Int64) if seeds else pl.lit(1)
    rows = rows.filter(pl.col(TRAIN_LOSS) > 0).with_columns(block.alias(BLOCK))
    lines: list[MatchedContrast] = []
    differences: list[pl.DataFrame] = []
    for group, of_group in _groups(rows, axis, roles):
        for level in axis.levels:
            for name in columns:
                if name != TRAIN_LOSS:
                    line, of_seeds = _compared(of_group, name, level, axis, roles)
                    lines.append(replace(line, group=group))
                    differences.append(of_seeds)
    done = adjusted(lines, differences, choices)
    return frame_of(MatchedContrast, [_judged(line) for line in done])


def _groups(rows: pl.DataFrame, axis: Matched, roles: Roles) -> Iterator[tuple[str, pl.DataFrame]]:
    """Trainings that agree in all axes but the compared and the free ones, by name.

    Axes that say the same as those before them are not repeated in the name.
    """
    fixed = [name for name in roles.axes if name not in {axis.axis, *axis.free}]
    if not fixed:
        yield "all", rows
        return
    telling: list[str] = []
    for name in fixed:
        before = rows.select(telling).n_unique() if telling else 1
        if rows.select(*telling, name).n_unique() > before:
            telling.append(name)
    for group in rows.sort(fixed).partition_by(fixed, maintain_order=True):
        names = ", ".join(shown_level(group[name][0]) for name in telling)
        yield names or "all", group


def _compared(
    rows: pl.DataFrame, name: str, level: object, axis: Matched, roles: Roles
) -> tuple[MatchedContrast, pl.DataFrame]:
    """The line of one column at one level, and its difference of each seed."""
    values = rows[name].drop_nulls()
    heavy = name in roles.metrics and roles.metrics[name].heavy_tailed and name not in roles.margin
    response = Response(name, log10=bool(heavy and len(values) and (values > 0).all()))
    y = pl.col(name).cast(pl.Float64)
    points = rows.select(
        BLOCK,
        pl.col(axis.axis).alias("level"),
        pl.col(TRAIN_LOSS).log10().alias("x"),
        (y.log10() if response.log10 else y).alias("y"),
    ).drop_nulls(["x", "y"])
    blocks, d, meets, baselines = [], [], [], []
    for seed in points.sort(BLOCK).partition_by(BLOCK, maintain_order=True):
        xa, ya = _side(seed, axis.baseline)
        xb, yb = _side(seed, level)
        difference = at_equal_x(xa, ya, xb, yb)
        if difference is not None:
            blocks.append(int(seed[BLOCK][0]))
            d.append(difference)
            meets.append(bool(xa.min() <= xb.mean() <= xa.max()))
            baselines.append(float(ya.mean()))
    spread = pooled_deviation([np.array(baselines)])
    line = MatchedContrast(
        name,
        len(d),
        family=family_of(response, roles),
        intervention=axis.name,
        baseline=shown_level(axis.baseline),
        level=shown_level(level),
        scale="log10" if response.log10 else "raw",
        seed_sd=spread,
        within=float(np.mean(meets)) if meets else None,
    )
    line = of_signed_ranks(line, np.array(d), margin_of(response, spread, roles), NO_SEEDS)
    return line, pl.DataFrame({"block": blocks, "d": d}, schema={"block": int, "d": float})


def _side(seed: pl.DataFrame, level: object) -> tuple[Floats, Floats]:
    """x and y (n,) of the trainings of a seed at a level."""
    own = seed.filter(pl.col("level") == level)
    return own["x"].to_numpy(), own["y"].to_numpy()


def _judged(line: MatchedContrast) -> MatchedContrast:
    """The line, which claims nothing where the losses hardly meet."""
    if line.within is None or line.within >= LEAST_WITHIN:
        return line
    reason = (
        f"train_loss of {line.level} lies among those of {line.baseline} in "
        f"{line.within:.0%} of the seeds"
    )
    return replace(line, verdict=INADEQUATE, note=joined(line.note, reason))


def at_equal_x(xa: Floats, ya: Floats, xb: Floats, yb: Floats) -> float | None:
    """The difference of b from a at equal x, by one slope for both.

    None where a side is empty or no x differs on either side.
    """
    if not len(xa) or not len(xb):
        return None
    sxx = float(((xa - xa.mean()) ** 2).sum() + ((xb - xb.mean()) ** 2).sum())
    if sxx <= 0:
        return None
    sxy = float(((xa - xa.mean()) * (ya - ya.mean())).sum())
    sxy += float(((xb - xb.mean()) * (yb - yb.mean())).sum())
    return float((yb.mean() - ya.mean()) - sxy / sxx * (xb.mean() - xa.mean()))
