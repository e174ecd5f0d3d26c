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
import scipy.stats

from analysis.findings.blocks import OTHER_SEEDS, Response
from analysis.findings.changes import CHANGED, NO_MORE_THAN
from analysis.findings.frames import frame_of
from analysis.findings.interventions import Contrast, family_of, margin_of, shown_level
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, joined
from analysis.reading.selection import final_rows, telling
from analysis.reading.table import Matched, Roles, Table
from analysis.statistics.decide import CANNOT_REJECT, UNDECIDED
from analysis.statistics.decomposition import pooled_deviation
from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Floats
from analysis.statistics.multiplicity import benjamini_hochberg, holm

TRAIN_LOSS = "train_loss"
LEAST_SEEDS = 3
SAME = "every seed has the same difference"
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
        s = (Sxy_a + Sxy_b) / (Sxx_a + Sxx_b).

    `estimate` is the mean of d over seeds, `low`, `high` and `p` those of Student's t: with the few
    seeds that there are, signed ranks reject nothing in a family of many levels. `p_holm` adjusts p
    over the groups, levels and metrics of the family, `q` over the exploratory ones; `p_margin` is
    that of two one-sided t-tests. `within` is the share of seeds whose mean x_b lies among the x_a:
    where it is less than half, the losses of the two levels hardly meet, equal loss is a guess
    beyond the data, and the verdict is `control inadequate`.
    """

    group: str = ""
    within: float | None = None
    p_holm: float | None = None


def matched(table: Table, columns: Sequence[str]) -> pl.DataFrame:
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
    for group, of_group in _groups(rows, axis, roles):
        for level in axis.levels:
            for name in columns:
                if name != TRAIN_LOSS:
                    line = _compared(of_group, name, level, axis, roles)
                    lines.append(replace(line, group=group))
    return frame_of(MatchedContrast, [_judged(line) for line in _adjusted(lines)])


def _groups(rows: pl.DataFrame, axis: Matched, roles: Roles) -> Iterator[tuple[str, pl.DataFrame]]:
    """Trainings that agree in all axes but the compared and the free ones, by name.

    Axes that say the same as those before them are not repeated in the name.
    """
    fixed = [name for name in roles.axes if name not in {axis.axis, *axis.free}]
    if not fixed:
        yield "all", rows
        return
    apart = telling(rows, fixed)
    for group in rows.sort(fixed).partition_by(fixed, maintain_order=True):
        names = ", ".join(shown_level(group[name][0]) for name in apart)
        yield names or "all", group


def _compared(
    rows: pl.DataFrame, name: str, level: object, axis: Matched, roles: Roles
) -> MatchedContrast:
    """The line of one column at one level."""
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
    d, meets, baselines = [], [], []
    for seed in points.sort(BLOCK).partition_by(BLOCK, maintain_order=True):
        xa, ya = _side(seed, axis.baseline)
        xb, yb = _side(seed, level)
        difference = at_equal_x(xa, ya, xb, yb)
        if difference is not None:
            d.append(difference)
            meets.append(bool(xa.min() <= xb.mean() <= xa.max()))
            baselines.append(float(ya.mean()))
    spread = pooled_deviation([np.array(baselines)])
    margin = margin_of(response, spread, roles)
    line = MatchedContrast(
        name,
        len(d),
        family=family_of(response, roles),
        intervention=axis.name,
        baseline=shown_level(axis.baseline),
        level=shown_level(level),
        scale="log10" if response.log10 else "raw",
        seed_sd=spread,
        margin=margin,
        within=float(np.mean(meets)) if meets else None,
    )
    return _tested(line, np.array(d), margin)


def _tested(line: MatchedContrast, d: Floats, margin: float | None) -> MatchedContrast:
    """The line with the mean of its differences (n,), and what Student's t says of it."""
    if len(d) < LEAST_SEEDS:
        estimate = float(d.mean()) if len(d) else None
        few = f"{len(d)} seeds with both levels, {LEAST_SEEDS} are needed"
        return replace(line, estimate=estimate, verdict=CANNOT_REJECT, note=few)
    mean, error = float(d.mean()), float(d.std(ddof=1) / np.sqrt(len(d)))
    ends: tuple[float | None, float | None] = (None, None)
    p = p_margin = None
    if error > 0:
        t = scipy.stats.t(len(d) - 1)
        reach = float(t.ppf(1 - ALPHA / 2)) * error
        ends = (mean - reach, mean + reach)
        p = float(2 * t.sf(abs(mean) / error))
        p_margin = None if margin is None else float(t.sf((margin - abs(mean)) / error))
    ratio = [None if end is None or line.scale == "raw" else 10.0**end for end in (mean, *ends)]
    return replace(
        line,
        estimate=mean,
        low=ends[0],
        high=ends[1],
        p=p,
        p_margin=p_margin,
        ratio=ratio[0],
        ratio_low=ratio[1],
        ratio_high=ratio[2],
        in_seed_sd=mean / line.seed_sd if line.seed_sd else None,
        note="" if p is not None else SAME,
    )


def _adjusted(lines: Sequence[MatchedContrast]) -> Iterator[MatchedContrast]:
    """The lines with p adjusted in their family, and the verdict that it leaves."""
    tested = [line for line in lines if line.p is not None]
    adjusted: dict[int, float] = {}
    for family in dict.fromkeys(line.family for line in tested):
        own = [line for line in tested if line.family == family]
        correct = benjamini_hochberg if family == EXPLORATORY else holm
        values = correct([line.p or 0.0 for line in own])
        adjusted |= {id(line): float(value) for line, value in zip(own, values, strict=True)}
    for line in lines:
        if line.p is None:
            verdict = line.verdict or (NO_MORE_THAN if line.estimate == 0 else UNDECIDED)
            yield replace(line, verdict=verdict)
            continue
        p = adjusted[id(line)]
        inside = line.p_margin is not None and line.p_margin <= ALPHA
        verdict = NO_MORE_THAN if inside else CHANGED if p <= ALPHA else UNDECIDED
        if line.family == EXPLORATORY:
            yield replace(line, verdict=verdict, q=p)
        else:
            yield replace(line, verdict=verdict, p_holm=p)


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
