"""The section about transfer: what features know of other classes, and forgetting."""

from __future__ import annotations

from functools import partial

from analysis.figures.doses import dose_figure
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
from analysis.report.columns import CHANGES, LINKS, columns_of
from analysis.report.exhibits import Context, Exhibit, Section, counted, rows_used
from analysis.report.pictures import FigureExhibit
from analysis.report.sections_interventions import CONTRASTS
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
    used = f"{counted(len(context.rows))} at the last checkpoint"
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
    exhibits.append(
        TableExhibit(
            "transfer_links",
            "Whether collapse goes with transfer",
            f"{rows_used(table, context.rows)}. The response is the outcome of the line. "
            f"{context.seeds}.",
            links(table, context.choices),
            LINKS,
            more=context.more,
        )
    )
    if comparisons(table):
        exhibits.append(
            TableExhibit(
                "transfer_changes",
                "What a precision does to transfer",
                f"{used}, one difference a training. {context.seeds}.",
                transfer_changes(table, context.choices),
                CHANGES,
            )
        )
    doses = doses_of(table, list(outcomes(table)))
    if doses:
        exhibits.append(
            TableExhibit(
                "transfer_effects",
                "What the interventions do to transfer",
                f"{used}, one difference a block of trainings that agree in every other setting "
                f"and every seed. {context.seeds}.",
                effects_of(doses, table, context.choices),
                CONTRASTS,
            )
        )
    exhibits += [
        FigureExhibit(
            f"transfer_by_{blocks.intervention.axis}",
            f"Transfer by the level of {blocks.intervention.name}",
            f"{used}. A light line a block; means over the blocks that have all levels, with 95% "
            "intervals of what differs between levels.",
            partial(dose_figure, blocks, list(blocks.values)),
            folded=True,
        )
        for blocks in doses
    ]
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
