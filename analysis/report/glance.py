"""Figures and one table beside the three sentences at the head of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import polars as pl

from analysis.figures.glance import rows_with_intervals
from analysis.findings.changes import CHANGED, NO_MORE_THAN, TOTAL
from analysis.findings.properties import Property, properties
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.columns import columns_of
from analysis.report.digits import DASH
from analysis.report.exhibits import Context, Exhibit, rows_used
from analysis.report.pictures import FigureExhibit
from analysis.report.sentences.headline import Headline, headline
from analysis.report.sentences.words import of_family
from analysis.report.tables import Column, TableExhibit, called, number, signed, signed_number
from analysis.statistics.decide import ASSOCIATED
from study.columns import noun

Frames = Mapping[str, pl.DataFrame]


def glance(context: Context, frames: Frames) -> tuple[Exhibit, ...]:
    """Figures and a table; none for a search, whose trials are no sample."""
    if context.table.search is not None:
        return ()
    head = headline(frames)
    return (*_effects(context, head), *_costs(context, frames), *_properties(context, head, frames))


def _effects(context: Context, head: Headline | None) -> Iterator[FigureExhibit]:
    """The primary metrics with their estimates under the control of the report."""
    if head is None:
        return
    lines = of_family(head.lines, PRIMARY) or of_family(head.lines, EXPLORATORY)
    drawn = [line for line in lines if line.estimate is not None]
    if not drawn:
        return
    shown = pl.DataFrame(
        {
            "label": [noun(line.metric) for line in drawn],
            "estimate": [line.estimate for line in drawn],
            "low": [line.low for line in drawn],
            "high": [line.high for line in drawn],
            "solid": [line.verdict == ASSOCIATED for line in drawn],
        },
        schema_overrides={"low": pl.Float64, "high": pl.Float64},
    )
    caption = f"{rows_used(context.table, context.rows)}. Bars are 95% intervals, a filled dot is "
    caption += "associated."
    if any(line.verdict == INADEQUATE for line in drawn):
        caption += " The control does not hold, so that none is a finding."
    xlabel = f"correlation with {noun(context.response)}\n{head.control}"
    title = f"Metrics and {context.response}"
    draw = partial(rows_with_intervals, shown, xlabel=xlabel, whole=True)
    yield FigureExhibit("summary_metrics", title, caption, draw)


def _costs(context: Context, frames: Frames) -> Iterator[FigureExhibit]:
    """What each precision does to the response."""
    if "changes" not in frames:
        return
    shown = frames["changes"].filter(
        (pl.col("column") == context.response)
        & (pl.col("level") == TOTAL)
        & pl.col("estimate").is_not_null()
    )
    if shown.is_empty():
        return
    shown = shown.select(
        pl.col("precision").alias("label"),
        "estimate",
        "low",
        "high",
        solid=pl.col("verdict") == CHANGED,
    )
    caption = (
        "One difference per training at its last checkpoint, pseudo-medians; bars are 95% "
        "intervals, a filled dot is a change."
    )
    xlabel = f"change of {noun(context.response)}"
    draw = partial(rows_with_intervals, shown, xlabel=xlabel)
    yield FigureExhibit("summary_precisions", "What each precision costs", caption, draw)


def _properties(context: Context, head: Headline | None, frames: Frames) -> Iterator[TableExhibit]:
    """A line a property of collapse."""
    lines = () if head is None else head.lines
    frame = properties(context.table, lines, frames.get("training"), frames.get("changes"))
    if frame.is_empty():
        return
    control = "" if head is None else f" r and verdict are {head.control}."
    yield TableExhibit(
        "properties",
        "Collapse at a glance",
        f"{context.used(context.rows)}{control}",
        frame,
        _columns(frame),
    )


def _columns(frame: pl.DataFrame) -> tuple[Column, ...]:
    """Printed columns; those of precisions are headed by their names."""
    at = [
        Column(f"change at {names[0]}", f"{which}_verdict", of_row=partial(_changed, which))
        for which in ("coarse", "coarsest")
        if (names := frame[which].drop_nulls().to_list())
    ]
    return columns_of(
        Property,
        Column("property", "property"),
        Column("metric", "metric", called),
        Column("at the end", "value", number, hint="median over trainings, last checkpoint"),
        Column("over training", "towards", of_row=_moved),
        Column("r", "estimate", signed, hint="under the control by which the report is judged"),
        Column("95% interval", "low", signed, "high"),
        Column("association", "verdict", of_row=_judged),
        *at,
    )


def _moved(row: Mapping[str, Any]) -> str:
    """Whether most trainings moved towards collapse, and how many."""
    if row["towards"] is None:
        return DASH
    return f"towards collapse in {row['towards']} of {row['trainings']}"


def _judged(row: Mapping[str, Any]) -> str:
    """The verdict, and whether it is of a metric that the study did not ask about."""
    if row["verdict"] is None:
        return DASH
    return f"{row['verdict']}{', exploratory' if row['family'] == EXPLORATORY else ''}"


def _changed(which: str, row: Mapping[str, Any]) -> str:
    """The change at a precision, and what its verdict says of collapse."""
    change, verdict = row[f"{which}_change"], row[f"{which}_verdict"]
    if verdict == CHANGED and row["direction"]:
        towards = (change > 0) == (row["direction"] == "higher")
        verdict = "towards collapse" if towards else "away from collapse"
    if verdict == NO_MORE_THAN:
        verdict = "within the margin"
    return verdict or DASH if change is None else f"{signed_number(change)}, {verdict}"
