"""Sections on metrics and response: described, and under each control."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from analysis.figures import association as figures
from analysis.figures.forest import LABELLED, forest
from analysis.findings.association import associations
from analysis.findings.configuration import LEAST_SEEDS, configurations
from analysis.findings.configuration import fixed as fixed_table
from analysis.findings.controls import LEAST_REPLICATES
from analysis.findings.design import design_tables
from analysis.findings.progress import given_train_loss
from analysis.findings.within import by_cell
from analysis.findings.within import within as associations_within
from analysis.reading.groups import told_apart
from analysis.reading.table import CDNV_NORM
from analysis.report.columns import (
    ASSOCIATION,
    DESIGN,
    FIXED,
    GIVEN_DESIGN,
    GIVEN_TRAIN_LOSS,
    PLACEBOS,
    WITHIN,
    WITHIN_CELLS,
)
from analysis.report.exhibits import Context, Exhibit, Section, rows_used
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import Column, TableExhibit, p_value, signed, worded
from analysis.statistics.decide import ASSOCIATED
from analysis.statistics.design import LEAST_DOF

FEW_CELLS = 12  # design cells whose forest plot is shown at once
PUBLISHED = {
    "nc1_cdnv": (1,),
    "nc2_log_norm_mean": (20,),
    "nc2_log_norm_std": (2, 20),
    "nc2_interference_mean": (21,),
    "nc2_interference_std": (2, 21),
    "gnc2_log_distance_mean": (22,),
    "gnc2_log_distance_std": (1, 2, 22),
    "nc3_cosine_mean": (3, 27),
    "nc3_dot_mean": (27,),
    "nc3_dot_std": (28,),
    "nc3_distance": (27,),
    "unc3_cosine_std": (1, 3, 28),
    "nc4_agreement": (1,),
}
"""Figures of Wu & Papyan 2024 that have validation loss against a metric."""
MOST_CONFIGURATIONS = 3  # figures of a fixed configuration; the largest groups


def association(context: Context) -> Section:
    """Every metric against the response over all trainings, described."""
    table, rows = context.table, context.rows
    lines = associations(rows, table.roles, context.choices)
    used = (
        f"{context.used(rows)} Whole design cells are drawn for the interval. Size and time of "
        "training are in these numbers: they are no control."
    )
    others = tuple(name for name in table.roles.metrics if name not in context.headline)
    exhibits: list[Exhibit] = [
        TableExhibit(
            "association", "Association, described", used, lines, ASSOCIATION, more=context.more
        ),
        *_scatter(
            context, lines, context.headline, "association", "The response against each metric"
        ),
    ]
    more = "The response against the other metrics"
    exhibits += _scatter(context, lines, others, "association_more", more, folded=True)
    return Section(
        "association",
        f"Collapse and {table.roles.response}, described",
        (
            "Each metric against the response over all trainings of the table. Larger models "
            "trained for longer have a lower loss and other geometry for reasons of their own, so "
            "a line of this table shows what is seen, not that collapse has anything to do with "
            "it: that is for the tables with a control.",
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
    shown = lines.filter(pl.col("metric").is_in(list(metrics)) & pl.col("estimate").is_not_null())
    if shown.is_empty():
        return []
    rows, roles = context.rows, context.table.roles
    caption = f"{rows_used(context.table, rows)}.{norm_remark(shown)}{as_published(metrics)}"
    figure = partial(figures.scatter, rows, roles, lines, metrics, axes=told_apart(context.table))
    return [FigureExhibit(name, title, caption, figure, folded)]


def as_published(metrics: Sequence[str]) -> str:
    """Where Wu & Papyan 2024 have these panels, which they colour by size alone."""
    numbers = sorted({number for name in metrics for number in PUBLISHED.get(name, ())})
    shown = ", ".join(map(str, numbers))
    return f" Wu & Papyan 2024 have such panels in figures {shown}." if numbers else ""


def norm_remark(lines: pl.DataFrame) -> str:
    """What a figure of a CDNV must say beside it: its partial r given the norm."""
    return "".join(
        f" {line['metric']} scales with the feature norm: given {CDNV_NORM} its partial r is "
        f"{signed(line['given_norm'])}, p {p_value(line['given_norm_p'])}."
        for line in lines.filter(pl.col("given_norm").is_not_null()).to_dicts()
    )


def within(context: Context) -> Section | None:
    """The headline where there are replicates: trainings of one design cell compared."""
    table, rows, roles = context.table, context.rows, context.table.roles
    lines = associations_within(rows, roles, context.choices)
    if lines.is_empty():
        return None
    cells, r_w = lines["cells"][0], lines["r_w"][0]
    used = (
        f"{context.used(rows)} {cells} design cell{'s have' if cells > 1 else ' has'} replicates, "
        f"which leave {r_w} degrees of "
        "freedom. x and y are centred in their cell; permutations and bootstrap stay inside cells. "
        "Intervals invert the test; an end that it leaves open is that of the bootstrap."
    )
    shown = tuple(
        name for name in roles.primary or context.headline if name in lines["metric"].to_list()
    )
    in_cells = by_cell(rows, roles, shown)
    exhibits: list[Exhibit] = [
        TableExhibit(
            "within",
            "Association within design cells",
            used,
            lines,
            WITHIN,
            more=context.more,
        )
    ]
    if in_cells["low"].null_count() < len(in_cells):  # else no cell has an interval of its own
        exhibits.append(
            FigureExhibit(
                "within",
                "r of each design cell, and pooled",
                f"{rows_used(table, rows)}. Bars are 95% intervals (Fisher's for a cell); the "
                "diamond is the pooled r, filled where the metric is associated."
                + (f" The first {LABELLED} metrics." if len(shown) > LABELLED else ""),
                partial(_forest_of_cells, lines, in_cells),
                folded=cells > FEW_CELLS,
            )
        )
    exhibits.append(
        TableExhibit(
            "within_cells",
            "r of each design cell",
            f"{context.used(rows)} Primary metrics alone.",
            in_cells,
            WITHIN_CELLS,
            folded=True,
        )
    )
    headline = (
        "This is the table to read first."
        if r_w >= LEAST_REPLICATES
        else f"They leave {r_w} degrees of freedom, fewer than {LEAST_REPLICATES}: the model of "
        "the design says more here."
    )
    return Section(
        "within",
        f"Collapse and {roles.response}, within design cells",
        (
            "Trainings that agree in every axis and differ in their seed alone are compared with "
            "each other, and with no others. Whatever the axes do to metric and response is taken "
            f"out without a model of it. {headline}",
        ),
        tuple(exhibits),
    )


def _forest_of_cells(lines: pl.DataFrame, in_cells: pl.DataFrame) -> Figure:
    """r by cell, a panel a metric."""
    metrics = in_cells["metric"].unique(maintain_order=True).to_list()[:LABELLED]
    cells = in_cells.filter(pl.col("metric").is_in(metrics) & pl.col("r").is_not_null()).select(
        panel="metric",
        label="cell",
        estimate="r",
        low="low",
        high="high",
        solid=pl.lit(value=True),
        summary=pl.lit(value=False),
    )
    pooled_lines = lines.filter(
        pl.col("metric").is_in(metrics) & pl.col("estimate").is_not_null()
    ).select(
        panel="metric",
        label=pl.lit("pooled"),
        estimate="estimate",
        low="low",
        high="high",
        solid=pl.col("verdict") == ASSOCIATED,
        summary=pl.lit(value=True),
    )
    return forest(
        pl.concat([cells, pooled_lines]), xlabel="correlation with the response", whole=True
    )


def design(context: Context) -> Section | None:
    """The model of the design, what is found against it, and what is left given it."""
    table, rows = context.table, context.rows
    tables = design_tables(rows, table.roles, context.choices)
    if tables is None:
        return None
    used = context.used(rows)
    exhibits = [
        TableExhibit(
            "design",
            f"Models of {table.roles.response} by the axes",
            f"{rows_used(table, rows)}. Chosen is the largest Q² among those that leave "
            f"{LEAST_DOF} degrees of freedom.",
            tables.design,
            DESIGN,
        )
    ]
    if not tables.placebos.is_empty():
        exhibits.append(
            TableExhibit(
                "placebos",
                "Placebos: functions of the axes outside the model",
                f"{used} A placebo with p Holm of at most .05 makes the control inadequate.",
                tables.placebos,
                PLACEBOS,
            )
        )
    exhibits.append(
        TableExhibit(
            "given_design",
            "Association given the design",
            f"{used} Freedman-Lane with the robust t.",
            tables.given_design,
            GIVEN_DESIGN,
            more=context.more,
        )
    )
    return Section(
        "design",
        f"Collapse and {table.roles.response}, given a model of the design",
        (
            "What the axes do to the response is modelled and taken out. A metric may depend on "
            "the axes as it likes, but the model has to fit the response; so it is tested first: "
            "against the means of the design cells, and by placebos, functions of the axes that "
            "nobody measured. Where the model does not hold, no line is a finding.",
        ),
        tuple(exhibits),
    )


def progress(context: Context) -> Section | None:
    """What is left given how far training got."""
    table, rows = context.table, context.rows
    lines = given_train_loss(rows, table.roles, context.choices)
    if lines.is_empty():
        return None
    control = lines["control"].unique(maintain_order=True).to_list()[0] or "no control"
    return Section(
        "progress",
        "Given how far training got",
        (
            "Metrics are measured on training data. What vanishes once the training loss is given "
            "says how far a training got; what remains, or goes with the gap of generalization, "
            "says something about data that the training has not seen. It vanishes where the "
            "interval leaves out what r was before; where it does not, the association is no "
            "longer found, and may be as large as it was.",
        ),
        (
            TableExhibit(
                "given_train_loss",
                "Association given train_loss, and with the gap",
                f"{context.used(rows)} Control: {control}.",
                lines,
                GIVEN_TRAIN_LOSS,
                more=context.more,
            ),
        ),
    )


def fixed(context: Context) -> Section | None:
    """Table 1 of Wu & Papyan: one configuration, many seeds."""
    table, rows = context.table, context.rows
    groups = configurations(table, rows)
    if not groups:
        return None
    exhibits: list[Exhibit] = []
    frame = fixed_table(table, rows, context.choices)
    if frame.is_empty():  # the response differs between configurations alone
        return None
    for place, (point, part) in enumerate(groups[:MOST_CONFIGURATIONS]):
        lines = frame.filter(pl.col("configuration") == point)
        suffix = "" if place == 0 else f"_{place + 1}"
        figure = partial(figures.scatter, part, table.roles, lines, context.headline, axes=())
        caption = f"{rows_used(table, part)}.{norm_remark(lines)}"
        title = f"The response against each metric at {point}"
        exhibits.append(FigureExhibit(f"fixed{suffix}", title, caption, figure, folded=place > 0))
    point, part = groups[0]
    columns = (
        FIXED if len(groups) == 1 else (Column("configuration", "configuration", worded), *FIXED)
    )
    where = f"at {point}" if len(groups) == 1 else f"in each of {len(groups)} configurations"
    exhibits.insert(
        0,
        TableExhibit(
            "fixed", f"Association {where}", context.used(part), frame, columns, more=context.more
        ),
    )
    return Section(
        "fixed",
        "One configuration, many seeds",
        (
            "Trainings that differ in nothing but their seed: no size, no schedule can stand "
            f"behind an association here. Every configuration of at least {LEAST_SEEDS} trainings "
            "is listed; how far training got can still stand behind it.",
        ),
        tuple(exhibits),
    )
