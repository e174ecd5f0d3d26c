"""The section on what a metric adds to a forecast of unseen architectures."""

from __future__ import annotations

import polars as pl

from analysis.findings.forecast import forecast as forecasts
from analysis.report.columns import FORECAST
from analysis.report.exhibits import Context, Section, rows_used
from analysis.report.tables import TableExhibit, share


def forecast(context: Context) -> Section | None:
    """One architecture left out in turn: the design alone, and with each metric."""
    table, rows = context.table, context.rows
    lines = forecasts(rows, table.roles, context.choices)
    if lines.is_empty():
        return None
    first = lines.row(0, named=True)
    known = lines.filter(pl.col("n") == len(rows))["q2_without"].drop_nulls().to_list()
    reach = f" It alone reaches a Q² of {share(known[0])}." if known else ""
    used = (
        f"{rows_used(table, rows)}; response {context.response}; {first['groups']} architectures, "
        f"each forecast from the others. {context.seeds}."
    )
    if first["model"]:
        used += f" Model of the design, {first['model']}: {first['terms']}."
    return Section(
        "forecast",
        "What a metric adds to a forecast",
        (
            "Each architecture (width and depth) is forecast from all others, by a model of the "
            f"design without and with a metric.{reach} A metric that adds nothing may still be "
            "associated: the design may know it already. p asks whether the metric adds more than "
            "it does when it is exchanged between the trainings of a design cell.",
        ),
        (
            TableExhibit(
                "forecast",
                f"Forecast of {context.response} for an architecture left out",
                used,
                lines,
                FORECAST,
                more=context.more,
            ),
        ),
    )
