"""The section about groups of samples: their gaps, and what changes them."""

from __future__ import annotations

from functools import partial

from analysis.figures.groups import gaps_by_precision
from analysis.findings.blocks import Blocks, Response
from analysis.findings.groups import (
    BETTER,
    CLEAR,
    GapLine,
    gap_changes,
    gap_doses,
    gap_effects,
    gap_trends,
    gaps,
    has_groups,
)
from analysis.findings.pairs import comparisons
from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import Table
from analysis.report import outcome_exhibits as shared
from analysis.report.columns import columns_of
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.sections_interventions import TRENDS, fewest_bits
from analysis.report.tables import Column, TableExhibit, number, whole

GAPS = columns_of(
    GapLine,
    Column("precision", "precision"),
    Column("trainings", "n", whole),
    Column("accuracy gap", "gap", number, hint="largest less smallest accuracy of a group; mean"),
    Column("least to largest", "gap_least", number, "gap_largest"),
    Column("SE of one", "gap_se", number, hint="where samples are independent; mean"),
    Column("clear", "clear", whole, hint=f"trainings with a gap above {CLEAR:g} of its SE"),
    Column("worst accuracy", "worst", number, hint="of a group; mean"),
    Column("self-duality gap", "cosine", number, hint="of the mean centred cosine; mean"),
)


def groups_section(context: Context) -> Section | None:
    """Gaps between groups at each precision, and what precisions and doses do to them."""
    table = context.table
    if not has_groups(table):
        return None
    used = context.counted
    rows = [(name, final_rows(table, name or None)) for name in precisions(table) or [""]]
    exhibits: list[Exhibit] = [
        TableExhibit("groups", "Gaps between groups", f"{used}.", gaps(table), GAPS),
        FigureExhibit(
            "groups",
            "Gaps between groups by precision",
            f"{used}; a dot a training, lines are means.",
            partial(gaps_by_precision, rows, list(BETTER)),
        ),
    ]
    if comparisons(table):
        changes = gap_changes(table, context.choices)
        exhibits.append(shared.changes("group", "the gaps", changes, context))
    doses = gap_doses(table)
    if doses:
        effects = gap_effects(doses, table, context.choices)
        exhibits.append(shared.effects("group", "the gaps", effects, context))
    trends = gap_trends(doses, table, context.choices)
    if len(trends):
        exhibits.append(
            TableExhibit(
                "group_doses",
                "What of the gaps goes with the dose",
                f"{used}, against the rank of the level; the levels are permuted inside blocks. "
                f"{context.seeds}.",
                trends,
                TRENDS,
            )
        )
    exhibits += shared.by_level(
        "groups", "Gaps", doses, context, lambda blocks: drawn(blocks, table)
    )
    return Section(
        "groups",
        "Groups of samples",
        (
            "How far apart groups of samples (data.group) are treated: by accuracy on validation "
            "samples, and by the self-duality of class means taken over a group alone. A gap is "
            "the largest difference between groups, so that chance alone keeps it above zero: its "
            "standard error stands beside it. All trainings see the same validation samples.",
            "A smaller gap is no gain where the worst accuracy falls with it: both are tested. "
            "How collapse goes with a gap is asked by --response group_accuracy_gap.",
        ),
        tuple(exhibits),
    )


def drawn(blocks: Blocks, table: Table) -> list[Response]:
    """Responses of the figure: all at the reference, and at the fewest bits."""
    names = [each for each in blocks.values if each.precision is not None]
    fewest = fewest_bits(names, table)
    shown = {None} if fewest is None else {None, fewest.precision}
    return [each for each in blocks.values if each.precision in shown]
