"""Tables of the report: one frame, in full as csv, in print as md, tex and html."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup, escape

from analysis.report.digits import DASH, significant, writer
from analysis.report.latex import escape_latex
from analysis.statistics.levels import in_print
from study.columns import in_words, noun

NOTES = ("note", "description", "terms")  # columns of sentences, which may break
AT_ONCE = 60  # rows that the page shows before it is asked for more
LONG = 16  # characters beyond which names in the first column may break on a phone
LONG_NOTE, OFTEN, MARKED = 40, 4, 8  # letters and rows from which a note is told once, and how many
FORMULA = r"^[=+\-@\t\r]"  # beginnings of what spreadsheets compute
TAG = re.compile("<(?=[A-Za-z/!?])")  # where HTML would begin
KEY = re.compile("[0-9a-f]{32}")


def number(value: float | None) -> str:
    """Four significant digits."""
    return DASH if value is None else significant(value)


def number_or_whole(value: float | None) -> str:
    """Integers whole, others by four significant digits."""
    return (
        DASH if value is None else (f"{value:,.0f}" if float(value).is_integer() else number(value))
    )


def signed_number(value: float | None) -> str:
    """A change: four significant digits and its sign."""
    return number(value) if value is None or value <= 0 else f"+{number(value)}"


def signed(value: float | None) -> str:
    """A correlation: three decimals and its sign."""
    return DASH if value is None else f"{value:+.3f}".replace("-", "−")


def share(value: float | None) -> str:
    """A share or R^2: three decimals."""
    return DASH if value is None else f"{value:.3f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """Four decimals, and a bound for what is below them; never 0."""
    return DASH if value is None else in_print(value)


def estimate(value: float | None) -> str:
    """b/n, which may be zero."""
    return DASH if value is None else f"{value:.4f}"


def whole(value: int | None) -> str:
    """An integer with thin thousands."""
    return DASH if value is None else f"{value:,}"


def yes_no(value: bool | None) -> str:
    """yes, no, or a dash where the question has no answer."""
    return DASH if value is None else ("yes" if value else "no")


def called(value: str | None) -> str:
    """The display name of a column; nothing for null."""
    return noun(value) if value else ""


def worded(value: str | None) -> str:
    """Text in which columns have their display names."""
    return in_words(value) if value else ""


def named(row: Mapping[str, Any]) -> str:
    """A metric with its scale and what is given, in one cell."""
    scale = ", log10" if row.get("scale") == "log10" else ""
    given = f" | {in_words(row['given'])}" if row["given"] else ""
    return f"{noun(row['metric'])}{scale}{given}"


def sign(value: int | None) -> str:
    """The sign that more collapse with a better response would have."""
    return DASH if value is None else ("+" if value > 0 else "−")


def text(value: Any) -> str:
    """As it is; nothing for null."""
    return "" if value is None else str(value)


def quoted(value: str | None) -> str:
    """The name of a class, whose spaces must be seen."""
    return f"“{value}”" if value else ""


def class_named(row: Mapping[str, Any]) -> str:
    """The name of a class, or of how many classes a line is."""
    return quoted(row["name"]) if row["classes"] == 1 else f"{row['classes']:,} classes"


def short(value: Any) -> str:
    """A key (32 hexadecimal digits) by its first eight; other names as they are."""
    return value[:8] if isinstance(value, str) and KEY.fullmatch(value) else text(value)


Show = Callable[[Any], str]
NUMBERS: tuple[Show, ...] = (number, signed_number, number_or_whole)
"""What writes numbers of any size: in a column, all by one rule."""


@dataclass(frozen=True)
class Column:
    """A printed column: its heading, how values read, and what it shows.

    It shows one column of the frame, or two that make an interval.
    """

    heading: str
    source: str
    show: Show = text
    until: str | None = None
    hint: str = ""
    of_row: Callable[[Mapping[str, Any]], str] | None = None

    def cells(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """The printed values of all rows, numbers by one rule of digits."""
        if self.of_row is not None:
            return [self.of_row(row) for row in rows]
        ends = [self.source, *([self.until] if self.until else [])]
        show = self.show
        if show in NUMBERS:
            values = [row[end] for row in rows for end in ends]
            show = writer(values, sign=show is signed_number, whole=show is number_or_whole)
        if self.until is None:
            return [show(row[self.source]) for row in rows]
        return [
            DASH
            if row[self.source] is None or row[self.until] is None
            else f"{show(row[self.source])} to {show(row[self.until])}"
            for row in rows
        ]

    def identifier(self, row: Mapping[str, Any]) -> str:
        """The name in rows and csv of the column that a cell calls by its display name."""
        value = row[self.source] if self.show is called or self.of_row is named else None
        return value if value and value != noun(value) else ""

    @property
    def numeric(self) -> bool:
        """Whether it is set flush right and sorted by value."""
        return self.show not in (text, short, quoted, called, worded)


UNADJUSTED = (
    "Each interval is of its own line, not adjusted for the family; verdicts are, so that one that "
    "finds nothing may stand beside an interval without 0."
)


@dataclass(frozen=True)
class TableExhibit:
    """A table of the report.

    `caption` says which rows and how many trainings it used, and every seed.

    `muted` rows are subordinate ones; `more` rows, those after `AT_ONCE`, and a `folded` table are
    hidden on the page until asked for.
    """

    name: str
    title: str
    caption: str
    frame: pl.DataFrame
    columns: tuple[Column, ...]
    muted: Callable[[Mapping[str, Any]], bool] = field(default=lambda row: False)
    more: Callable[[Mapping[str, Any]], bool] = field(default=lambda row: False)
    folded: bool = False

    def __post_init__(self) -> None:
        """Name columns as people do, and refuse a printed column that the frame lacks."""
        for name in ("title", "caption"):
            object.__setattr__(self, name, in_words(getattr(self, name)))
        for column in self.columns:
            if unknown := {column.source, column.until or column.source} - {*self.frame.columns}:
                raise ValueError(f"table {self.name!r} has no column {sorted(unknown)}")

    @cached_property
    def common(self) -> dict[str, tuple[str, int]]:
        """Notes that many rows have: what stands for each in a row, and how many have it.

        They are told once below the title. Nothing stands for one that most rows have.
        """
        notes = self.frame["note"].to_list() if "note" in self.frame.columns else []
        counts = Counter(note for note in notes if note).most_common()
        marks = iter("abcdefgh")
        return {
            note: ("" if 2 * count > len(notes) else f"({next(marks)})", count)
            for note, count in counts[:MARKED]
            if 2 * count > len(notes) or (count >= OFTEN and len(note) > LONG_NOTE)
        }

    @property
    def full_caption(self) -> str:
        """The caption, how its intervals and verdicts differ, and the common note."""
        parts = [self.caption]
        if self._judges_intervals:
            parts.append(UNADJUSTED)
        for note, (mark, count) in self.common.items():
            text = f"In {count} of {len(self.frame)} lines: {in_words(note)}."
            parts.append(f"{mark} {text}" if mark else text)
        return " ".join(parts)

    @property
    def _judges_intervals(self) -> bool:
        """Whether verdicts are printed beside intervals of the same estimate."""
        printed = {column.source for column in self.columns}
        return {"low", "verdict"} <= printed and self.frame["low"].null_count() < len(self.frame)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows as they are printed: all values, and marks in place of common notes."""
        return [
            row | {"note": self.common[row["note"]][0]} if row.get("note") in self.common else row
            for row in self.frame.to_dicts()
        ]

    def printed(self) -> tuple[Column, ...]:
        """Columns with a value in some row: a table prints no empty column."""
        return tuple(
            column
            for column in self.columns
            if any(row[column.source] not in (None, "") for row in self.rows)
        )

    @cached_property
    def texts(self) -> list[tuple[str, ...]]:
        """The cells of each row, in the order of `printed()`."""
        return list(zip(*(column.cells(self.rows) for column in self.printed()), strict=True))

    def html_rows(self) -> list[dict[str, Any]]:
        """Rows for the template: their cells as HTML, `muted`, `more`."""
        columns = self.printed()
        long = max((len(cells[0]) for cells in self.texts), default=0) > LONG
        return [
            {
                "muted": self.muted(row),
                "more": self.more(row) or at >= AT_ONCE,
                "cells": Markup(
                    "".join(
                        _html_cell(column, row, cell, named=long and place == 0)
                        for place, (column, cell) in enumerate(zip(columns, cells, strict=True))
                    )
                ),
            }
            for at, (row, cells) in enumerate(zip(self.rows, self.texts, strict=True))
        ]

    def markdown(self) -> str:
        """A pipe table below its title and caption."""
        columns = self.printed()
        head = "| " + " | ".join(column.heading for column in columns) + " |"
        rule = "| " + " | ".join("---:" if column.numeric else "---" for column in columns) + " |"
        body = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
            for cells in self.texts
        ]
        text = "\n".join([f"**{self.title}.** {self.full_caption}", "", head, rule, *body, ""])
        return TAG.sub("&lt;", text)

    def latex(self) -> str:
        """A booktabs table."""
        columns = self.printed()
        title, caption = escape_latex(self.title), escape_latex(self.full_caption)
        lines = [
            r"\begin{table}",
            rf"\caption{{\textbf{{{title}.}} {caption}}}",
            rf"\label{{tab:{self.name}}}",
            r"\begin{tabular}{"
            + "".join("r" if column.numeric else "l" for column in columns)
            + "}",
            r"\toprule",
            " & ".join(escape_latex(column.heading) for column in columns) + r" \\",
            r"\midrule",
            *(" & ".join(map(escape_latex, cells)) + r" \\" for cells in self.texts),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """NAME.csv (every column, full precision), NAME.md, NAME.tex in `folder`."""
        inert(self.frame).write_csv(folder / f"{self.name}.csv")
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")
        (folder / f"{self.name}.tex").write_text(self.latex(), encoding="utf-8")


def inert(frame: pl.DataFrame) -> pl.DataFrame:
    """A table whose texts no spreadsheet takes for formulas.

    Numbers written as text stay.
    """
    return frame.with_columns(
        pl.when(text.str.contains(FORMULA) & text.cast(pl.Float64, strict=False).is_null())
        .then("'" + text)
        .otherwise(text)
        .alias(name)
        for name in frame.columns
        if frame[name].dtype == pl.String
        for text in [pl.col(name)]
    )


def _html_cell(column: Column, row: dict[str, Any], cell: str, *, named: bool) -> str:
    """A cell of HTML.

    A number has the value to sort by, a display name its identifier.

    `named`: its name may break on a phone.
    """
    text = str(escape(cell)).replace("_", "_<wbr>")
    if column.numeric:
        return f'<td class="num" data-sort="{escape(_sortable(row[column.source]))}">{text}</td>'
    kind = "note" if column.source in NOTES else "name" if named else ""
    marks = f' class="{kind}"' if kind else ""
    if identifier := column.identifier(row):
        marks += f' title="{escape(identifier)}"'
    return f"<td{marks}>{text}</td>"


def _sortable(value: Any) -> str:
    if value is None:
        return ""
    return html.escape(repr(float(value)) if isinstance(value, int | float) else str(value))
