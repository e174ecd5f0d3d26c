"""The section about levels of an axis at equal training loss."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl

from analysis.figures.matched import matched_figure
from analysis.findings.interventions import OUTCOME, asked
from analysis.findings.matched import MatchedContrast
from analysis.findings.matched import matched as compared
from analysis.findings.verdicts import PRIMARY
from analysis.report.columns import NOTE, columns_of
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import (
    Column,
    TableExhibit,
    called,
    number,
    p_value,
    share,
    signed_number,
    whole,
)

MATCHED = columns_of(
    MatchedContrast,
    Column("among", "group"),
    Column("level", "level", of_row=lambda row: f"{row['baseline']} → {row['level']}"),
    Column("metric", "metric", called),
    Column("seeds", "n", whole),
    Column("difference", "estimate", signed_number, hint="at equal log10 train_loss"),
    Column("95% interval", "low", signed_number, "high", hint="Student's t over seeds"),
    Column("times", "ratio", number, hint="ratio to the baseline"),
    Column("95% interval of it", "ratio_low", number, "ratio_high"),
    Column("losses meet", "within", share, hint="seeds whose mean loss lies among the baseline's"),
    Column("p Holm", "p_holm", p_value, hint="over groups, levels and the family"),
    Column("q", "q", p_value, hint="Benjamini-Hochberg over the exploratory metrics"),
    Column("verdict", "verdict"),
    Column("family", "family"),
    Column("scale", "scale", hint="log10: of decimal logarithms"),
    Column("p", "p", p_value, hint="Student's t, two-sided"),
    Column("margin", "margin", number, hint="a difference that counts as none"),
    Column("p within margin", "p_margin", p_value, hint="two one-sided tests"),
    Column("difference / SD", "in_seed_sd", number, hint="between seeds at the baseline"),
    *NOTE,
)


def matched(context: Context) -> Section | None:
    """The levels of the declared axis against its baseline, at equal train_loss."""
    table = context.table
    axis = table.roles.matched
    if axis is None:
        return None
    lines = compared(table, asked(table))
    if lines.is_empty():
        return None
    free = ", ".join(axis.free) or "nothing else"
    used = (
        f"{len(context.rows)} trainings at their last checkpoint. Of each seed an analysis of "
        f"covariance on log10 train_loss; {free} may differ"
    )
    exhibits: list[Exhibit] = [
        TableExhibit(
            "matched",
            f"{axis.name} at equal train_loss",
            f"{used}. Means over seeds, with intervals of Student's t.",
            lines,
            MATCHED,
            more=_undecided_about,
        )
    ]
    drawn = lines.filter((pl.col("family") == PRIMARY) & pl.col("estimate").is_not_null())
    if len(drawn):
        exhibits.append(
            FigureExhibit(
                "matched",
                f"{axis.name} against {axis.baseline}, at equal train_loss",
                f"{used}. Difference with its 95% interval, of decimal logarithms where a metric "
                "is heavy-tailed; a filled dot is seen to differ.",
                partial(matched_figure, drawn),
            )
        )
    text = (
        f"The levels of {axis.name} share no setting, and each comes to losses of its own, so they "
        "are compared at equal train_loss. Where the losses of two levels hardly meet the verdict "
        "is control inadequate. A difference at equal loss is no effect of the level alone: its "
        "other settings differ, too."
    )
    return Section("matched", f"{axis.name} at equal training loss", (text,), tuple(exhibits))


def _undecided_about(row: Mapping[str, Any]) -> bool:
    """Whether a line is folded: that of a metric that nothing is decided about."""
    return row["family"] not in (PRIMARY, OUTCOME)
