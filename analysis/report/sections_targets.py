"""The section about the collapse of regressions and of classes in an order."""

from __future__ import annotations

from functools import partial

from analysis.figures.targets import over_training
from analysis.findings.pairs import comparisons
from analysis.findings.targets import (
    TargetCourse,
    TargetLine,
    collapse_columns,
    levels,
    outcome_columns,
    target_changes,
    target_course,
)
from analysis.reading.selection import precisions
from analysis.reading.table import OF_REGRESSION
from analysis.report import outcome_exhibits as shared
from analysis.report.columns import NOTE, columns_of
from analysis.report.exhibits import Context, Exhibit, Section, at_precision
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import (
    Column,
    TableExhibit,
    called,
    number,
    p_value,
    signed_number,
    whole,
)

LEVELS = columns_of(
    TargetLine,
    Column("precision", "precision"),
    Column("column", "column", called),
    Column("trainings", "n", whole),
    Column("median", "median", number),
    Column("least to largest", "least", number, "largest"),
)
COURSE = columns_of(
    TargetCourse,
    Column("column", "column", called),
    Column("trainings", "n", whole),
    Column("first", "first", number, hint="median at the first checkpoint"),
    Column("last", "last", number, hint="median at the last checkpoint"),
    Column("change", "estimate", signed_number, hint="Hodges-Lehmann pseudo-median"),
    Column("95% interval", "low", signed_number, "high", hint="inverts the signed-rank test"),
    Column("p", "p", p_value, hint="signed ranks, two-sided"),
    Column("p maxT", "p_maxt", p_value, hint="over the columns, by joint sign flips"),
    Column("verdict", "verdict"),
    *NOTE,
)


def targets_section(context: Context) -> Section | None:
    """Collapse over training and by precision, of vectors or ordered classes."""
    table = context.table
    collapse = collapse_columns(table)
    if not collapse:
        return None
    columns = [*collapse, *outcome_columns(table)]
    used = context.counted
    exhibits: list[Exhibit] = [
        TableExhibit("regression", "Collapse by precision", f"{used}.", levels(table), LEVELS)
    ]
    course = target_course(table, context.choices)
    names = precisions(table)
    if len(course):
        exhibits.append(
            TableExhibit(
                "regression_course",
                "What training does to collapse",
                f"First and last checkpoint{at_precision(table)}, one difference a training. "
                f"{context.seeds}.",
                course,
                COURSE,
            )
        )
    order, precision = table.roles.order, table.roles.precision
    if len(course) and order is not None and precision is not None:
        exhibits.append(
            FigureExhibit(
                "regression",
                "Collapse over training, by precision",
                "Medians over all trainings that have the checkpoint, with their quartiles.",
                partial(over_training, table.frame, order, precision, names, columns),
            )
        )
    if comparisons(table):
        changes = target_changes(table, context.choices)
        exhibits.append(shared.changes("regression", "collapse", changes, context))
    is_regression = any(name in OF_REGRESSION for name in collapse)
    return Section(
        "regression",
        "Regression" if is_regression else "Classes in an order",
        (REGRESSION if is_regression else ORDER, BOTH),
        tuple(exhibits),
    )


REGRESSION = (
    "Neural regression collapse (Andriopoulos et al. 2024): unit features in the span of their n "
    "leading principal axes (nrc1) and of the n rows of the head (nrc2), rows whose angles are "
    "those of the targets (nrc3). All are 0 at full collapse, which the model of free features "
    "reaches under weight decay, and only then. Behind a ReLU features have a mean, which keeps "
    "nrc1 and nrc2 above 0: the shares of variance beside them do not see it."
)
ORDER = (
    "Ordinal neural collapse (Ma et al. 2025): small variance inside classes (onc1), class means "
    "on a line (onc2), latents in the order of the classes (onc3) with thresholds between them "
    "(onc3_thresholds). All are 0 at full collapse."
)
BOTH = (
    "How each goes with the response under the control is in the section of associations, for "
    "which they are the primary metrics unless the study declares others."
)
