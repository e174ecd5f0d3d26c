"""Each precision in one line: its cost, its savings, its effect on the response.

Medians over trainings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from analysis.findings.changes import TOTAL
from analysis.findings.frames import frame_of
from analysis.findings.pairs import comparisons, paired
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import Table

MIB = 2**20


@dataclass(frozen=True)
class Overview:
    """One line: a precision.

    Sizes and errors are medians over the trainings at this precision, null where rows do not say
    them.

    `before` and `after` medians of the response at the baseline and here over the `n` trainings
    measured at both, `change` the pseudo-median of the differences, with its interval, p, verdict
    and note from the table of changes.
    """

    precision: str
    baseline: str
    n: int
    bits: float | None = None
    mib: float | None = None
    share: float | None = None
    weight_error: float | None = None
    logits_error: float | None = None
    mean_drift: float | None = None
    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_maxt: float | None = None
    verdict: str = ""
    worse: int | None = None
    note: str = ""


FACTS = {"bits": "bits_per_weight", "mib": "model_bytes", "share": "quantized_share"} | {
    name: name for name in ("weight_error", "logits_error", "mean_drift")
}


def overview(table: Table, changes: pl.DataFrame) -> pl.DataFrame:
    """Table of `Overview` lines, the reference first, then by bits and the table."""
    response = table.roles.response
    reference = precisions(table)[0]
    lines = [_facts(table, Overview(reference, "", len(final_rows(table, reference))))]
    lines[0] = replace(lines[0], after=_median(final_rows(table, reference), response))
    by_precision = {
        line["precision"]: line for line in changes.filter(column=response, level=TOTAL).to_dicts()
    }
    for precision, baseline in comparisons(table):
        rows, change = paired(table, precision, baseline), by_precision[precision]
        line = Overview(
            precision,
            baseline,
            len(rows),
            before=_median(rows, response),
            after=_median(rows, f"{response}_q"),
            change=change["estimate"],
            **{name: change[name] for name in ("low", "high", "p", "p_maxt", "worse")},
            verdict=change["verdict"],
            note=change["note"],
        )
        lines.append(_facts(table, line))
    first, rest = lines[0], sorted(lines[1:], key=lambda line: -(line.bits or 0.0))
    return frame_of(Overview, (first, *rest))


def _facts(table: Table, line: Overview) -> Overview:
    rows = final_rows(table, line.precision)
    facts: dict[str, Any] = {
        name: _median(rows, column) for name, column in FACTS.items() if column in rows.columns
    }
    if facts.get("mib") is not None:
        facts["mib"] /= MIB
    return replace(line, **facts)


def _median(rows: pl.DataFrame, column: str) -> float | None:
    median = rows[column].drop_nulls().cast(pl.Float64).median()
    return median if isinstance(median, float) else None
