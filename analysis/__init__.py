"""From anybody's rows to how collapse and an outcome are related.

In a notebook: `report = analysis.report("runs/quickstart")`, then `report.sentences`,
`report.summary`, `report.frames["association"]`, `report.figures["association"]`,
`report.write(Path("out"))`; `print(report)` shows it in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from analysis.report.page import Report
    from analysis.report.runs import RunsReport

__all__ = ["report"]

# The room of the same name is loaded before the function is defined: loaded later, it would take
# the name `report` away from the function.
import_module("analysis.report")


@overload
def report(source: str | Path, **options: Any) -> Report: ...


@overload
def report(
    source: list[str | Path] | tuple[str | Path, ...], **options: Any
) -> Report | RunsReport: ...


def report(  # type: ignore[misc]  # what `options` may be is written once, here
    source: str | Path | list[str | Path] | tuple[str | Path, ...],
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
    intervention: Sequence[str] | None = None,
    permutations: int = 10_000,
    bootstrap: int = 2_000,
    seed: int = 0,
    allow_missing: bool = False,
    only: Sequence[str] = (),
    classes: str | Sequence[str] | Mapping[str, Sequence[str]] = (),
    say: Callable[[str], None] | None = None,
) -> Report | RunsReport:
    """The report of a run directory or table, of the Hub too, not yet written.

    See `report.page.Report`.

    It has three sentences, the summary, every frame and every figure. Several sources make a
    `RunsReport`: each question run by run and pooled, and each run's own report. What names columns
    holds for those that are files. The arguments are those of `collapse-study report`. Raises
    analysis.reading.table.AnalysisError for a wrong request or table.
    """
    from analysis.reading.class_lists import as_lists
    from analysis.reading.load import load
    from analysis.reading.naming import ColumnNames
    from analysis.reading.places import place_of
    from analysis.reading.table import Choices
    from analysis.report.page import build_report
    from analysis.report.runs import build_runs_report, run_names

    places = list(map(place_of, source if isinstance(source, list | tuple) else [source]))
    names = ColumnNames(unit, metrics, axes, architecture, order, seed_column, precision_column)
    tables = []
    for place in places:
        mapped = len(places) == 1 or not place.path.is_dir()
        tables.append(
            load(
                place,
                columns=columns if mapped else None,
                names=names if mapped else None,
                response=response,
                primary=primary,
                margin=margin,
                intervention=intervention,
                decimal=decimal,
                allow_missing=allow_missing,
            )
        )
    choices = Choices(permutations, bootstrap, seed, as_lists(classes))
    if len(tables) == 1:
        return build_report(tables[0], choices, only=only, say=say)
    named = dict(zip(run_names(places), tables, strict=True))
    return build_runs_report(named, choices, only=only, say=say)
