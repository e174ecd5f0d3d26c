"""What a report is made of: sections of tables and figures.

Their captions say which rows, trainings and seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import Choices, Table, headline
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import TableExhibit
from study.columns import in_words

Exhibit = TableExhibit | FigureExhibit


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, then tables and figures as they are read."""

    name: str
    title: str
    text: tuple[str, ...]
    exhibits: tuple[Exhibit, ...] = ()

    def __post_init__(self) -> None:
        """Name columns as people do."""
        object.__setattr__(self, "title", in_words(self.title))
        object.__setattr__(self, "text", tuple(map(in_words, self.text)))

    @property
    def tables(self) -> tuple[TableExhibit, ...]:
        """Its tables."""
        return tuple(part for part in self.exhibits if isinstance(part, TableExhibit))

    @property
    def figures(self) -> tuple[FigureExhibit, ...]:
        """Its figures."""
        return tuple(part for part in self.exhibits if isinstance(part, FigureExhibit))


@dataclass(frozen=True)
class Context:
    """What every section is built from."""

    table: Table
    choices: Choices

    @cached_property
    def rows(self) -> pl.DataFrame:
        """One row per training: the last checkpoint at the reference precision."""
        return final_rows(self.table)

    @property
    def response(self) -> str:
        """The outcome column."""
        return self.table.roles.response

    @cached_property
    def headline(self) -> tuple[str, ...]:
        """Metrics that are shown at once: those by which all are judged, and their kin."""
        return tuple(dict.fromkeys([*headline(self.table.roles), *self.table.roles.primary]))

    @property
    def counted(self) -> str:
        """How many trainings tables of one row each are about."""
        return f"{counted(len(self.rows))} at the last checkpoint"

    @property
    def seeds(self) -> str:
        """How chance entered."""
        return seeds_used(self.choices)

    def used(self, rows: pl.DataFrame) -> str:
        """Which rows a table used and how chance entered it."""
        return f"{rows_used(self.table, rows)}; response {self.response}. {self.seeds}."

    def more(self, row: Mapping[str, Any]) -> bool:
        """Whether the line of a table is folded: that of a metric that is not a headline."""
        name = row.get("metric", row.get("column"))
        return name in self.table.roles.metrics and name not in self.headline


Builder = Callable[[Context], Section | None]


def muted(row: Mapping[str, Any]) -> bool:
    """Lines that stand beside another: a logarithm, or a partial r."""
    return bool(row.get("given") or row.get("scale") == "log10")


def counted(trainings: int) -> str:
    """'1 training', '2 trainings'."""
    return f"{trainings} training{'' if trainings == 1 else 's'}"


def seeds_used(choices: Choices) -> str:
    """How chance entered: permutations, bootstrap replicates and their seed."""
    return (
        f"{choices.permutations:,} permutations and {choices.bootstrap:,} bootstrap replicates, "
        f"seed {choices.seed}"
    )


def rows_used(table: Table, rows: pl.DataFrame) -> str:
    """One training a row: which checkpoint, which precision, how many.

    And that the grid is incomplete, if it is.
    """
    roles = table.roles
    parts = [f"{len(rows)} row{'' if len(rows) == 1 else 's'}, one per training"]
    if roles.order is not None:
        parts.append(f"its last checkpoint (by {roles.order})")
    if roles.precision is not None:
        parts.append(f"at {rows[roles.precision][0]}")
    lacking = sum(len(part.points) for part in table.missing)
    if lacking:
        parts.append(f"{lacking} points of the grid are missing")
    return ", ".join(parts)


def at_precision(table: Table) -> str:
    """' at fp32' where the table has precisions."""
    names = precisions(table)
    return f" at {names[0]}" if names else ""
