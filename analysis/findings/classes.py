"""Single classes (tokens) against the average of all measured ones.

Tables 4 and 5 of Wu & Papyan 2024.

The classes come from tables that `python -m study.measure --classes` writes into a run.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.reading.table import CLASS_VALUES, AnalysisError, nearest

EACH = 5  # classes listed for each reason
AVERAGE, DEVIATION = "average of all", "deviation of all"
ORDERED = (
    ("count", True, "most samples"),
    ("cdnv", False, "least CDNV"),
    ("cdnv", True, "largest CDNV"),
)


def class_table(classes: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Lines of classes at each precision, after average and deviation of all.

    The classes are those asked for by `names`.

    Without names, those with most samples, least and largest CDNV. Columns: precision, why, name,
    classes (1, or how many the line is of), count (mean), `CLASS_VALUES`, and norm and cdnv as
    multiples of the average. Names match with or without the mark of a leading space. Raises
    AnalysisError for a name that no measured class has.
    """
    parts = []
    for precision in classes.partition_by("precision", maintain_order=True):
        numbers = ["count", *CLASS_VALUES]
        summaries = [
            precision.select(
                pl.first("precision"),
                *(pl.col(name).cast(pl.Float64).pipe(how) for name in numbers),
            ).with_columns(
                pl.lit(why).alias("why"),
                pl.lit("").alias("name"),
                pl.lit(len(precision)).alias("classes"),
            )
            for why, how in ((AVERAGE, pl.Expr.mean), (DEVIATION, pl.Expr.std))
        ]
        chosen = _named(precision, names) if names else _extremes(precision)
        chosen = chosen.with_columns(pl.lit(1).alias("classes"), pl.col("count").cast(pl.Float64))
        columns = ["precision", "why", "name", "classes", *numbers]
        lines = pl.concat(
            [part.select(columns) for part in (*summaries, chosen)], how="vertical_relaxed"
        )
        parts.append(
            lines.with_columns(
                (pl.col(name) / pl.col(name).first()).alias(f"{name}_times") for name in TIMES
            )
        )
    return pl.concat(parts)


TIMES = ("norm", "cdnv")


def _extremes(classes: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        classes.drop_nulls(column)
        .sort(column, "class", descending=[most, False])
        .head(EACH)
        .with_columns(pl.lit(why).alias("why"))
        for column, most, why in ORDERED
    )


def _named(classes: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    spoken = pl.col("name").str.replace("^[Ġ▁ ]", "")
    unknown = [
        name
        for name in names
        if classes.filter((pl.col("name") == name) | (spoken == name)).is_empty()
    ]
    if unknown:
        known = classes["name"].to_list()
        raise AnalysisError(
            f"--classes: no measured class is called {unknown[0]!r}.{nearest(unknown[0], known)}"
        )
    return pl.concat(
        classes.filter((pl.col("name") == name) | (spoken == name)).with_columns(
            pl.lit("asked for").alias("why")
        )
        for name in names
    )
