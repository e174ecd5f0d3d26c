"""The section about precisions: what they change, and what predicts it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl

from analysis.figures.forest import forest
from analysis.figures.precision import (
    against_bits,
    by_precision,
    change_against_bits,
    change_scatter,
)
from analysis.findings.bits import at_all_precisions, has_bits
from analysis.findings.changes import TOTAL, changes
from analysis.findings.damage import BASELINE, damage
from analysis.findings.overview import overview
from analysis.findings.pairs import comparisons, paired
from analysis.findings.verdicts import PRIMARY
from analysis.reading.groups import told_apart
from analysis.reading.selection import precisions
from analysis.reading.table import core
from analysis.report.columns import CHANGES, DAMAGE, OVERVIEW
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.sentences.precision import of_tuned
from analysis.report.tables import TableExhibit
from analysis.statistics.decide import ASSOCIATED

PANELS = 4  # metrics side by side in a forest


def precision(context: Context) -> Section | None:
    """What the precision changes: a line a precision, then curves, then in full."""
    table, response = context.table, context.response
    pairs = comparisons(table)
    if not pairs:
        return None
    lines = changes(table, context.choices)
    pairings = [(name, paired(table, name, baseline)) for name, baseline in pairs]
    counts = sorted({len(rows) for _, rows in pairings})
    trainings = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    used = (
        f"One difference per training at its last checkpoint; {trainings} trainings for each of "
        f"{len(pairs)} comparisons. {context.seeds}."
    )
    few = core(table.roles)
    exhibits: list[Exhibit] = [
        TableExhibit(
            "precision", f"Each precision and {response}", used, overview(table, lines), OVERVIEW
        ),
        FigureExhibit(
            "changes",
            f"Change of {response} by precision",
            f"{used} Points are filled where the verdict is changed; the shaded margin is what "
            "counts as no change.",
            partial(by_precision, lines, response),
        ),
    ]
    if has_bits(table):
        exhibits += _against_bits(context, few)
    exhibits += _damage(context, used)
    exhibits += [
        FigureExhibit(
            "change_links",
            f"Change of {response} and change of each metric, drawn",
            used,
            partial(
                change_scatter,
                pairings,
                few,
                response,
                unit=table.roles.unit,
                precisions=precisions(table),
            ),
            folded=True,
        ),
        TableExhibit(
            "changes",
            "Change of responses and metrics",
            used,
            lines,
            CHANGES,
            muted=lambda row: row["level"] != TOTAL,
            more=context.more,
            folded=True,
        ),
    ]
    return Section(
        "precision",
        "What the precision changes",
        (
            "The change of a column between two precisions of the same checkpoint. A median over "
            "trainings that have nothing to lose hides those that have, so the change stands "
            "beside that at each level of the axis that moves it most.",
            "Rounding noise drives the change of metric and response alike, so both are related "
            "given the relative weight error; and the change contains minus the loss at the "
            "baseline, so what collapse at the baseline predicts is given with that loss.",
            *filter(None, [of_tuned(pairs)]),
        ),
        tuple(exhibits),
    )


def _against_bits(context: Context, few: Sequence[str]) -> list[Exhibit]:
    """Response and metrics against bits per weight."""
    table, response = context.table, context.response
    measured = at_all_precisions(table)
    curves = f"Last checkpoint of {len(context.rows)} trainings."
    exhibits: list[Exhibit] = [
        FigureExhibit(
            "bits",
            "The response and the metrics against bits per weight",
            f"{curves} A line per configuration, the median over its seeds, through formats that "
            "round to nearest; hollow diamonds are fine-tuned precisions, points without a line "
            "other methods, or parts of the model.",
            partial(against_bits, measured, table.roles, (response, *few), axes=told_apart(table)),
        ),
    ]
    metric = next((name for name in (*table.roles.primary, *few) if _varies(context, name)), None)
    if metric is not None:
        exhibits.append(
            FigureExhibit(
                "loss_bits",
                f"Change of {response} against bits per weight, by collapse before",
                f"{curves} A line per training through formats that round to nearest: the change "
                f"from the reference precision, coloured by {metric} there.",
                partial(change_against_bits, measured, context.rows, table.roles, metric),
            )
        )
    return exhibits


def _damage(context: Context, used: str) -> list[Exhibit]:
    """Whether collapse predicts the damage: both tables in one, and its forest."""
    lines = damage(context.table, context.choices)
    drawn = lines.filter(
        (pl.col("kind") == BASELINE)
        & (pl.col("family") == PRIMARY)
        & pl.col("estimate").is_not_null()
    )
    exhibits: list[Exhibit] = []
    metrics = drawn["metric"].unique(maintain_order=True).to_list()
    for start in range(0, len(metrics), PANELS):
        part = drawn.filter(pl.col("metric").is_in(metrics[start : start + PANELS]))
        suffix = f"_{start // PANELS + 1}" if start else ""
        exhibits.append(
            FigureExhibit(
                f"damage{suffix}",
                f"The metrics before and what {context.response} loses",
                f"{used} Partial r of the metric at the baseline and the change of "
                f"{context.response}, {drawn['control'][0]} and given {drawn['given'][0]}; bars "
                "are 95% intervals, a filled dot is associated.",
                partial(
                    forest,
                    part.select(
                        pl.col("metric").alias("panel"),
                        pl.col("precision").alias("label"),
                        "estimate",
                        "low",
                        "high",
                        solid=pl.col("verdict") == ASSOCIATED,
                        summary=pl.lit(False),
                    ),
                    xlabel="partial r, 95% interval",
                    whole=True,
                ),
                folded=True,
            )
        )
    exhibits.append(
        TableExhibit(
            "damage",
            f"Collapse and the change of {context.response}",
            f"{used} Kind baseline: the metric before; kind change: the change of the metric.",
            lines,
            DAMAGE,
            more=context.more,
            folded=True,
        )
    )
    return exhibits


def _varies(context: Context, name: str) -> bool:
    return bool(context.rows[name].drop_nulls().n_unique() > 1)
