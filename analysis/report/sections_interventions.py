"""The section about interventions: effects, doses, and ways in which they act."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl

from analysis.figures.doses import dose_figure
from analysis.findings.bits import has_bits
from analysis.findings.blocks import DAMAGE, Blocks, Response, blocks_of
from analysis.findings.dose_response import LevelMean, Trend, dose_levels, dose_response
from analysis.findings.instruments import Instrumented, instruments
from analysis.findings.interventions import (
    OUTCOME,
    Contrast,
    asked,
    family_of,
    interventions,
    shown_level,
)
from analysis.findings.pairs import comparisons, fine_tuned
from analysis.findings.verdicts import PRIMARY
from analysis.reading.table import BITS, Roles, Table
from analysis.report.columns import ADJUSTED, NOTE, columns_of
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.sentences.precision import of_tuned
from analysis.report.tables import (
    Column,
    TableExhibit,
    called,
    number,
    p_value,
    signed,
    signed_number,
    whole,
)

INTERVENTION = Column("intervention", "intervention", called)
METRIC = (
    Column(
        "metric",
        "metric",
        called,
        hint="damage: change of the response from the reference precision, for the worse",
    ),
    Column("at", "precision", hint="precision; nothing at the reference"),
)
FAMILY = Column("family", "family")
SCALE = Column("scale", "scale", hint="log10: of decimal logarithms")
PAIR = Column("pairs", "n", whole, hint="trainings that differ in this setting alone")
CONTRASTS = columns_of(
    Contrast,
    INTERVENTION,
    Column("level", "level", of_row=lambda row: f"{row['baseline']} → {row['level']}"),
    *METRIC,
    PAIR,
    Column("difference", "estimate", signed_number, hint="Hodges-Lehmann pseudo-median"),
    Column("95% interval", "low", signed_number, "high", hint="inverts the signed-rank test"),
    Column("times", "ratio", number, hint="ratio to the baseline"),
    Column("95% interval of it", "ratio_low", number, "ratio_high"),
    Column("p maxT", "p_maxt", p_value, hint="over levels and the family, by joint sign flips"),
    Column("q", "q", p_value, hint="Benjamini-Hochberg over the exploratory metrics"),
    Column("verdict", "verdict"),
    FAMILY,
    SCALE,
    Column("p", "p", p_value, hint="signed ranks, two-sided"),
    Column("margin", "margin", number, hint="a difference that counts as none"),
    Column("p within margin", "p_margin", p_value, hint="two one-sided tests"),
    Column("difference / SD", "in_seed_sd", number, hint="between seeds at the baseline"),
    *NOTE,
)
TRENDS = columns_of(
    Trend,
    INTERVENTION,
    *METRIC,
    Column("n", "n", whole, hint="trainings"),
    Column("levels", "levels", whole),
    Column("r", "estimate", signed, hint="with the rank of the level, inside blocks"),
    Column("95% interval", "low", signed, "high"),
    Column("slope", "slope", signed_number, hint="change a level"),
    *ADJUSTED,
    FAMILY,
    SCALE,
    *NOTE,
)
LEVELS = columns_of(
    LevelMean,
    INTERVENTION,
    *METRIC,
    Column("level", "level"),
    Column("blocks", "n", whole),
    Column("mean", "mean", number, hint="geometric on the scale log10"),
    Column("95% interval", "low", number, "high", hint="of what differs between levels"),
)
INSTRUMENTS = columns_of(
    Instrumented,
    INTERVENTION,
    Column("levels", "levels"),
    Column("response", "response", called),
    METRIC[1],
    METRIC[0],
    Column("effect", "estimate", signed_number, hint="of a unit of the metric; two-stage"),
    Column("95% interval", "low", signed_number, "high", hint="Anderson-Rubin, inside blocks"),
    Column("F", "f", number, hint="robust, of the first stage; weak below 10"),
    Column("p maxT", "p_maxt", p_value, hint="step-down over the responses"),
    Column("verdict", "verdict"),
    Column("n", "n", whole, hint="trainings"),
    SCALE,
    Column("SE", "se", number, hint="robust inside blocks"),
    Column("p", "p", p_value, hint="of the response on the intervention: alike for all metrics"),
    Column("first stage", "first_stage", signed_number, hint="change of the metric a level"),
    Column("least squares", "least_squares", signed_number, hint="slope inside blocks"),
    Column("p of J", "j_p", p_value, hint="Hansen: whether the levels are of one effect"),
    *NOTE,
)
EXCLUSION = (
    "The effect of a metric on a response, with the intervention as its instrument, holds under an "
    "assumption that these rows cannot prove: the intervention acts on the response through this "
    "metric alone (exclusion). One intervention moves several metrics at once, and each line takes "
    "the whole of its effect for its own metric; so lines of one response exclude each other, and "
    "at most one is right. Levels that disagree about the effect (J) speak against the assumption "
    "or against a straight line; levels that agree do not prove it. Of a weak instrument (F below "
    "10) no effect is given and nothing is claimed."
)


def interventions_section(context: Context) -> Section | None:
    """What each declared intervention does, paired by design cell and seed."""
    table, roles = context.table, context.table.roles
    if not roles.interventions:
        return None
    doses = [blocks_of(table, each, asked(table)) for each in roles.interventions]
    lines = interventions(doses, roles, context.choices)
    used = (
        f"{len(context.rows)} trainings at their last checkpoint, compared in blocks: those that "
        "agree in every other setting and every seed"
    )
    drawn_from = f"{context.choices.permutations:,} permutations, seed {context.choices.seed}"
    exhibits: list[Exhibit] = [
        TableExhibit(
            "interventions",
            "What the interventions do",
            f"{used}. Each level against the baseline, one difference a block. {drawn_from}.",
            lines,
            _printed(CONTRASTS, roles),
            more=_undecided_about,
        )
    ]
    for blocks in doses:
        exhibits.append(
            FigureExhibit(
                f"dose_response_{blocks.intervention.axis}",
                f"By the level of {blocks.intervention.name}",
                f"{used}. A light line a block; means over the blocks that have all levels, with "
                "95% intervals of what differs between levels.",
                partial(dose_figure, blocks, drawn(blocks, table)),
            )
        )
    trends = dose_response(doses, roles, context.choices)
    if len(trends):
        exhibits.append(
            TableExhibit(
                "dose_response",
                "What goes with the dose",
                f"{used}. Against the rank of the level; the levels are permuted inside blocks. "
                f"{drawn_from}.",
                trends,
                _printed(TRENDS, roles),
                more=_undecided_about,
            )
        )
    exhibits += [
        TableExhibit(
            "instruments",
            "Metrics as the way in which an intervention acts",
            f"{used}. {EXCLUSION} {drawn_from}.",
            instruments(doses, roles, context.choices),
            _printed(INSTRUMENTS, roles),
        ),
        TableExhibit(
            "dose_levels",
            "Means by level",
            f"{used}; those that have all levels.",
            dose_levels(doses),
            _printed(LEVELS, roles),
            more=context.more,
            folded=True,
        ),
    ]
    names = "; ".join(
        f"{each.name} (baseline {shown_level(each.baseline)})" for each in roles.interventions
    )
    return Section(
        "interventions",
        "What interventions do",
        (
            f"Declared as interventions: {names}. Nothing but the setting differs inside a block, "
            "so a difference is an effect of it, whatever the way in which it comes about.",
            *filter(None, [of_tuned(comparisons(table))]),
        ),
        tuple(exhibits),
    )


def _printed(columns: tuple[Column, ...], roles: Roles) -> tuple[Column, ...]:
    """Columns without the name of the intervention where there is one alone."""
    return columns if len(roles.interventions) > 1 else columns[1:]


def _undecided_about(row: Mapping[str, Any]) -> bool:
    """Whether a line is folded: that of a metric that nothing is decided about."""
    return row["family"] not in (PRIMARY, OUTCOME)


def drawn(blocks: Blocks, table: Table) -> list[Response]:
    """Responses of the figure: outcomes, damage at the fewest bits, primary metrics."""
    roles = table.roles
    lowest = fewest_bits([each for each in blocks.values if each.metric == DAMAGE], table)
    shown = [
        each
        for each in blocks.values
        if (family_of(each, roles) == OUTCOME and each.metric != DAMAGE) or each == lowest
    ]
    return [*shown, *_primary(blocks, roles)]


def _primary(blocks: Blocks, roles: Roles) -> list[Response]:
    return [each for each in blocks.values if family_of(each, roles) == PRIMARY]


def fewest_bits(damages: list[Response], table: Table) -> Response | None:
    """The damage at the fewest bits a weight, without fine-tuning where that can be."""
    plain = [each for each in damages if not fine_tuned(str(each.precision))] or damages
    if not plain or not has_bits(table):
        return plain[-1] if plain else None
    bits = dict(
        table.frame.group_by(str(table.roles.precision))
        .agg(pl.col(BITS).mean())
        .drop_nulls()
        .rows()
    )
    return min(plain, key=lambda each: bits.get(each.precision, float("inf")))
