"""From anybody's rows to how collapse and an outcome are related.

In a notebook: `report = analysis.report("runs/quickstart")`, then `report.summary`,
`report.frames["association"]`, `report.figures["association"]`, `report.write(Path("out"))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from analysis.report.page import Report

__all__ = ["report"]

# The room of the same name is loaded before the function is defined: loaded later, it would take
# the name `report` away from the function.
import_module("analysis.report")


def report(
    source: str | Path,
    *,
    columns: str | Path | None = None,
    unit: Sequence[str] | None = None,
    response: str | None = None,
    metrics: Sequence[str] | None = None,
    axes: Sequence[str] | None = None,
    architecture: Sequence[str] | None = None,
    order: str | None = None,
    seed_column: str | None = None,
    precision_column: str | None = None,
    decimal: Literal[".", ","] | None = None,
    primary: Sequence[str] | None = None,
    margin: Mapping[str, float] | None = None,
    permutations: int = 10_000,
    bootstrap: int = 2_000,
    seed: int = 0,
    allow_missing: bool = False,
    only: Sequence[str] = (),
    classes: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Report:
    """The report of a run directory or table, not yet written; see `page.Report`.

    It has the summary, every frame and every figure. The arguments are those of
    `python -m analysis`. Raises analysis.reading.table.AnalysisError for a wrong request or table.
    """
    from analysis.reading.load import load
    from analysis.reading.naming import ColumnNames
    from analysis.reading.table import Choices
    from analysis.report.page import build_report

    table = load(
        source,
        columns=columns,
        names=ColumnNames(unit, metrics, axes, architecture, order, seed_column, precision_column),
        response=response,
        primary=primary,
        margin=margin,
        decimal=decimal,
        allow_missing=allow_missing,
    )
    return build_report(
        table, Choices(permutations, bootstrap, seed, tuple(classes)), only=only, say=say
    )
