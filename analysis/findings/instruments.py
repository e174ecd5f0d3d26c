"""The effect of a metric on outcomes, with an intervention as the instrument.

The assumption (exclusion): the intervention acts on the response through this metric alone. One
intervention cannot tell metrics apart that it moves together. Shapes: n rows, one a block and
level.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.findings.blocks import Blocks, Long, Response
from analysis.findings.controls import controlled
from analysis.findings.dose_response import family_roles, of_level, rows_of
from analysis.findings.frames import frame_of
from analysis.findings.interventions import NO_PAIRS, OUTCOME, family_of, shown_level
from analysis.findings.verdicts import INADEQUATE, LATER_SEED, PRIMARY, Tested, in_words, joined
from analysis.reading.table import Choices, Roles
from analysis.statistics.decide import CANNOT_REJECT, UNDECIDED
from analysis.statistics.instruments import (
    STRONG,
    anderson_rubin,
    over_identification,
    two_stage,
)
from analysis.statistics.levels import in_print
from analysis.statistics.linear import Codes, Floats

REJECTED = 0.01  # p of Hansen's J from which the levels are not of one effect
TRAIN_LOSS = "train_loss"  # how far training got is no consequence of collapse that is asked about


@dataclass(frozen=True)
class Instrumented(Tested):
    """One line: the effect of `metric` on `response` if the intervention acts so.

    By two-stage least squares, over `n` trainings in `blocks`; the instrument is the rank of the
    level of the `intervention` over `levels`. `estimate` is the change of the response a unit of
    the metric (a tenfold of it on the `scale` log10) with its standard error `se`, robust inside
    blocks. `low`, `high` the Anderson-Rubin interval, which holds however weak the instrument is;
    `p` of the same test at no effect, by permutation of the levels inside blocks, is that of the
    response on the intervention and so the same for every metric; `p_maxt` over the responses.
    `first_stage` is what a level does to the metric, `f` its robust F, below 10 of a weak
    instrument, of which no estimate is given; `least_squares` the slope that confounding biases;
    `j`, `j_p` Hansen's test that all levels are of one effect. `verdict`: `undecided` where the
    instrument is weak, `control inadequate` where the levels disagree.
    """

    response: str = ""
    precision: str | None = None
    intervention: str = ""
    levels: str = ""
    scale: str = "raw"
    blocks: int = 0
    se: float | None = None
    first_stage: float | None = None
    f: float | None = None
    least_squares: float | None = None
    j: float | None = None
    j_p: float | None = None


def instruments(doses: Sequence[Blocks], roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Instrumented` lines of primary metrics and outcomes."""
    lines = [
        line
        for blocks in doses
        for part in _parts(blocks)
        for line in _of_part(part, roles, choices)
    ]
    return frame_of(Instrumented, lines)


def _parts(blocks: Blocks) -> Iterator[Blocks]:
    """All levels of a number, each level against the baseline of anything else."""
    if blocks.intervention.numeric:
        yield blocks
        return
    for level in range(len(blocks.levels)):
        if level != blocks.baseline:
            yield blocks.against_baseline(level)


def _of_part(blocks: Blocks, roles: Roles, choices: Choices) -> list[Instrumented]:
    long = blocks.long()
    metrics = [each for each in blocks.values if family_of(each, roles) == PRIMARY]
    outcomes = [
        each
        for each in blocks.values
        if family_of(each, roles) == OUTCOME and each.metric != TRAIN_LOSS
    ]
    names = f"{shown_level(blocks.levels[0])} to {shown_level(blocks.levels[-1])}"
    tests: dict[bytes, _Reduced] = {}
    lines = []
    for outcome, metric in itertools.product(outcomes, metrics):
        known = np.isfinite(long.values[metric])
        key = known.tobytes()
        if key not in tests:
            tests[key] = _reduced(long, known, outcomes, roles, choices)
        line = Instrumented(
            metric.metric,
            0,
            family=PRIMARY,
            response=outcome.metric,
            precision=outcome.precision,
            intervention=blocks.intervention.name,
            levels=names,
            scale="log10" if metric.log10 else "raw",
        )
        lines.append(_line(line, tests[key], long, metric, outcome))
    return lines


@dataclass(frozen=True)
class _Reduced:
    """Tests of outcomes on the level, and the statistics from which they reject."""

    lines: Mapping[str, Tested]
    critical: Mapping[str, float]


def _reduced(
    long: Long,
    known: NDArray[np.bool_],
    outcomes: Sequence[Response],
    roles: Roles,
    choices: Choices,
) -> _Reduced:
    """The tests of all outcomes over the rows (n,) where a metric is known."""
    control = rows_of(long, known)
    if not len(control.rows):
        return _Reduced({}, {})
    start = {each.name: Tested(each.name, 0) for each in outcomes}
    values = {each.name: long.values[each] for each in outcomes}
    own = family_roles(roles, outcomes, OUTCOME)
    rank = long.level.astype(np.float64)
    lines = {line.metric: line for line in controlled(start, values, rank, control, own, choices)}
    critical = {}
    for name in (name for name, line in lines.items() if line.p is not None):
        used = control.over(np.flatnonzero(np.isfinite(values[name][control.rows])))
        test = used.prepare(values[name][used.rows, None], rank[used.rows])
        # The ends of intervals are the same for every seed.
        critical[name] = float(test.critical(choices.permutations, LATER_SEED)[0])
    return _Reduced(lines, critical)


def _line(
    line: Instrumented, tests: _Reduced, long: Long, metric: Response, outcome: Response
) -> Instrumented:
    """The line with its two stages, and what they leave of the verdict of the test."""
    x, y = long.values[metric], long.values[outcome]
    rows = long.comparable(np.isfinite(x) & np.isfinite(y))
    block, level = long.block[rows], long.level[rows]
    line = replace(line, n=len(rows), blocks=len(np.unique(block)))
    test = tests.lines.get(outcome.name)
    if test is None:
        return replace(line, verdict=CANNOT_REJECT, note=NO_PAIRS)
    line = replace(
        line,
        p=test.p,
        p_maxt=test.p_maxt,
        verdict=test.verdict,
        note=of_level(test.note),
        permutations=test.permutations,
        exact=test.exact,
    )
    if test.p is None:
        return line
    x, y, z = x[rows], y[rows], level.astype(np.float64)
    try:
        fit = two_stage(y, x, z, block)
        interval = anderson_rubin(y, x, z, block, critical=tests.critical[outcome.name])
        agreement = over_identification(y, x, _indicators(level), block)
    except ValueError as error:
        return replace(line, verdict=UNDECIDED, note=joined(line.note, in_words(error, "it")))
    low, high = interval or (None, None)
    line = replace(
        line,
        estimate=fit.estimate,
        low=low,
        high=high,
        se=fit.se,
        first_stage=fit.first_stage,
        f=fit.f,
        least_squares=fit.least_squares,
        j=None if agreement is None else agreement.j,
        j_p=None if agreement is None else agreement.p,
        note=joined(line.note, "" if interval else "no bounded interval of effects is left"),
    )
    return _judged(line, fit.weak)


def _judged(line: Instrumented, weak: bool) -> Instrumented:
    """The line with the verdict that a weak instrument, or its levels, leave."""
    if line.verdict == CANNOT_REJECT:
        return line
    if weak:
        reason = f"the instrument is weak: F {line.f:.1f} is below {STRONG:g}"
        note = joined(line.note, reason)
        return replace(line, estimate=None, se=None, verdict=UNDECIDED, note=note)
    if line.j_p is not None and line.j_p <= REJECTED:
        reason = f"the levels are not of one effect (J {line.j:.1f}, p {in_print(line.j_p)})"
        return replace(line, verdict=INADEQUATE, note=joined(line.note, reason))
    return line


def _indicators(level: Codes) -> Floats:
    """(n, l - 1) indicators of the levels (n,) but the first."""
    return np.asarray(level[:, None] == np.unique(level)[1:], dtype=np.float64)
