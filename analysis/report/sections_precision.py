"""The section about precisions: what they change, and whether collapse predicts it."""

from __future__ import annotations

import polars as pl

from analysis.figures.precision import (
    against_bits,
    by_precision,
    change_scatter,
    loss_against_bits,
)
from analysis.findings.bits import at_all_precisions, has_bits
from analysis.findings.changes import changes
from analysis.findings.controls import axis_covariates
from analysis.findings.links import change_links
from analysis.findings.overview import overview
from analysis.findings.pairs import comparisons, paired, uncompared
from analysis.reading.groups import colour_of
from analysis.reading.table import core
from analysis.report.columns import CHANGES, LINKS, OVERVIEW
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import TableExhibit


def precision(context: Context) -> Section | None:
    """What the precision changes: a line a precision, then curves, then in full."""
    table, response = context.table, context.response
    pairs = comparisons(table)
    if not pairs:
        return None
    lines, links = changes(table, context.choices), change_links(table, context.choices)
    pairings = [(name, paired(table, name, baseline)) for name, baseline in pairs]
    axes = ", ".join(axis_covariates(context.rows, table.roles)[0]) or "none"
    counts = sorted({len(rows) for _, rows in pairings})
    trainings = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    used = (
        f"One difference per training at its last checkpoint; {trainings} trainings for each of "
        f"{len(pairs)} comparisons. Axes: {axes}. {context.seeds}."
    )
    left = uncompared(table)
    note = f" Not compared, for want of their baseline: {', '.join(left)}." if left else ""
    few = core(table.roles)
    exhibits: list[Exhibit] = [
        TableExhibit(
            "precision", f"Each precision and {response}", used, overview(table, lines), OVERVIEW
        ),
        FigureExhibit(
            "changes", f"Change of {response} by precision", used, by_precision(lines, response)
        ),
    ]
    if has_bits(table):
        measured = at_all_precisions(table)
        curves = f"Last checkpoint of {len(context.rows)} trainings at every precision."
        exhibits += [
            FigureExhibit(
                "bits",
                "The response and the metrics against bits per weight",
                f"{curves} A line per configuration, the median over its seeds; hollow diamonds "
                "are fine-tuned precisions.",
                against_bits(measured, table.roles, (response, *few), colour=colour_of(table)),
            ),
            FigureExhibit(
                "loss_bits",
                f"{response} against bits per weight, by collapse at the reference",
                f"{curves} A line per training, coloured by its metric at the reference "
                "precision; fine-tuned precisions are left out.",
                loss_against_bits(
                    measured,
                    context.rows,
                    table.roles,
                    [name for name in few if _varies(context, name)],
                ),
            ),
        ]
    exhibits += [
        FigureExhibit(
            "change_links",
            f"Change of {response} and change of each metric, drawn",
            used,
            change_scatter(pairings, few, response),
            folded=True,
        ),
        TableExhibit(
            "changes",
            "Change of responses and metrics",
            used,
            lines,
            CHANGES,
            more=context.more,
            folded=True,
        ),
    ]
    for kind, name, title in (
        ("change", "change_links", f"Change of {response} against change of each metric"),
        (
            "baseline",
            "change_baseline",
            f"Change of {response} against each metric at the baseline",
        ),
    ):
        part = links.filter(pl.col("kind") == kind)
        exhibits.append(
            TableExhibit(name, title, used, part, LINKS, more=context.more, folded=True)
        )
    return Section(
        "precision",
        "What the precision changes",
        (
            f"The change of a column between two precisions of the same checkpoint.{note} qat-* "
            "is compared with ft-fp32, the same fine-tuning without quantization.",
            "Rounding noise drives the change of metric and response alike, so the partial r is "
            "given once more with the relative weight error; and the change contains minus the "
            "loss at the baseline, so what collapse at the baseline predicts is given with that "
            "loss.",
        ),
        tuple(exhibits),
    )


def _varies(context: Context, name: str) -> bool:
    return bool(context.rows[name].drop_nulls().n_unique() > 1)
