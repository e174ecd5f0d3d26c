"""Which tables and figures a report has, with the captions that say which rows, how many trainings and which seeds."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from analysis import figures
from analysis.association import associations
from analysis.columns import ASSOCIATION, CHANGES, CONFOUNDERS, LINKS, MUNDLAK, POOLED, ROBUSTNESS
from analysis.confounders import axis_covariates, confounders
from analysis.degradation import changes, comparisons, paired, uncompared
from analysis.figures import FigureExhibit
from analysis.links import change_links
from analysis.load import final_rows, precisions, replicates
from analysis.pooled import pooled
from analysis.roles import CDNV_NORM, CDNV_VARIANTS, Choices, Table
from analysis.tables import TableExhibit, p_value, signed

LEAST_SEEDS = 5  # trainings that differ in their seed alone, for a table of their own
MOST_CONFIGURATIONS = 3  # tables of a fixed configuration; the largest groups


@dataclass(frozen=True)
class Section:
    """A part of the report: its paragraphs, then tables and figures."""

    name: str
    title: str
    text: tuple[str, ...]
    tables: tuple[TableExhibit, ...] = ()
    figures: tuple[FigureExhibit, ...] = field(default=())


def sections(table: Table, choices: Choices) -> list[Section]:
    """Every section of the report of a table; those that it has no rows for are absent."""
    rows = final_rows(table)
    parts = [_main(table, rows, choices)]
    parts += _fixed(table, rows, choices)
    parts += _confounded(table, rows, choices)
    parts += _pooled(table, choices)
    parts += _precision(table, choices)
    return parts


def seeds_used(choices: Choices) -> str:
    """How chance entered: permutations, bootstrap replicates and their seed."""
    return f"{choices.permutations:,} permutations and {choices.bootstrap:,} bootstrap replicates, seed {choices.seed}"


def rows_used(table: Table, rows: pl.DataFrame) -> str:
    """One training a row: which checkpoint, which precision, how many."""
    roles = table.roles
    parts = [f"{len(rows)} rows, one per training"]
    if roles.order is not None:
        parts.append(f"its last checkpoint (by {roles.order})")
    if roles.precision is not None:
        parts.append(f"at {rows[roles.precision][0]}")
    return ", ".join(parts)


def colour_of(table: Table) -> str | None:
    """The axis that points are coloured by: the first of the architecture that varies."""
    return next((axis for axis in table.roles.architecture if table.frame[axis].n_unique() > 1), None)


def _muted(row: object) -> bool:
    return isinstance(row, dict) and bool(row.get("given") or row.get("scale") == "log10")


def _main(table: Table, rows: pl.DataFrame, choices: Choices) -> Section:
    lines = associations(rows, table.roles, choices)
    used = f"{rows_used(table, rows)}; response {table.roles.response}. {seeds_used(choices)}."
    return Section(
        "association",
        f"Collapse and {table.roles.response}, over all trainings",
        (
            "Each metric against the response over all trainings of the table. Larger models trained for longer have "
            "a lower loss and other geometry for reasons of their own: read this beside the section on the grid.",
        ),
        (
            TableExhibit("association", "Association", used, lines, ASSOCIATION, _muted),
            TableExhibit("association_robust", "Robustness of the association", used, lines, ROBUSTNESS, _muted),
        ),
        (
            FigureExhibit(
                "association",
                "The response against each metric",
                f"{rows_used(table, rows)}.{_norm_remark(lines)}",
                figures.scatter(rows, table.roles, lines, colour=colour_of(table)),
            ),
        ),
    )


def _norm_remark(lines: pl.DataFrame) -> str:
    """What a figure that shows a CDNV must say beside it: its partial r given the norm."""
    found = lines.filter((pl.col("metric").is_in(CDNV_VARIANTS)) & (pl.col("given") == CDNV_NORM))
    remarks = [
        f" {line['metric']} scales with the feature norm: given {CDNV_NORM} its partial r is "
        + (signed(line["r"]) + f", p {p_value(line['p'])}" if line["r"] is not None else f"unknown ({line['note']})")
        + "."
        for line in found.to_dicts()
    ]
    return "".join(remarks)


def _fixed(table: Table, rows: pl.DataFrame, choices: Choices) -> list[Section]:
    groups = sorted(replicates(table, rows, LEAST_SEEDS), key=lambda group: -len(group[1]))
    if not groups or len(groups[0][1]) == len(rows):
        return []
    tables, panels = [], []
    for place, (settings, part) in enumerate(groups[:MOST_CONFIGURATIONS]):
        point = ", ".join(f"{name} {value}" for name, value in settings.items())
        lines = associations(part, table.roles, choices)
        used = f"{point}: {rows_used(table, part)}; response {table.roles.response}. {seeds_used(choices)}."
        suffix = "" if place == 0 else f"_{place + 1}"
        tables += [
            TableExhibit(f"fixed{suffix}", f"Association at {point}", used, lines, ASSOCIATION, _muted),
            TableExhibit(f"fixed_robust{suffix}", f"Robustness at {point}", used, lines, ROBUSTNESS, _muted),
        ]
        panels.append(
            FigureExhibit(
                f"fixed{suffix}",
                f"The response against each metric at {point}",
                f"{rows_used(table, part)}.{_norm_remark(lines)}",
                figures.scatter(part, table.roles, lines, colour=None),
            )
        )
    more = len(groups) - MOST_CONFIGURATIONS
    note = f" {more} more configurations have {LEAST_SEEDS} trainings or more." if more > 0 else ""
    return [
        Section(
            "fixed",
            "One configuration, many seeds",
            (
                "Trainings that differ in nothing but their seed: no size, no schedule can stand behind an "
                f"association here.{note}",
            ),
            tuple(tables),
            tuple(panels),
        )
    ]


def _confounded(table: Table, rows: pl.DataFrame, choices: Choices) -> list[Section]:
    names, _ = axis_covariates(rows, table.roles)
    if not names:
        return []
    lines = confounders(rows, table.roles, choices)
    used = (
        f"{rows_used(table, rows)}; response {table.roles.response}; axes: {', '.join(names)}. {seeds_used(choices)}."
    )
    return [
        Section(
            "grid",
            "How much of it is the grid",
            (
                f"The same trainings, with what the grid itself explains taken out: linear in {', '.join(names)}, or "
                "by comparing only trainings of one architecture. What is left is no proof of a cause; what vanishes "
                "was no evidence of one.",
                "Signs: `same sign` where r has one sign overall, between and within architectures; anything else is "
                "Simpson's paradox.",
            ),
            (
                TableExhibit("grid", "Association with the grid taken out", used, lines, CONFOUNDERS, _muted),
                TableExhibit("grid_slopes", "Slopes within and between architectures", used, lines, MUNDLAK, _muted),
            ),
            (
                FigureExhibit(
                    "grid",
                    "Correlation with the response under each control",
                    f"{rows_used(table, rows)}.",
                    figures.controls(lines),
                ),
            ),
        )
    ]


def _pooled(table: Table, choices: Choices) -> list[Section]:
    lines = pooled(table, choices)
    if lines.is_empty():
        return []
    used = (
        f"All checkpoints{_at_reference(table)}: {max(lines['n'])} rows of {max(lines['trainings'])} trainings; "
        f"response {table.roles.response}. Whole trainings are permuted and drawn. {seeds_used(choices)}."
    )
    return [
        Section(
            "checkpoints",
            "All checkpoints",
            (
                "Every checkpoint as a row. Checkpoints of one training resemble each other, so the rows say less than "
                "their number; p and interval count trainings. Both change as a training goes on, which alone makes "
                "them correlate.",
            ),
            (TableExhibit("checkpoints", "Association over all checkpoints", used, lines, POOLED, _muted),),
        )
    ]


def _at_reference(table: Table) -> str:
    names = precisions(table)
    return f" at {names[0]}" if names else ""


def _precision(table: Table, choices: Choices) -> list[Section]:
    pairs = comparisons(table)
    if not pairs:
        return []
    lines, links = changes(table, choices), change_links(table, choices)
    counts = {pair: len(paired(table, *pair)) for pair in pairs}
    listed = "; ".join(f"{precision} against {baseline}: {n}" for (precision, baseline), n in counts.items())
    axes = ", ".join(axis_covariates(final_rows(table), table.roles)[0]) or "none"
    used = (
        f"One difference per training at its last checkpoint; trainings: {listed}. Axes: {axes}. {seeds_used(choices)}."
    )
    left = uncompared(table)
    note = f" Not compared, for want of their baseline: {', '.join(left)}." if left else ""
    by_kind = {kind: links.filter(pl.col("kind") == kind) for kind in ("change", "baseline")}
    shown = [(precision, paired(table, precision, baseline)) for precision, baseline in pairs]
    return [
        Section(
            "precision",
            "What the precision changes",
            (
                f"The change of a column between two precisions of the same checkpoint.{note} qat-* is compared with "
                "ft-fp32, the same fine-tuning without quantization.",
                "Rounding noise drives the change of metric and response alike, so the partial r is given once more "
                "with the relative weight error; and the change contains minus the loss at the baseline, so what "
                "collapse at the baseline predicts is given with that loss.",
            ),
            (
                TableExhibit("changes", "Change of responses and metrics", used, lines, CHANGES),
                TableExhibit(
                    "change_links",
                    f"Change of {table.roles.response} against change of each metric",
                    used,
                    by_kind["change"],
                    LINKS,
                ),
                TableExhibit(
                    "change_baseline",
                    f"Change of {table.roles.response} against each metric at the baseline",
                    used,
                    by_kind["baseline"],
                    LINKS,
                ),
            ),
            (
                FigureExhibit(
                    "changes",
                    f"Change of {table.roles.response} by precision",
                    used,
                    figures.degradation(lines, table.roles.response),
                ),
                FigureExhibit(
                    "change_links",
                    f"Change of {table.roles.response} against change of each metric",
                    used,
                    figures.change_scatter(shown, [*table.roles.metrics], table.roles.response),
                ),
            ),
        )
    ]
