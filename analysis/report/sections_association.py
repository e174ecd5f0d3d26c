"""Sections on metrics and response over trainings, and how much is the grid."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.figures import association as figures
from analysis.figures.effects import effect_figure
from analysis.figures.sweeps import against_axis
from analysis.findings.association import associations
from analysis.findings.confounders import axis_covariates, confounders
from analysis.findings.effects import effects
from analysis.findings.pooled import pooled
from analysis.findings.sweeps import facet_of, levels_of, missing_points, swept
from analysis.reading.groups import colour_of
from analysis.reading.selection import replicates
from analysis.reading.table import ABOVE_FLOOR, CDNV_NORM, CDNV_VARIANTS, core
from analysis.report.columns import ASSOCIATION, CONFOUNDERS, EFFECTS, MUNDLAK, POOLED, ROBUSTNESS
from analysis.report.exhibits import Context, Exhibit, Section, at_precision, muted, rows_used
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import TableExhibit, p_value, signed

LEAST_SEEDS = 5  # trainings that differ in their seed alone, for a table of their own
OUTCOMES = (ABOVE_FLOOR, "val_accuracy")  # beside the response where axes are told apart
MOST_CONFIGURATIONS = 3  # tables of a fixed configuration; the largest groups


def association(context: Context) -> Section:
    """Every metric against the response over all trainings."""
    table, rows = context.table, context.rows
    lines = associations(rows, table.roles, context.choices)
    used = context.used(rows)
    others = tuple(name for name in table.roles.metrics if name not in context.headline)
    exhibits: list[Exhibit] = [
        TableExhibit("association", "Association", used, lines, ASSOCIATION, muted, context.more),
        *_scatter(
            context, lines, context.headline, "association", "The response against each metric"
        ),
        TableExhibit(
            "association_robust",
            "Robustness of the association",
            used,
            lines,
            ROBUSTNESS,
            muted,
            folded=True,
        ),
    ]
    more = "The response against the other metrics"
    exhibits += _scatter(context, lines, others, "association_more", more, folded=True)
    return Section(
        "association",
        f"Collapse and {table.roles.response}, over all trainings",
        (
            "Each metric against the response over all trainings of the table. Larger models "
            "trained for longer have a lower loss and other geometry for reasons of their own: "
            "read this beside the section on the grid.",
        ),
        tuple(exhibits),
    )


def _scatter(
    context: Context,
    lines: pl.DataFrame,
    metrics: Sequence[str],
    name: str,
    title: str,
    *,
    folded: bool = False,
) -> list[Exhibit]:
    """The figure of those metrics that have an r; none where no metric has."""
    shown = lines.filter(pl.col("metric").is_in(list(metrics)) & pl.col("r").is_not_null())
    if shown.is_empty():
        return []
    rows, roles = context.rows, context.table.roles
    caption = f"{rows_used(context.table, rows)}.{norm_remark(lines, metrics)}"
    figure = figures.scatter(rows, roles, lines, metrics, colour=colour_of(context.table))
    return [FigureExhibit(name, title, caption, figure, folded)]


def norm_remark(lines: pl.DataFrame, shown: Sequence[str]) -> str:
    """What a figure of a CDNV must say beside it: its partial r given the norm."""
    variants = [name for name in CDNV_VARIANTS if name in shown]
    lines_given = lines.filter(pl.col("metric").is_in(variants) & (pl.col("given") == CDNV_NORM))
    remarks = [
        f" {line['metric']} scales with the feature norm: given {CDNV_NORM} its partial r is "
        + (
            signed(line["r"]) + f", p {p_value(line['p'])}"
            if line["r"] is not None
            else f"unknown ({line['note']})"
        )
        + "."
        for line in lines_given.to_dicts()
    ]
    return "".join(remarks)


def fixed(context: Context) -> Section | None:
    """Table 1 of Wu & Papyan: one configuration, many seeds."""
    table, rows = context.table, context.rows
    groups = sorted(replicates(table, rows, LEAST_SEEDS), key=lambda group: -len(group[1]))
    if not groups or len(groups[0][1]) == len(rows):
        return None
    exhibits: list[Exhibit] = []
    for place, (settings, part) in enumerate(groups[:MOST_CONFIGURATIONS]):
        point = ", ".join(f"{name} {value}" for name, value in settings.items())
        lines = associations(part, table.roles, context.choices)
        used = f"{point}: {context.used(part)}"
        suffix = "" if place == 0 else f"_{place + 1}"
        exhibits += [
            TableExhibit(
                f"fixed{suffix}",
                f"Association at {point}",
                used,
                lines,
                ASSOCIATION,
                muted,
                context.more,
                folded=place > 0,
            ),
            FigureExhibit(
                f"fixed{suffix}",
                f"The response against each metric at {point}",
                f"{rows_used(table, part)}.{norm_remark(lines, context.headline)}",
                figures.scatter(part, table.roles, lines, context.headline, colour=None),
                folded=place > 0,
            ),
            TableExhibit(
                f"fixed_robust{suffix}",
                f"Robustness at {point}",
                used,
                lines,
                ROBUSTNESS,
                muted,
                folded=True,
            ),
        ]
    more = len(groups) - MOST_CONFIGURATIONS
    note = f" {more} more configurations have {LEAST_SEEDS} trainings or more." if more > 0 else ""
    return Section(
        "fixed",
        "One configuration, many seeds",
        (
            "Trainings that differ in nothing but their seed: no size, no schedule can stand "
            f"behind an association here.{note}",
        ),
        tuple(exhibits),
    )


def grid(context: Context) -> Section | None:
    """What is left of the association when the axes are taken out."""
    table, rows = context.table, context.rows
    names, _ = axis_covariates(rows, table.roles)
    if not names:
        return None
    lines = confounders(rows, table.roles, context.choices)
    used = (
        f"{rows_used(table, rows)}; response {table.roles.response}; axes: {', '.join(names)}. "
        f"{context.seeds}."
    )
    shown = lines.filter(
        pl.col("metric").is_in(context.headline)
        & (pl.col("given") == "")
        & pl.col("r").is_not_null()
    )
    title = "Correlation with the response under each control"
    drawn = (
        [FigureExhibit("grid", title, f"{rows_used(table, rows)}.", figures.controls(shown))]
        if len(shown)
        else []
    )
    return Section(
        "grid",
        "How much of it is the grid",
        (
            "The same trainings, with what the grid itself explains taken out: linear in "
            f"{', '.join(names)}, or by comparing only trainings of one architecture. What is "
            "left is no proof of a cause; what vanishes was no evidence of one.",
            "Signs: “same sign” where r has one sign overall, between and within architectures; "
            "anything else is Simpson's paradox.",
        ),
        (
            *drawn,
            TableExhibit(
                "grid",
                "Association with the grid taken out",
                used,
                lines,
                CONFOUNDERS,
                muted,
                context.more,
            ),
            TableExhibit(
                "grid_slopes",
                "Slopes within and between architectures",
                used,
                lines,
                MUNDLAK,
                muted,
                context.more,
                folded=True,
            ),
        ),
    )


def axes(context: Context) -> Section | None:
    """What each axis does to response and metrics: effects with intervals, curves."""
    table, rows = context.table, context.rows
    if not axis_covariates(rows, table.roles)[0]:
        return None
    names = swept(table, rows)
    facet = facet_of(table, rows)
    missing = missing_points(table, facet, levels_of(rows, facet))
    apart = f", {facet} apart" if facet else ""
    outcomes = tuple(
        dict.fromkeys([table.roles.response, *(name for name in OUTCOMES if name in rows.columns)])
    )
    shown = (*outcomes, *core(table.roles))
    lines = effects(rows, table.roles, (*outcomes, *table.roles.metrics), context.choices)
    columns = (table.roles.response, *core(table.roles))
    drawn = lines.filter(pl.col("metric").is_in(shown) & pl.col("effect").is_not_null())
    exhibits: list[Exhibit] = []
    if len(drawn):
        exhibits.append(
            FigureExhibit(
                "effects",
                "What each axis does, the others held",
                f"{rows_used(table, rows)}. Least squares on all axes; bars are 95% intervals, a "
                "filled dot has p maxT of at most .05.",
                effect_figure(drawn),
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
    exhibits += [
        FigureExhibit(
            f"axis_{name}",
            f"The metrics against {name}{apart}",
            f"{rows_used(table, rows)}. A line joins medians over the trainings that differ in "
            f"{name} and seed alone.",
            against_axis(rows, table.roles, name, columns, facet=facet, missing=missing),
            folded=True,
        )
        for name in names
    ]
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


def checkpoints(context: Context) -> Section | None:
    """All checkpoints as rows, whole trainings as units."""
    table = context.table
    lines = pooled(table, context.choices)
    if lines.is_empty() or lines["r"].null_count() == len(lines):
        return None
    used = (
        f"All checkpoints{at_precision(table)}: {max(lines['n'])} rows of "
        f"{max(lines['trainings'])} trainings; response {table.roles.response}. Whole trainings "
        f"are permuted and drawn. {context.seeds}."
    )
    return Section(
        "checkpoints",
        "All checkpoints",
        (
            "Every checkpoint as a row. Checkpoints of one training resemble each other, so the "
            "rows say less than their number; p and interval count trainings. Both change as a "
            "training goes on, which alone makes them correlate.",
        ),
        (
            TableExhibit(
                "checkpoints",
                "Association over all checkpoints",
                used,
                lines,
                POOLED,
                muted,
                context.more,
            ),
        ),
    )
