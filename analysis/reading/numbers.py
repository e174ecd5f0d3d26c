"""Texts of a foreign table as numbers: decimal marks, thousands, missing values.

A number of a table is written with a decimal point or a decimal comma, with or without marks
between thousands (`1,032.5`, `1.032,5`, `1 032,5`, `1'032.5`). Which of the two marks a file uses
is told from the values that can be read in one way only; where none can, it must be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import polars as pl

from analysis.reading.table import AnalysisError, shown

Mark = Literal[".", ","]
MARKS: tuple[Mark, ...] = get_args(Mark)
SPACES = r"\s\x{2009}\x{202f}'’"  # what else stands between thousands
NO_NUMBER = r"(?i)^(?:|na|n/a|#n/a|nan|null|none|nil|[.?]|-{1,2}|–|#(?:div/0|num|value)!)$"
NO_TEXT = r"^(?:|NA)$"  # other words may be levels of a setting
INFINITE = r"(?i)^[+-]?inf(?:inity)?$"
WHOLE = r"^[+-]?\d+$"


def _pattern(mark: Mark) -> str:
    """The numbers that are written with this decimal mark."""
    other = {".": ",", ",": r"\."}[mark]
    groups = "|".join(rf"(?:{between}\d{{3}})+" for between in (other, rf"[{SPACES}]"))
    whole = rf"(?:\d+|[1-9]\d{{0,2}}(?:{groups}))"
    point = {".": r"\.", ",": ","}[mark]
    return rf"^[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$"


PATTERNS: dict[Mark, str] = {mark: _pattern(mark) for mark in MARKS}


def is_number(texts: pl.Series) -> pl.Series:
    """Whether each text could be a number, with either decimal mark."""
    return matches(texts, ".") | matches(texts, ",")


def typed(
    texts: Mapping[str, pl.Series], places: pl.Series, *, mark: Mark | None, prefer: Mark | None
) -> dict[str, pl.Series]:
    """Columns of texts as numbers where each value is one or missing.

    Other columns stay as they are.

    Args:
        texts: columns of strings by name.
        places: where each row stands in its file, as messages name it.
        mark: the decimal mark; told from the values where it is None.
        prefer: the mark that holds where some columns tell the one and some the other.

    Raises:
        AnalysisError: the mark cannot be told; the message has a value, its row and the remedy.
    """
    plain = {
        name: column.str.strip_chars().str.replace("^−", "-") for name, column in texts.items()
    }
    decimal = mark or _decimal_mark(plain, places, prefer)
    return {name: as_numbers(column, decimal) for name, column in plain.items()}


def as_numbers(column: pl.Series, mark: Mark) -> pl.Series:
    """A column of texts as numbers or truths with this decimal mark, or as it is.

    What says that a value is missing becomes null.
    """
    values = column.set(column.str.contains(NO_NUMBER), None)
    if values.null_count() == len(values):
        return values.cast(pl.Float64)
    if matches(values, mark).all():
        other = "," if mark == "." else "."
        digits = values.str.replace_all(rf"[{SPACES}]", "").str.replace_all(other, "", literal=True)
        digits = digits.str.replace(mark, ".", literal=True)
        if digits.str.contains(WHOLE).all():
            whole = digits.cast(pl.Int64, strict=False)
            # Longer numbers are names: a float would make two of them one.
            return whole if whole.null_count() == digits.null_count() else values
        return digits.cast(pl.Float64)
    if values.str.to_lowercase().is_in(["true", "false"]).all():
        return values.str.to_lowercase() == "true"
    return column.set(column.str.contains(NO_TEXT), None)


def matches(values: pl.Series, mark: Mark) -> pl.Series:
    """Whether each text is a number with this decimal mark."""
    return values.str.contains(PATTERNS[mark]) | values.str.contains(INFINITE)


def _decimal_mark(columns: Mapping[str, pl.Series], places: pl.Series, prefer: Mark | None) -> Mark:
    """The mark that the columns of numbers use.

    A column tells it that has values of one reading: `0.5` and `1,032.5` have a decimal point.
    """
    witnesses: dict[Mark, str] = {}
    doubtful = ""
    for name, column in columns.items():
        values = column.set(column.str.contains(NO_NUMBER), None)
        fits = {mark: matches(values, mark) for mark in MARKS}
        possible = [mark for mark in MARKS if fits[mark].all() and values.count()]
        if len(possible) == 1:
            alone = ~fits["," if possible[0] == "." else "."]
            witnesses.setdefault(possible[0], _named(name, values, places, alone))
        elif possible and (commas := values.str.contains(",", literal=True)).any():
            doubtful = doubtful or _named(name, values, places, commas)
    if len(witnesses) == 1:
        return next(iter(witnesses))
    if witnesses and prefer:
        return prefer
    remedy = "say which with --decimal . or --decimal ,"
    if witnesses:
        raise AnalysisError(
            f"{witnesses['.']} has a decimal point, {witnesses[',']} a decimal comma: {remedy}"
        )
    if doubtful:
        raise AnalysisError(f"{doubtful} may have a decimal comma or thousands: {remedy}")
    return "."


def first(where: pl.Series) -> int | None:
    """The first row of which it is true."""
    rows = where.fill_null(False).arg_true()
    return int(rows[0]) if len(rows) else None


def _named(name: str, values: pl.Series, places: pl.Series, where: pl.Series) -> str:
    row = first(where) or 0
    return f"{shown(values[row])} ({places[row]}, column {shown(name)})"
