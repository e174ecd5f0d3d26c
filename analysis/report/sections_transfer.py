"""The section about transfer: what features know of other classes, and forgetting."""

from __future__ import annotations

from functools import partial

from analysis.figures.transfer import probes_by_shots
from analysis.findings.outcomes import doses_of, effects_of
from analysis.findings.pairs import comparisons
from analysis.findings.transfer import (
    FORGETTING,
    ProbeLine,
    links,
    outcomes,
    probe_lines,
    transfer_changes,
)
from analysis.report import outcome_exhibits as shared
from analysis.report.columns import columns_of
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import Column, TableExhibit, called, number, share, whole

PROBES = columns_of(
    ProbeLine,
    Column("probe", "column", called),
    Column("precision", "precision"),
    Column("trainings", "n", whole),
    Column("accuracy", "accuracy", share, hint="Hodges-Lehmann pseudo-median over trainings"),
    Column("95% interval", "low", share, "high", hint="inverts the signed-rank test"),
    Column("least to largest", "least", share, "largest", hint="of a training"),
    Column("SD of draws", "draws", number, hint="between draws of the shots; mean"),
)


PROBED = (
    "Probes learn classes that the network was not trained on from its frozen features, and are "
    "tested on validation samples of these. The linear probe is a ridge classifier, the centre "
    "probe decides for the nearest class mean; shots are training samples of a class, drawn alike "
    "for all trainings and precisions."
)
FORGOTTEN = (
    "Forgetting is the accuracy on the classes of the first phase of a training at its end, less "
    "that after later phases, at the same precision; the head decides among all classes."
)
ASKED = (
    "Features that keep the trained classes apart and nothing else are no use for others; whether "
    "these trainings show that is asked under the same control as everything else in this report. "
    "What an intervention does is an effect; an association with collapse is none."
)


def transfer_section(context: Context) -> Section | None:
    """Probes by shots and precision, what changes them, and whether collapse does."""
    table = context.table
    if not outcomes(table):
        return None
    used = context.counted
    exhibits: list[Exhibit] = []
    if len(lines := probe_lines(table)):
        exhibits += [
            TableExhibit("transfer", "Probes of other classes", f"{used}.", lines, PROBES),
            FigureExhibit(
                "transfer",
                "Accuracy of probes by shots and precision",
                f"{used}. Pseudo-medians over trainings with their 95% intervals.",
                partial(probes_by_shots, lines),
            ),
        ]
    exhibits.append(shared.links("transfer", "transfer", links(table, context.choices), context))
    if comparisons(table):
        changes = transfer_changes(table, context.choices)
        exhibits.append(shared.changes("transfer", "transfer", changes, context))
    if doses := doses_of(table, list(outcomes(table))):
        effects = effects_of(doses, table, context.choices)
        exhibits.append(shared.effects("transfer", "transfer", effects, context))
        exhibits += shared.by_level("transfer", "Transfer", doses, context, folded=True)
    return Section(
        "transfer",
        "Transfer to other classes",
        (
            *([PROBED] if len(lines) else []),
            *([FORGOTTEN] if FORGETTING in outcomes(table) else []),
            ASKED,
        ),
        tuple(exhibits),
    )
