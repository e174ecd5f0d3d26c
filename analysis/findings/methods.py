"""Methods of quantization beside formats, and what their damage follows from.

Everything is paired by training: a line is n differences of the same trainings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import Table
from analysis.statistics.changes import signed_rank
from analysis.statistics.linear import Floats
from study.store.methods import NEAREST, format_and_scope, method_and_format

KIND = "model_kind"
WEIGHT_ERROR, SIGNAL_TO_NOISE, BITS = "weight_error", "signal_to_noise", "bits_per_weight"
SCOPES = ("", "first", "block", "attention", "mlp", "body", "head")
"""Parts of a model, all of it first."""
LEAST_PRECISIONS = 5
"""Precisions of a training over which ranks are compared."""


@dataclass(frozen=True)
class MethodLine:
    """One line: a method at a format beside rounding to nearest, over `n` trainings.

    `bits` a weight; `nearest` and `change`: medians of the response at rounding to nearest and
    here, less the reference's; `least` and `largest` of these changes here. `recovered` is 1 - sum
    of changes / sum at nearest, null where rounding makes the response no worse in sum.
    `difference` of the method and nearest: pseudo-median, with interval and p of the signed-rank
    test. `weight_error`, `signal_to_noise` are medians.
    """

    model: str
    format: str
    method: str
    n: int
    bits: float | None = None
    nearest: float | None = None
    change: float | None = None
    least: float | None = None
    largest: float | None = None
    recovered: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    weight_error: float | None = None
    signal_to_noise: float | None = None


@dataclass(frozen=True)
class ScopeLine:
    """One line: a format in one part of the model alone, over `n` trainings.

    `change` of the response: pseudo-median with its interval, `least` and `largest`; `share` of the
    pseudo-median where the whole model is rounded.
    """

    model: str
    format: str
    scope: str
    n: int
    change: float | None = None
    low: float | None = None
    high: float | None = None
    least: float | None = None
    largest: float | None = None
    share: float | None = None
    weight_error: float | None = None
    signal_to_noise: float | None = None


@dataclass(frozen=True)
class SourceLine:
    """One line: how the damage of a training's precisions goes with an error.

    `rho` is the median over `n` trainings of Spearman's correlation over precisions, with the
    interval of the signed-rank test; `given` the other error: then it is the partial one.
    """

    model: str
    error: str
    given: str
    n: int
    rho: float | None = None
    low: float | None = None
    high: float | None = None


def methods(table: Table) -> pl.DataFrame:
    """Table of `MethodLine` lines; empty without a method beside its format."""
    lines = []
    for model, rows in _by_model(table):
        named = {name: method_and_format(name) for name in precisions(table)}
        formats = dict.fromkeys(f for m, f in named.values() if m != NEAREST and f in named)
        for base in formats:
            same = [(name, method) for name, (method, own) in named.items() if own == base]
            for name, method in sorted(same, key=lambda each: each[1] != NEAREST):
                lines.append(_method_line(rows, table, model, base, name, method))
    return frame_of(MethodLine, [line for line in lines if line.n])


def _method_line(
    rows: _Rows, table: Table, model: str, base: str, name: str, method: str
) -> MethodLine:
    response, reference = table.roles.response, precisions(table)[0]
    joined = rows.joined([reference, base, name], response)
    start, nearest, here = (joined[f"{response}{at}"].to_numpy() for at in range(3))
    own = rows.at(name)
    line = MethodLine(model, base, method, len(joined))
    if not len(joined):
        return line
    lost = float(np.sum(nearest - start))
    rank = signed_rank(here - nearest)
    return MethodLine(
        model,
        base,
        method,
        len(joined),
        bits=_median(own, BITS),
        nearest=float(np.median(nearest - start)),
        change=float(np.median(here - start)),
        least=float(np.min(here - start)),
        largest=float(np.max(here - start)),
        recovered=1 - float(np.sum(here - start)) / lost if _worse(table, lost) > 0 else None,
        difference=None if method == NEAREST else rank.estimate,
        low=None if method == NEAREST else rank.low,
        high=None if method == NEAREST else rank.high,
        p=None if method == NEAREST else rank.p,
        weight_error=_median(own, WEIGHT_ERROR),
        signal_to_noise=_median(own, SIGNAL_TO_NOISE),
    )


def scopes(table: Table) -> pl.DataFrame:
    """Table of `ScopeLine` lines, the whole model first; empty without scopes."""
    lines: list[ScopeLine] = []
    response, names = table.roles.response, precisions(table)
    parts: dict[str, list[str]] = {}
    for name in names:
        base, scope = format_and_scope(name)
        if scope:
            parts.setdefault(base, [base] if base in names else []).append(name)
    for model, rows in _by_model(table):
        for base, unordered in parts.items():
            members = sorted(unordered, key=_place)
            whole: float | None = None
            for name in members:
                joined = rows.joined([names[0], name], response)
                if not len(joined):
                    continue
                difference = joined[f"{response}1"].to_numpy() - joined[f"{response}0"].to_numpy()
                rank, own = signed_rank(difference), rows.at(name)
                scope = format_and_scope(name)[1]
                whole = rank.estimate if not scope else whole
                lines.append(
                    ScopeLine(
                        model,
                        base,
                        scope or "all",
                        len(joined),
                        rank.estimate,
                        rank.low,
                        rank.high,
                        float(difference.min()),
                        float(difference.max()),
                        rank.estimate / whole if scope and whole else None,
                        _median(own, WEIGHT_ERROR),
                        _median(own, SIGNAL_TO_NOISE),
                    )
                )
    return frame_of(ScopeLine, lines)


def _place(name: str) -> tuple[int, int]:
    """Where the scope of a precision stands among others: blocks by their number."""
    scope = format_and_scope(name)[1]
    kind = scope.rstrip("0123456789")
    known = SCOPES.index(kind) if kind in SCOPES else len(SCOPES)
    return known, int(scope.removeprefix(kind) or 0)


def sources(table: Table) -> pl.DataFrame:
    """Table of `SourceLine` lines: damage with weight error and noise of features."""
    from scipy.stats import rankdata

    response, reference = table.roles.response, precisions(table)[0]
    errors = {WEIGHT_ERROR: 1.0, SIGNAL_TO_NOISE: -1.0}
    if any(name not in table.frame.columns for name in errors):
        return frame_of(SourceLine, [])
    found: dict[tuple[str, str, str], list[float]] = {}
    for model, rows in _by_model(table):
        at_reference = pl.col(str(table.roles.precision)) == reference
        for _, training in rows.untuned().group_by(table.roles.unit, maintain_order=True):
            start = training.filter(at_reference)[response]
            part = training.filter(~at_reference).drop_nulls([response, *errors])
            if len(part) < LEAST_PRECISIONS or start.null_count() or len(start) != 1:
                continue
            damage = rankdata(_worse(table, part[response].to_numpy() - start.item()))
            ranks = {e: rankdata(sign * part[e].to_numpy()) for e, sign in errors.items()}
            for error, other in (tuple(errors), tuple(errors)[::-1]):
                plain = _correlation(damage, ranks[error])
                partial = _partial(damage, ranks[error], ranks[other])
                found.setdefault((model, error, ""), []).append(plain)
                found.setdefault((model, error, other), []).append(partial)
    lines = []
    for (model, error, given), values in found.items():
        finite = [value for value in values if np.isfinite(value)]
        if finite:
            rank = signed_rank(finite)
            median = float(np.median(finite))
            lines.append(SourceLine(model, error, given, len(finite), median, rank.low, rank.high))
    return frame_of(SourceLine, lines)


def metrics_after(table: Table, metrics: Sequence[str]) -> pl.DataFrame:
    """Medians of collapse metrics after each method at each format that has several.

    Columns: model, format, method, n, the metrics.
    """
    lines = methods(table).select("model", "format", "method", "n")
    values = []
    groups = dict(_by_model(table))
    by_parts = {method_and_format(name): name for name in precisions(table)}
    for model, base, method in lines.select("model", "format", "method").rows():
        own = groups[model].at(by_parts[method, base])
        values.append({name: _median(own, name) for name in metrics})
    return pl.concat(
        [lines, pl.DataFrame(values, schema=dict.fromkeys(metrics, pl.Float64))], how="horizontal"
    )


class _Rows:
    """Last checkpoints of some trainings at every precision."""

    def __init__(self, table: Table, frames: dict[str, pl.DataFrame]) -> None:
        self.table, self.frames = table, frames

    def at(self, precision: str) -> pl.DataFrame:
        return self.frames[precision]

    def joined(self, names: Sequence[str], column: str) -> pl.DataFrame:
        """One row per training that has `column` at all names, as column0, column1, ..."""
        unit = self.table.roles.unit
        parts = [
            self.at(name).select(unit, pl.col(column).alias(f"{column}{place}"))
            for place, name in enumerate(names)
        ]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined.join(part, on=unit, how="inner")
        return joined.drop_nulls().sort(unit)

    def untuned(self) -> pl.DataFrame:
        """Rows of precisions whose weights were not trained on."""
        tuned = ("qat-", "efqat-", "ft-")
        return pl.concat([f for name, f in self.frames.items() if not name.startswith(tuned)])


def _by_model(table: Table) -> Iterator[tuple[str, _Rows]]:
    """Rows by kind of model, where the table has several."""
    frames = {name: final_rows(table, name) for name in precisions(table)}
    kinds: list[str] = (
        table.frame[KIND].unique(maintain_order=True).to_list()
        if KIND in table.frame.columns
        else []
    )
    if len(kinds) < 2:
        yield "", _Rows(table, frames)
        return
    for kind in kinds:
        chosen = {name: frame.filter(pl.col(KIND) == kind) for name, frame in frames.items()}
        yield kind, _Rows(table, chosen)


WorseT = TypeVar("WorseT", float, Floats)


def _worse(table: Table, change: WorseT) -> WorseT:
    """A change for the worse; of a response without a better direction its rise."""
    return -change if table.roles.responses.get(table.roles.response) == "higher" else change


def _median(rows: pl.DataFrame, column: str) -> float | None:
    if column not in rows.columns:
        return None
    median = rows[column].drop_nulls().cast(pl.Float64).median()
    return median if isinstance(median, float) else None


def _correlation(x: Floats, y: Floats) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _partial(x: Floats, y: Floats, given: Floats) -> float:
    """Correlation of ranks given a third one's."""
    xy, xz, yz = _correlation(x, y), _correlation(x, given), _correlation(y, given)
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / rest**0.5 if rest > 1e-12 else float("nan")
