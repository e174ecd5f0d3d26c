"""Tables and figures that sections of outcomes share.

What goes with an outcome, and what changes it.
Each takes the start of a name, what its titles call the outcomes, and the section's context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import polars as pl

from analysis.figures.doses import dose_figure
from analysis.findings.blocks import Blocks, Response
from analysis.report.columns import CHANGES, LINKS
from analysis.report.exhibits import Context, rows_used
from analysis.report.pictures import FigureExhibit
from analysis.report.sections_interventions import CONTRASTS
from analysis.report.tables import TableExhibit


def links(name: str, of: str, lines: pl.DataFrame, context: Context) -> TableExhibit:
    """`Link` lines: whether collapse goes with outcomes."""
    return TableExhibit(
        f"{name}_links",
        f"Whether collapse goes with {of}",
        f"{rows_used(context.table, context.rows)}. The response is the outcome of the line. "
        f"{context.seeds}.",
        lines,
        LINKS,
        more=context.more,
    )


def changes(
    name: str, of: str, lines: pl.DataFrame, context: Context, note: str = ""
) -> TableExhibit:
    """`Change` lines: what a precision does to outcomes. A `note` begins with a space."""
    return TableExhibit(
        f"{name}_changes",
        f"What a precision does to {of}",
        f"{context.counted}, one difference a training.{note} {context.seeds}.",
        lines,
        CHANGES,
    )


def effects(name: str, of: str, lines: pl.DataFrame, context: Context) -> TableExhibit:
    """`Contrast` lines: what interventions do to outcomes."""
    return TableExhibit(
        f"{name}_effects",
        f"What the interventions do to {of}",
        f"{context.counted}, one difference a block of trainings that agree in every other setting "
        f"and every seed. {context.seeds}.",
        lines,
        CONTRASTS,
    )


def by_level(
    name: str,
    of: str,
    doses: Sequence[Blocks],
    context: Context,
    drawn: Callable[[Blocks], Sequence[Response]] = lambda blocks: list(blocks.values),
    *,
    folded: bool = False,
) -> Iterator[FigureExhibit]:
    """A figure an intervention: outcomes by its level, those that are `drawn`."""
    for blocks in doses:
        yield FigureExhibit(
            f"{name}_by_{blocks.intervention.axis}",
            f"{of} by the level of {blocks.intervention.name}",
            f"{context.counted}. A light line a block; means over the blocks that have all levels, "
            "with 95% intervals of what differs between levels.",
            partial(dose_figure, blocks, drawn(blocks)),
            folded=folded,
        )
