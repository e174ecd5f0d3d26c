"""What an intervention does, every other setting and the seed being alike.

Shapes: b blocks, one difference each: a level of the intervention against its baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.findings.blocks import DAMAGE, Blocks, Response
from analysis.findings.changes import CHANGED, PART_OF_SPREAD, adjustments, verdict_of
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import EXPLORATORY, PRIMARY, Tested, joined
from analysis.reading.table import Choices, Roles, Table
from analysis.statistics.changes import signed_rank, tost
from analysis.statistics.decide import CANNOT_REJECT, UNDECIDED
from analysis.statistics.levels import ALPHA
from analysis.statistics.linear import Floats
from analysis.statistics.multiplicity import benjamini_hochberg

OUTCOME = "outcome"  # the family of losses and of damage
NO_PAIRS = "no two trainings differ in this setting alone"
OUTCOMES = ("val_loss", "train_loss", "generalization_gap")


@dataclass(frozen=True)
class Contrast(Tested):
    """One line: a column at a `level` of an intervention less that at the `baseline`.

    Over `n` blocks, pairs of trainings that agree in all other settings and the seed. `metric`
    `damage` is the change of the response at a `precision` from its reference. `scale` log10: of
    decimal logarithms, whose differences are the ratios `ratio`, `ratio_low` to `ratio_high`.
    `estimate` is the Hodges-Lehmann pseudo-median, `low`, `high` its 95% interval, `p` of the same
    signed-rank test; `p_maxt` adjusts it over the levels and columns of its `family` (primary
    metrics, or `outcome`: losses and damage) by joint sign flips, `q` over the exploratory metrics.
    `margin` is the difference that counts as none, `p_margin` that of the claim that it is smaller;
    `seed_sd` the standard deviation at the baseline between seeds, `in_seed_sd` the estimate in its
    units. `verdict` is `changed`, `no more than` (the margin), `undecided` or `cannot reject`.
    """

    intervention: str = ""
    baseline: str = ""
    level: str = ""
    precision: str | None = None
    scale: str = "raw"
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    margin: float | None = None
    p_margin: float | None = None
    seed_sd: float | None = None
    in_seed_sd: float | None = None


def asked(table: Table) -> list[str]:
    """Columns whose response to an intervention is asked for: outcomes, then metrics."""
    roles = table.roles
    outcomes = [name for name in OUTCOMES if name in table.frame.columns]
    return list(dict.fromkeys([roles.response, *outcomes, *roles.primary, *roles.metrics]))


def family_of(response: Response, roles: Roles) -> str:
    """The family in which a response is adjusted."""
    if response.metric in roles.primary:
        return PRIMARY
    return EXPLORATORY if response.metric in roles.metrics else OUTCOME


def shown_level(level: object) -> str:
    """A level as tables have it."""
    return f"{level:g}" if isinstance(level, float) else str(level)


def interventions(doses: Sequence[Blocks], roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Contrast` lines of every intervention, by level, then column."""
    lines = [line for blocks in doses for line in contrasts(blocks, roles, choices)]
    return frame_of(Contrast, lines)


def contrasts(blocks: Blocks, roles: Roles, choices: Choices) -> list[Contrast]:
    """The lines of one intervention."""
    lines: list[Contrast] = []
    differences: list[pl.DataFrame] = []
    levels = [at for at in range(len(blocks.levels)) if at != blocks.baseline]
    spreads = {response: blocks.seed_sd(response) for response in blocks.values}
    for level in levels:
        for response in blocks.values:
            d = blocks.differences(response, level)
            known = np.isfinite(d)
            line = Contrast(
                response.metric,
                int(known.sum()),
                family=family_of(response, roles),
                intervention=blocks.intervention.name,
                baseline=shown_level(blocks.intervention.baseline),
                level=shown_level(blocks.levels[level]),
                precision=response.precision,
                scale="log10" if response.log10 else "raw",
                seed_sd=spreads[response],
                note=joined(_averaged(blocks), _lacking(known)),
            )
            margin = margin_of(response, spreads[response], roles)
            lines.append(_line(line, d[known], margin))
            differences.append(pl.DataFrame({"block": np.flatnonzero(known), "d": d[known]}))
    for family in (PRIMARY, OUTCOME):
        places = [at for at, line in enumerate(lines) if line.family == family]
        over = "levels and metrics" if family == PRIMARY else "levels and outcomes"
        outcomes = adjustments(
            [lines[at] for at in places],
            [differences[at] for at in places],
            "block",
            choices,
            over=over,
        )
        for at, outcome in zip(places, outcomes, strict=True):
            if outcome is not None:
                lines[at] = replace(lines[at], **vars(outcome))
    return _with_q(lines)


def _averaged(blocks: Blocks) -> str:
    if blocks.most == 1:
        return ""
    return f"up to {blocks.most} trainings with the same settings and seeds are averaged"


def _lacking(known: NDArray[np.bool_]) -> str:
    """How many blocks (b,) are left out, which those that diverge at a level are."""
    absent = int((~known).sum())
    if not absent or not known.any():
        return ""
    return f"{absent} of {len(known)} blocks lack a value at one of the two levels"


def margin_of(response: Response, seed_sd: float | None, roles: Roles) -> float | None:
    """The difference that counts as none; that of the damage is that of the response."""
    column = roles.response if response.metric == DAMAGE else response.metric
    return roles.margin.get(column, PART_OF_SPREAD * (seed_sd or 0.0)) or None


def _line(line: Contrast, d: Floats, margin: float | None) -> Contrast:
    """The line with what its own signed-rank test says."""
    if not len(d):
        return replace(
            line,
            verdict=CANNOT_REJECT,
            note=joined(line.note, NO_PAIRS),
        )
    test = signed_rank(d)
    verdict, note = verdict_of(test, margin)
    ratio = (
        [None if end is None else 10.0**end for end in (test.estimate, test.low, test.high)]
        if line.scale == "log10"
        else [None] * 3
    )
    return replace(
        line,
        estimate=test.estimate,
        low=test.low,
        high=test.high,
        p=test.p,
        verdict=verdict,
        ratio=ratio[0],
        ratio_low=ratio[1],
        ratio_high=ratio[2],
        margin=margin,
        p_margin=None if margin is None else tost(d, margin),
        in_seed_sd=test.estimate / line.seed_sd if line.seed_sd else None,
        note=joined(line.note, note),
    )


def _with_q(lines: Sequence[Contrast]) -> list[Contrast]:
    """The lines with q of exploratory metrics, and with the verdict that it leaves."""
    done = list(lines)
    places = [
        at for at, line in enumerate(lines) if line.family == EXPLORATORY and line.p is not None
    ]
    values = benjamini_hochberg([lines[at].p or 0.0 for at in places]) if places else ()
    for at, q in zip(places, values, strict=True):
        line = replace(lines[at], q=float(q))
        if line.verdict == CHANGED and q > ALPHA:
            reason = f"q over {len(places)} levels and metrics is not below {ALPHA:g}"
            line = replace(line, verdict=UNDECIDED, note=joined(line.note, reason))
        done[at] = line
    return done
