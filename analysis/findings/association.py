"""Each metric against the response, over rows that are one per training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.table import Choices, Direction, Metric, Roles, expected_sign, with_companions
from analysis.statistics.batch import Batch, Outcome
from analysis.statistics.levels import LEAST_ROWS
from analysis.statistics.linear import Floats
from analysis.statistics.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm
from analysis.statistics.regression import (
    bootstrap_r,
    distance_correlation,
    fisher_interval,
    leave_one_out,
    regress,
)


@dataclass(frozen=True)
class Association:
    """One line: a metric and the response.

    Partial lines (`given`) have the partial r, and r2 its square, in place of the plain ones.

    `p` two-sided by permutation, `p_low` and `p_high` its 95% Monte-Carlo interval, `p_maxt`
    step-down max-T over the lines of the family (raw scale, nothing given, no missing values),
    which Holm, BH and BY adjust as well. `expected` is the sign of r if more collapse went with a
    better response, `agrees` whether r has it.
    """

    metric: str
    scale: str
    given: str
    n: int
    trainings: int
    r: float | None = None
    r2: float | None = None
    r_low: float | None = None
    r_high: float | None = None
    boot_low: float | None = None
    boot_high: float | None = None
    p: float | None = None
    p_low: float | None = None
    p_high: float | None = None
    p_paper: float | None = None
    p_maxt: float | None = None
    p_holm: float | None = None
    p_bh: float | None = None
    p_by: float | None = None
    permutations: int | None = None
    exact: bool | None = None
    slope: float | None = None
    slope_se: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    spearman: float | None = None
    kendall: float | None = None
    distance: float | None = None
    loo_low: float | None = None
    loo_high: float | None = None
    influential: str | None = None
    r_without: float | None = None
    expected: int | None = None
    agrees: bool | None = None
    note: str = ""


def associations(rows: pl.DataFrame, roles: Roles, choices: Choices) -> pl.DataFrame:
    """Table of `Association` lines of every metric, over rows of one training each."""
    batch = Batch(permutations=choices.permutations, seed=choices.seed)
    lines = [
        _line(rows, roles, name, scale, given, choices, batch)
        for name, given in with_companions(roles.metrics)
        for scale in (
            ("raw", "log10")
            if given is None and _loggable(rows, roles.metrics.get(name))
            else ("raw",)
        )
    ]
    outcomes = batch.run()
    tested = [_tested(line, outcomes.get((line.metric, line.scale, line.given))) for line in lines]
    better = roles.responses.get(roles.response)
    signed = [_signed(line, roles, better) for line in _adjusted(tested)]
    return frame_of(Association, signed)


def _signed(line: Association, roles: Roles, better: Direction | None) -> Association:
    expected = (
        None
        if line.metric not in roles.metrics
        else expected_sign(roles.metrics[line.metric], better)
    )
    agrees = None if expected is None or not line.r else (line.r > 0) == (expected > 0)
    return replace(line, expected=expected, agrees=agrees)


def _loggable(rows: pl.DataFrame, metric: Metric | None) -> bool:
    if metric is None or not metric.heavy_tailed or f"{metric.column}_log10" in rows.columns:
        return False
    least = rows[metric.column].min()
    return isinstance(least, float) and least > 0


def obstacle(rows: pl.DataFrame, names: list[str], complete: pl.DataFrame) -> str:
    """Why these columns cannot be related over `complete`; empty if they can.

    `complete` are the rows where none of the columns is null.
    """
    for name in names:
        if name not in rows.columns:
            return f"{name} is not in this table"
    if len(complete) < LEAST_ROWS:
        return f"{len(complete)} rows have values; {LEAST_ROWS} are needed"
    for name in names:
        if complete[name].n_unique() < 2:
            return f"{name} is constant"
    return ""


def _line(
    rows: pl.DataFrame,
    roles: Roles,
    name: str,
    scale: str,
    given: str | None,
    choices: Choices,
    batch: Batch,
) -> Association:
    """A line without its p, which `batch` is asked for."""
    names = [name, roles.response, *([given] if given else [])]
    complete = rows.drop_nulls([column for column in names if column in rows.columns])
    line = Association(name, scale, given or "", len(complete), len(complete))
    if reason := obstacle(rows, names, complete):
        return replace(line, note=reason)
    x, y = _values(complete, name, scale), complete[roles.response].to_numpy()
    unit = complete[roles.unit].cast(pl.String).to_numpy()
    covariates = complete[given].to_numpy() if given else None
    try:
        fit = regress(x, y, covariates=covariates)
        family = scale == "raw" and not given and len(complete) == len(rows)
        batch.ask((name, scale, given or ""), x, y, covariates=covariates, family=family)
    except ValueError as error:  # such as a metric that is a linear function of its covariate
        return replace(line, note=str(error))
    nulls = len(rows) - len(complete)
    line = replace(
        line,
        slope=fit.slope,
        slope_se=fit.se,
        slope_low=fit.ci[0] if fit.ci else None,
        slope_high=fit.ci[1] if fit.ci else None,
        note=f"{nulls} rows without a value left out" if nulls else "",
    )
    if covariates is not None:
        assert fit.partial_r is not None
        interval = fisher_interval(fit.partial_r, len(complete) - 1)
        return replace(line, r=fit.partial_r, r2=fit.partial_r2, **_pair("r", interval))
    low, high = bootstrap_r(x, y, unit, replicates=choices.bootstrap, seed=choices.seed)
    line = replace(line, r=fit.r, r2=fit.r2, **_pair("r", fit.r_ci), **_rank_measures(x, y))
    if not np.isnan(low[0]):
        line = replace(line, boot_low=float(low[0]), boot_high=float(high[0]))
    try:
        without = leave_one_out(x, y, unit)
    except ValueError as error:
        return replace(line, note="; ".join(filter(None, [line.note, str(error)])))
    return replace(
        line,
        loo_low=without.low,
        loo_high=without.high,
        influential=without.cluster,
        r_without=without.r_without,
    )


def _values(rows: pl.DataFrame, name: str, scale: str) -> Floats:
    values = rows[name].to_numpy()
    return np.asarray(np.log10(values) if scale == "log10" else values, dtype=np.float64)


def _pair(prefix: str, interval: tuple[float, float] | None) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {f"{prefix}_low": low, f"{prefix}_high": high}


def _rank_measures(x: Floats, y: Floats) -> dict[str, Any]:
    from scipy.stats import kendalltau, spearmanr

    return {
        "spearman": float(spearmanr(x, y).statistic),
        "kendall": float(kendalltau(x, y).statistic),
        "distance": distance_correlation(x, y),
    }


def _tested(line: Association, outcome: Outcome | str | None) -> Association:
    if outcome is None:
        return line
    if isinstance(outcome, str):
        return replace(line, note="; ".join(filter(None, [line.note, outcome])))
    return replace(
        line,
        p=outcome.p,
        p_low=outcome.p_low,
        p_high=outcome.p_high,
        p_paper=outcome.p_paper,
        p_maxt=outcome.p_maxt,
        permutations=outcome.permutations,
        exact=outcome.exact,
    )


def _adjusted(lines: list[Association]) -> list[Association]:
    """Holm, BH and BY over the lines of the family: those that have a max-T p."""
    p = [line.p for line in lines if line.p is not None and line.p_maxt is not None]
    if not p:
        return lines
    adjusted = iter(zip(holm(p), benjamini_hochberg(p), benjamini_yekutieli(p), strict=True))
    done = []
    for line in lines:
        if line.p_maxt is not None:
            by_holm, by_bh, by_by = next(adjusted)
            line = replace(line, p_holm=float(by_holm), p_bh=float(by_bh), p_by=float(by_by))  # noqa: PLW2901
        done.append(line)
    return done
