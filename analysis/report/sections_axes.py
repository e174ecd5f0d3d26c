"""The section about the axes of the grid: their effects, and trends along each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl

from analysis.figures.effects import effect_figure
from analysis.figures.sweeps import against_axis
from analysis.findings.controls import axis_covariates
from analysis.findings.effects import effects
from analysis.findings.sweeps import facet_of, levels_of, missing_points, swept
from analysis.reading.table import ABOVE_FLOOR, core
from analysis.report.columns import EFFECTS
from analysis.report.exhibits import Context, Exhibit, Section, rows_used
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import TableExhibit

OUTCOMES = (ABOVE_FLOOR, "val_accuracy")  # beside the response where axes are told apart
ALONG = ("width", "depth")
PUBLISHED = {
    "nc1_cdnv": 6,
    "nc2_log_norm_mean": 8,
    "nc2_log_norm_std": 10,
    "nc2_interference_mean": 12,
    "nc2_interference_std": 14,
    "gnc2_log_distance_mean": 16,
    "gnc2_log_distance_std": 18,
    "nc3_cosine_mean": 23,
    "unc3_cosine_std": 25,
    "nc4_agreement": 29,
}
"""Figures of Wu & Papyan 2024 that have a metric against width; the next has it against depth."""


def axes(context: Context) -> Section | None:
    """What each axis does to response and metrics: effects with intervals, curves."""
    table, rows = context.table, context.rows
    if not axis_covariates(rows, table.roles)[0]:
        return None
    names = swept(table, rows)
    outcomes = tuple(
        dict.fromkeys([table.roles.response, *(name for name in OUTCOMES if name in rows.columns)])
    )
    shown = (*outcomes, *core(table.roles))
    lines = effects(rows, table.roles, (*outcomes, *table.roles.metrics), context.choices)
    among = [name for name in PUBLISHED if name in table.roles.metrics]
    columns = tuple(dict.fromkeys([table.roles.response, *among, *core(table.roles)]))
    drawn = lines.filter(pl.col("metric").is_in(shown) & pl.col("effect").is_not_null())
    exhibits: list[Exhibit] = []
    if len(drawn):
        exhibits.append(
            FigureExhibit(
                "effects",
                "What each axis does, the others held",
                f"{rows_used(table, rows)}. Least squares on all axes; bars are 95% intervals, a "
                "filled dot has p maxT of at most .05.",
                partial(effect_figure, drawn),
            )
        )
    exhibits.append(
        TableExhibit(
            "effects",
            "Effects of the axes",
            f"{rows_used(table, rows)}. {context.seeds}.",
            lines,
            EFFECTS,
            more=context.more,
            folded=True,
        )
    )
    exhibits += [_trends(context, name, columns) for name in names]
    return Section(
        "axes",
        "What the axes of the grid do",
        (
            "Which setting matters for which metric: the response and the metrics regressed on "
            "all axes at once. An effect of 1 is one standard deviation of the column over "
            "these trainings; interactions are not in it, the curves show them.",
        ),
        tuple(exhibits),
    )


def _trends(context: Context, name: str, columns: Sequence[str]) -> FigureExhibit:
    """Columns against one axis."""
    table, rows = context.table, context.rows
    facet = facet_of(table, rows, name)
    missing = missing_points(table, facet, levels_of(rows, facet))
    apart = f", {facet} apart" if facet else ""
    return FigureExhibit(
        f"axis_{name}",
        f"The metrics against {name}{apart}",
        f"{rows_used(table, rows)}. A line joins medians over the trainings that differ in "
        f"{name} and seed alone.{as_published(name, columns)}",
        partial(against_axis, rows, table.roles, name, columns, facet=facet, missing=missing),
        folded=True,
    )


def as_published(axis: str, columns: Sequence[str]) -> str:
    """Where Wu & Papyan 2024 have these panels, one number of epochs in each."""
    if axis not in ALONG:
        return ""
    place = ALONG.index(axis)
    numbers = ", ".join(str(PUBLISHED[name] + place) for name in columns if name in PUBLISHED)
    return f" Wu & Papyan 2024 have such panels in figures {numbers}." if numbers else ""
