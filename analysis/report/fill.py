"""Pages of prose whose numbers are taken from the tables of a report."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from jinja2 import Environment, StrictUndefined


def fill(template: str, frames: Mapping[str, pl.DataFrame]) -> str:
    """A Jinja template with its numbers filled in from tables.

    `frames` has the tables by their names.

    In a template `value(table, column, digits, name="nc1_ratio", given="")` is the number of the
    one row that meets the conditions, printed with that many decimals and a true minus sign; the
    condition "" is met by a null as well. `names(table, column, name="primary")` are the values of
    a column in all rows that meet the conditions, as code, or "none"; `word` is that of one row
    as it stands. Raises KeyError for an unknown
    table, ValueError where no row or several have the one value, or the row has no number.

        >>> frames = {"association": pl.DataFrame({"metric": ["a", "b"], "r": [-0.918, 0.2]})}
        >>> fill('r {{ value("association", "r", 2, metric="a") }}', frames)
        'r −0.92'
    """

    def chosen(table: str, where: Mapping[str, str]) -> pl.DataFrame:
        rows = frames[table]
        for name, condition in where.items():
            rows = rows.filter(pl.col(name).cast(pl.String).fill_null("") == condition)
        return rows

    def names(table: str, column: str, /, **where: str) -> str:
        return ", ".join(f"`{name}`" for name in chosen(table, where)[column]) or "none"

    def word(table: str, column: str, /, **where: str) -> str:
        (text,) = chosen(table, where)[column]
        return str(text)

    def value(table: str, column: str, digits: int = 0, /, **where: str) -> str:
        rows = chosen(table, where)
        if len(rows) != 1:
            raise ValueError(f"{len(rows)} rows of {table!r} have {where}; one is needed")
        number = rows[column][0]
        if number is None:
            raise ValueError(f"{column!r} of {table!r} is null where {where}")
        return f"{float(number):,.{digits}f}".replace("-", "−")

    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(template).render(value=value, names=names, word=word)
