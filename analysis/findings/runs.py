"""One question asked of several runs: each run's answer, and all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.forecast import JOINT
from analysis.findings.frames import frame_of, lines_of
from analysis.findings.progress import GAP, TRAIN_LOSS
from analysis.findings.verdicts import (
    EXPLORATORY,
    INADEQUATE,
    NO_FAMILY,
    PRIMARY,
    Tested,
    joined,
)
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND
from analysis.statistics.levels import ALPHA, CONFIDENCE
from analysis.statistics.meta import meta_analysis
from analysis.statistics.multiplicity import benjamini_hochberg, holm

WITHIN, GIVEN_DESIGN, DESCRIBED, GIVEN_TRAIN_LOSS, WITH_GAP, FORECAST = (
    "within",
    "given_design",
    "association",
    "given_train_loss",
    "with_gap",
    "forecast",
)
QUESTIONS = {
    WITHIN: WITHIN,
    GIVEN_DESIGN: GIVEN_DESIGN,
    GIVEN_TRAIN_LOSS: "given_train_loss",
    WITH_GAP: "given_train_loss",
    FORECAST: FORECAST,
    DESCRIBED: DESCRIBED,
}
"""Question -> table of a run's report that answers it, the ones under a control first."""


@dataclass(frozen=True)
class RunLine:
    """One line: what a report says of a metric, by the table of a `question`.

    The report is that of `run`.

    `estimate` is the (partial) r of n trainings with its 95% interval; of a forecast it is what
    the metric adds to Q^2.
    """

    question: str
    metric: str
    run: str
    n: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    verdict: str | None = None
    family: str = EXPLORATORY


@dataclass(frozen=True)
class PooledRuns(Tested):
    """One line: the mean (partial) r of a metric over `runs`, by random effects.

    Of a forecast it is the mean of what the metric adds to Q^2. n trainings in all. `tau2` is the
    variance between runs, that of r on Fisher's scale, `i2` its share in
    [0, 1), `heterogeneity` Cochran's Q with its p; `prediction_low` to `prediction_high` the 95%
    interval of r in a new run, null for fewer than three.
    """

    question: str = ""
    runs: int = 0
    tau2: float | None = None
    i2: float | None = None
    heterogeneity: float | None = None
    heterogeneity_p: float | None = None
    prediction_low: float | None = None
    prediction_high: float | None = None


def run_lines(frames: Mapping[str, Mapping[str, pl.DataFrame]]) -> pl.DataFrame:
    """Table of `RunLine` lines from the tables of each run's report.

    `frames` has these by the name of the run.
    """
    columns = [name for name in RunLine.__dataclass_fields__ if name not in ("question", "run")]
    lines = []
    for question, table in QUESTIONS.items():
        for run, tables in frames.items():
            if table not in tables:
                continue
            frame = _answers(tables[table], question)
            lines += [
                RunLine(question=question, run=run, **line)
                for line in frame.select(columns).to_dicts()
            ]
    return frame_of(RunLine, lines)


def _answers(frame: pl.DataFrame, question: str) -> pl.DataFrame:
    """The lines of a table that answer the question."""
    if question == GIVEN_TRAIN_LOSS:
        return frame.filter(pl.col("given") == TRAIN_LOSS)
    return frame.filter(pl.col("response") == GAP) if question == WITH_GAP else frame


def pooled_runs(lines: pl.DataFrame) -> pl.DataFrame:
    """Table of `PooledRuns` lines of a table of `RunLine` lines.

    Runs whose control does not hold are left out, and named. On Fisher's scale, or that of Q^2, a
    run's variance is that of its own 95% interval; 1 / (n - 3) would be too small where spread
    differs between design cells. Interval and p are of Student's t with one degree of freedom
    fewer than runs (Knapp and Hartung): a few runs tell the variance between them badly. p is
    adjusted by Holm over the metrics that are primary in every run, by Benjamini and Hochberg over
    the others.
    """
    answers: list[PooledRuns] = []
    for question in lines["question"].unique(maintain_order=True):
        of_question = lines.filter(pl.col("question") == question)
        pooled = [
            _pooled(lines_of(RunLine, part))
            for part in of_question.partition_by("metric", maintain_order=True)
        ]
        answers += _decided(pooled)
    return frame_of(PooledRuns, answers)


def _pooled(lines: list[RunLine]) -> PooledRuns:
    """The runs' answers on one metric as one."""
    families = {line.family for line in lines if line.estimate is not None} or {NO_FAMILY}
    family = families.pop() if len(families) == 1 else EXPLORATORY
    start = PooledRuns(lines[0].metric, 0, question=lines[0].question, family=family)
    refuted = [line.run for line in lines if line.verdict == INADEQUATE]
    sound = [line for line in lines if line.verdict != INADEQUATE and _spread(line) is not None]
    silent = [line.run for line in lines if line not in sound and line.run not in refuted]
    note = joined(
        f"left out, as the control does not hold: {', '.join(refuted)}" if refuted else "",
        f"left out, without an interval: {', '.join(silent)}" if silent else "",
    )
    start = replace(start, n=sum(line.n for line in sound), runs=len(sound), note=note)
    if len(sound) < 2:
        if family == NO_FAMILY:
            return start
        reason = f"cannot reject with {len(sound)} run{'s' * (len(sound) != 1)}: 2 are needed"
        verdict = INADEQUATE if refuted else CANNOT_REJECT
        return replace(start, verdict=verdict, note=joined(note, reason))
    scaled, back = (_same, _same) if start.question == FORECAST else (np.arctanh, np.tanh)
    z = [float(scaled(line.estimate or 0.0)) for line in sound]
    variances = [(_spread(line) or 0.0) ** 2 for line in sound]
    meta = meta_analysis(z, variances, knapp_hartung=True)
    ends = meta.prediction_low, meta.prediction_high
    return replace(
        start,
        estimate=float(back(meta.estimate)),
        low=float(back(meta.low)),
        high=float(back(meta.high)),
        p=meta.p,
        tau2=meta.tau2,
        i2=meta.i2,
        heterogeneity=meta.q,
        heterogeneity_p=meta.q_p,
        prediction_low=None if ends[0] is None else float(back(ends[0])),
        prediction_high=None if ends[1] is None else float(back(ends[1])),
    )


def _same(value: float) -> float:
    """Q^2 is pooled as it is."""
    return value


def _spread(line: RunLine) -> float | None:
    """Standard error from its interval, of r on Fisher's scale.

    None where that has no width.
    """
    if line.estimate is None or line.low is None or line.high is None or line.low >= line.high:
        return None
    from scipy.special import ndtri

    width = line.high - line.low
    if line.question != FORECAST:
        if not all(-1 < end < 1 for end in (line.low, line.estimate, line.high)):
            return None
        width = float(np.arctanh(line.high) - np.arctanh(line.low))
    return width / (2 * float(ndtri(0.5 + CONFIDENCE / 2)))


def _decided(lines: Iterable[PooledRuns]) -> list[PooledRuns]:
    """The lines of a question with their adjusted p and what it says."""
    answers = {line.metric: line for line in lines}
    for family, adjust, column in (
        (PRIMARY, holm, "p_maxt"),
        (JOINT, holm, "p_maxt"),
        (EXPLORATORY, benjamini_hochberg, "q"),
    ):
        tested = [line for line in answers.values() if line.family == family and line.p is not None]
        if not tested:
            continue
        adjusted = adjust([line.p or 0.0 for line in tested])
        for line, value in zip(tested, adjusted, strict=True):
            word = ASSOCIATED if value <= ALPHA else NOT_FOUND
            done = replace(line, verdict=word)
            answers[line.metric] = (
                replace(done, q=float(value))
                if column == "q"
                else replace(done, p_maxt=float(value))
            )
    return list(answers.values())
