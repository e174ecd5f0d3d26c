"""Lines of a table, each a dataclass whose fields are the columns, as a frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar, get_args, get_type_hints

import polars as pl

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Line = TypeVar("Line")

KINDS = {str: pl.String(), int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean()}


def schema(line: type[DataclassInstance]) -> dict[str, pl.DataType]:
    """Column types of such lines, so that a column without any value keeps its type."""
    hints = get_type_hints(line)
    return {field.name: _kind(hints[field.name]) for field in fields(line)}


def _kind(hint: object) -> pl.DataType:
    """Of `float` and `float | None` alike."""
    parts = [part for part in get_args(hint) or (hint,) if part is not type(None)]
    (plain,) = parts
    return KINDS[plain]


def frame_of(line: type[DataclassInstance], lines: Iterable[DataclassInstance]) -> pl.DataFrame:
    """The table of `lines` of the type `line`, with every column even without a line."""
    return pl.DataFrame([vars(each) for each in lines], schema=schema(line))


def lines_of(line: type[Line], frame: pl.DataFrame) -> list[Line]:
    """The lines that a table was made of, whose names of columns are checked by type."""
    return [line(**row) for row in frame.to_dicts()]
