"""Tables of the report: one frame, in full as csv, in print as md, tex and html."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup, escape

DASH = "–"
NOTES = ("note", "description", "terms")  # columns of sentences, which may break
LONG = 16  # characters beyond which names in the first column may break on a phone
LONG_NOTE, OFTEN, MARKED = 40, 4, 8  # letters and rows from which a note is told once, and how many
FORMULA = r"^[=+\-@\t\r]"  # beginnings of what spreadsheets compute
TAG = re.compile("<(?=[A-Za-z/!?])")  # where HTML would begin
KEY = re.compile("[0-9a-f]{32}")


def number(value: float | None) -> str:
    """Four significant digits."""
    if value is None:
        return DASH
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = 3 - (math.floor(math.log10(abs(value))) if value else 0)
        return f"{value:.{max(digits, 0)}f}".replace("-", "−")
    return f"{value:.2e}".replace("-", "−")


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
    """Four decimals, five below .001, a power of ten below .00001; never 0."""
    if value is None:
        return DASH
    if value < 1e-16:
        return "<1e−16"
    if value < 1e-5:
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")
    return f"{value:.4f}" if value >= 1e-3 else f"{value:.5f}"


def estimate(value: float | None) -> str:
    """b/n, which may be zero."""
    return DASH if value is None else f"{value:.4f}"


def whole(value: int | None) -> str:
    """An integer with thin thousands."""
    return DASH if value is None else f"{value:,}"


def yes_no(value: bool | None) -> str:
    """yes, no, or a dash where the question has no answer."""
    return DASH if value is None else ("yes" if value else "no")


def named(row: Mapping[str, Any]) -> str:
    """A metric with its scale and what is given, in one cell."""
    scale = ", log10" if row.get("scale") == "log10" else ""
    given = f" | {row['given']}" if row["given"] else ""
    return f"{row['metric']}{scale}{given}"


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

    def cell(self, row: Mapping[str, Any]) -> str:
        """The printed value of a row."""
        if self.of_row is not None:
            return self.of_row(row)
        low = row[self.source]
        if self.until is None:
            return self.show(low)
        high = row[self.until]
        return DASH if low is None or high is None else f"{self.show(low)} to {self.show(high)}"

    @property
    def numeric(self) -> bool:
        """Whether it is set flush right and sorted by value."""
        return self.show not in (text, short, quoted)


UNADJUSTED = (
    "Each interval is of its own line, not adjusted for the family; verdicts are, so that one that "
    "finds nothing may stand beside an interval without 0."
)


@dataclass(frozen=True)
class TableExhibit:
    """A table of the report.

    `caption` says which rows and how many trainings it used, and every seed.

    `muted` rows are subordinate ones; `more` rows and a `folded` table are hidden on the page until
    asked for.
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
        """Refuse a printed column that the frame lacks."""
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
            text = f"In {count} of {len(self.frame)} lines: {note}."
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

    def html_rows(self) -> list[dict[str, Any]]:
        """Rows for the template: their cells as HTML, `muted`, `more`."""
        columns = self.printed()
        long = max((len(columns[0].cell(row)) for row in self.rows), default=0) > LONG
        return [
            {
                "muted": self.muted(row),
                "more": self.more(row),
                "cells": Markup(
                    "".join(
                        _html_cell(column, row, named=long and column is columns[0])
                        for column in columns
                    )
                ),
            }
            for row in self.rows
        ]

    def markdown(self) -> str:
        """A pipe table below its title and caption."""
        columns = self.printed()
        head = "| " + " | ".join(column.heading for column in columns) + " |"
        rule = "| " + " | ".join("---:" if column.numeric else "---" for column in columns) + " |"
        body = [
            "| " + " | ".join(column.cell(row).replace("|", "\\|") for column in columns) + " |"
            for row in self.rows
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
            *(
                " & ".join(escape_latex(column.cell(row)) for column in columns) + r" \\"
                for row in self.rows
            ),
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


def _html_cell(column: Column, row: dict[str, Any], *, named: bool) -> str:
    """A cell of HTML, a number with the value to sort by.

    `named`: its name may break on a phone.
    """
    text = str(escape(column.cell(row))).replace("_", "_<wbr>")
    if column.numeric:
        return f'<td class="num" data-sort="{escape(_sortable(row[column.source]))}">{text}</td>'
    kind = "note" if column.source in NOTES else "name" if named else ""
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def _sortable(value: Any) -> str:
    if value is None:
        return ""
    return html.escape(repr(float(value)) if isinstance(value, int | float) else str(value))


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": r"$-$",
    "–": r"--",
    "≤": r"$\le$",
    "²": r"$^2$",
    "ρ": r"$\rho$",
    "τ": r"$\tau$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "Δ": r"$\Delta$",
}


def escape_latex(plain: str) -> str:
    """Plain text as LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in plain)
