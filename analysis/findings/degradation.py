"""What a precision changes: one difference per training, the reference precision against each other, never more.

Shapes: n trainings, each with a value at the reference precision and one at the other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from analysis.findings.association import LEAST_ROWS, schema
from analysis.reading.load import final_rows, precisions
from analysis.reading.table import (
    CDNV_NORM,
    CDNV_SCALE_FREE,
    CDNV_VARIANTS,
    CONTROL,
    REFMEANS,
    TUNED,
    Choices,
    Direction,
    Table,
)
from analysis.statistics.linear import finite_columns
from analysis.statistics.permutation import CHUNK_DOUBLES, TIE
from analysis.statistics.regression import LEVEL


@dataclass(frozen=True)
class SignFlip:
    """Outcome of `sign_flip_test`: the mean difference, its two-sided p, sign patterns used, whether these were all."""

    mean: float
    p: float
    n_patterns: int
    exact: bool


@dataclass(frozen=True)
class Change:
    """One line: the change of a column from the baseline to a precision, over `n` trainings.

    `low`, `high` 95% percentile bootstrap interval of the median over trainings; `p` by sign flips of the mean;
    `seed_sd` between-seed standard deviation at the baseline, pooled over groups of trainings that differ in their seed
    alone; `in_seed_sd` the median in its units.
    """

    precision: str
    baseline: str
    column: str
    n: int
    median: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    p: float | None = None
    patterns: int | None = None
    exact: bool | None = None
    worse: int | None = None
    seed_sd: float | None = None
    in_seed_sd: float | None = None
    note: str = ""


def sign_flip_test(
    differences: ArrayLike, *, permutations: int = 10_000, seed: int = 0
) -> SignFlip:
    """Two-sided test that differences (n,) of independent trainings are symmetric about zero, by flipping their signs.

    The statistic is the mean. All 2^n patterns are enumerated when there are no more than `permutations`, else p =
    (b+1)/(permutations+1). Fisher 1935, section 21. Raises ValueError for null input or if all differences are zero.
    """
    values = finite_columns("differences", differences)
    if values.shape[1] != 1:
        raise ValueError(f"differences must have shape (n,), not {np.shape(differences)}")
    d = values[:, 0]
    scale = np.abs(d).sum()
    if scale == 0:
        raise ValueError("all differences are zero: there is nothing to test")
    n, d = len(d), d / scale
    threshold = abs(float(d.sum())) - TIE
    exact = 2**n <= permutations
    total = 2**n if exact else permutations
    signs = _flips(n, permutations, seed)
    rows = max(1, CHUNK_DOUBLES // n)
    count = sum(
        int(
            np.count_nonzero(
                np.abs(signs[start : start + rows].astype(np.float64) @ d) >= threshold
            )
        )
        for start in range(0, total, rows)
    )
    extra = 0 if exact else 1
    return SignFlip(float(values.mean()), (count + extra) / (total + extra), total, exact)


def median_interval(
    differences: ArrayLike, *, replicates: int = 2_000, seed: int = 0
) -> tuple[float, float] | None:
    """95% percentile bootstrap interval of the median of differences (n,); None for fewer than five."""
    d = finite_columns("differences", differences)[:, 0]
    if len(d) < LEAST_ROWS:
        return None
    middle = np.sort(d)[_middle_places(len(d), replicates, seed)].mean(axis=1)
    low, high = np.quantile(middle, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


@lru_cache(maxsize=8)
def _middle_places(n: int, replicates: int, seed: int) -> NDArray[np.intp]:
    """Places (replicates, 2), among n sorted values, of the two middle ones of each draw with replacement.

    The draws are places in the sorted values, so that columns of the same length share them.
    """
    rng = np.random.default_rng(seed)
    middle = [(n - 1) // 2, n // 2]
    rows = max(1, CHUNK_DOUBLES // n)
    parts = []
    for start in range(0, replicates, rows):
        drawn = rng.integers(0, n, size=(min(rows, replicates - start), n))
        parts.append(np.partition(drawn, middle, axis=1)[:, middle])
    return np.concatenate(parts)


@lru_cache(maxsize=4)
def _flips(n: int, permutations: int, seed: int) -> NDArray[np.float32]:
    """Signs (patterns, n): all of them when there are no more than `permutations`, else drawn."""
    if 2**n <= permutations:
        return (1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)).astype(np.float32)
    rng = np.random.default_rng(seed)
    return (1 - 2 * rng.integers(0, 2, size=(permutations, n), dtype=np.int8)).astype(np.float32)


def seed_spread(rows: pl.DataFrame, axes: tuple[str, ...], column: str) -> float | None:
    """Between-seed standard deviation: sqrt(sum of squares about the groups' means / (rows - groups)).

    Groups are trainings that differ in their seed alone (same `axes`); None where no group has two.
    """
    kept = rows.select(list(dict.fromkeys([*axes, column]))).drop_nulls(column)
    parts = kept.partition_by(list(axes)) if axes else [kept]
    groups = [part[column].to_numpy() for part in parts]
    free = sum(len(group) - 1 for group in groups)
    if free < 1:
        return None
    return float(
        np.sqrt(sum(np.square(group - group.mean()).sum() for group in groups if len(group)) / free)
    )


def comparisons(table: Table) -> list[tuple[str, str]]:
    """(precision, baseline) in the order of the table: qat-* and efqat-* against ft-fp32, all others against fp32."""
    names = precisions(table)
    pairs = [(name, CONTROL if TUNED.match(name) else names[0]) for name in names[1:]]
    return [(name, baseline) for name, baseline in pairs if baseline in names]


def uncompared(table: Table) -> list[str]:
    """Precisions of the table that have no baseline in it (qat-* without ft-fp32)."""
    return [
        name
        for name in precisions(table)[1:]
        if name not in {pair[0] for pair in comparisons(table)}
    ]


def paired(table: Table, precision: str, baseline: str) -> pl.DataFrame:
    """One row per training measured at both: columns of the baseline, and those at `precision` with the suffix `_q`."""
    key, before = table.roles.unit, final_rows(table, baseline)
    if baseline == precisions(table)[0]:
        # At the reference precision a metric with that precision's class means is the metric itself.
        kept = [
            name
            for name in before.columns
            if name.endswith(REFMEANS) and name.removesuffix(REFMEANS) in before
        ]
        before = before.with_columns(
            pl.coalesce(name, name.removesuffix(REFMEANS)).alias(name) for name in kept
        )
    return before.join(final_rows(table, precision), on=key, how="inner", suffix="_q").sort(key)


def changes(table: Table, choices: Choices) -> pl.DataFrame:
    """Table of `Change` lines: every precision, the response and other outcomes first, then the metrics."""
    roles = table.roles
    kept_means = [name for name in table.frame.columns if name.endswith(REFMEANS)]
    columns = dict.fromkeys([roles.response, *roles.responses, *_ordered(table), *kept_means])
    lines = []
    pairs = comparisons(table)
    spreads = {
        (baseline, column): seed_spread(before, roles.axes, column)
        for baseline, before in (
            (name, final_rows(table, name)) for name in {pair[1] for pair in pairs}
        )
        for column in columns
        if column in before.columns
    }
    for precision, baseline in pairs:
        rows = paired(table, precision, baseline)
        for column in columns:
            spread = spreads.get((baseline, column))
            better = table.roles.responses.get(column)
            lines.append(
                _change(
                    rows, Change(precision, baseline, column, 0, seed_sd=spread), better, choices
                )
            )
    return pl.DataFrame([asdict(line) for line in lines], schema=schema(Change))


def _ordered(table: Table) -> list[str]:
    """Metrics, a CDNV together with its scale-free form and the norm on which it depends."""
    names = list(table.roles.metrics)
    if any(name in names for name in CDNV_VARIANTS):
        first = [*(name for name in CDNV_VARIANTS if name in names), CDNV_SCALE_FREE, CDNV_NORM]
        names = [*first, *(name for name in names if name not in first)]
    return names


def _change(rows: pl.DataFrame, line: Change, better: Direction | None, choices: Choices) -> Change:
    column, spread = line.column, line.seed_sd
    if column not in rows.columns:
        return replace(line, note=f"{column} is not in this table")
    d = (rows[f"{column}_q"] - rows[column]).drop_nulls().to_numpy()
    line = replace(line, n=len(d))
    if not len(d):
        return replace(line, note="no training has a value at both precisions")
    median = float(np.median(d))
    interval = median_interval(d, replicates=choices.bootstrap, seed=choices.seed)
    line = replace(
        line,
        median=median,
        mean=float(d.mean()),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        worse=None
        if better is None
        else int(np.count_nonzero(d > 0 if better == "lower" else d < 0)),
        in_seed_sd=median / spread if spread else None,
    )
    if len(d) < LEAST_ROWS:
        return replace(line, note=f"{len(d)} trainings: too few for a test")
    try:
        test = sign_flip_test(d, permutations=choices.permutations, seed=choices.seed)
    except ValueError as error:
        return replace(line, note=str(error))
    return replace(line, p=test.p, patterns=test.n_patterns, exact=test.exact)
