"""The section about attacks: what is left of accuracy, and where features go."""

from __future__ import annotations

from functools import partial

from analysis.figures.robustness import accuracy_under_attack
from analysis.findings.outcomes import doses_of, effects_of
from analysis.findings.pairs import comparisons
from analysis.findings.robustness import (
    CLEAN,
    ROBUST,
    RobustLine,
    outcomes,
    robust_changes,
    robust_lines,
    robust_links,
)
from analysis.report import outcome_exhibits as shared
from analysis.report.columns import columns_of
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import Column, TableExhibit, number, share, whole

INVERTED = "inverts the signed-rank test"
LINES = columns_of(
    RobustLine,
    Column("attack", "attack"),
    Column("adversary in training", "adversary"),
    Column("precision", "precision"),
    Column("trainings", "n", whole),
    Column("clean accuracy", "clean", share, hint="Hodges-Lehmann pseudo-median over trainings"),
    Column("95% interval", "clean_low", share, "clean_high", hint=INVERTED),
    Column("accuracy under attack", "robust", share, hint="pseudo-median"),
    Column("95% interval of that", "robust_low", share, "robust_high", hint=INVERTED),
    Column("leaps that arrive", "arrival", share, hint="median; of samples of changed decision"),
    Column("way to the new centre", "progress", share, hint="median; 1 is all of it"),
    Column("move under attack", "distance", number, hint="median; squared, over tr Σ_B"),
)


def robustness_section(context: Context) -> Section | None:
    """Accuracy under attack, whether collapse goes with it, and what changes it."""
    table = context.table
    if not {ROBUST, CLEAN} <= set(table.frame.columns):
        return None
    lines = robust_lines(table)
    if lines.is_empty():
        return None
    used = context.counted
    exhibits: list[Exhibit] = [
        TableExhibit("robustness", "Accuracy under attack, and leaps", f"{used}.", lines, LINES),
        FigureExhibit(
            "robustness",
            "Accuracy with and without the attack by precision",
            f"{used}. Pseudo-medians over trainings with their 95% intervals.",
            partial(accuracy_under_attack, lines),
        ),
        shared.links("robust", "robustness", robust_links(table, context.choices), context),
    ]
    if comparisons(table):
        lines = robust_changes(table, context.choices)
        exhibits.append(shared.changes("robust", "robustness", lines, context))
    if doses := doses_of(table, list(outcomes(table))):
        lines = effects_of(doses, table, context.choices)
        exhibits.append(shared.effects("robust", "robustness", lines, context))
        exhibits += shared.by_level("robustness", "Robustness", doses, context, folded=True)
    return Section(
        "robustness",
        "Robustness to attacks",
        (
            "Samples are perturbed within a ball so that the loss rises, on each model at its own "
            "precision. No loss falls, as a sample whose loss does not rise stays what it was; a "
            "stronger attack may still find more, so that accuracy under attack is an upper bound.",
            "Features are compared with the class means of clean training samples. A leap arrives "
            "where a feature ends nearest to the mean of the class that the attack makes the head "
            "decide for: in a collapsed network there is little else between the means.",
        ),
        tuple(exhibits),
    )
