"""Single classes (tokens) against the average of all measured ones.

Tables 4 and 5 of Wu & Papyan 2024.

The classes come from tables that `collapse-study measure --classes` writes into a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.class_lists import ASKED, ClassLists
from analysis.reading.table import CLASS_VALUES, AnalysisError, nearest

EACH = 5  # classes listed for each reason
AVERAGE, DEVIATION = "average of all", "deviation of all"
ORDERED = (
    ("count", True, "most samples"),
    ("cdnv", False, "least CDNV"),
    ("cdnv", True, "largest CDNV"),
)
TIMES = ("norm", "scaled_norm", "cdnv")
RATIOS = ("norm", "cdnv")  # compared between precisions by their ratio, all others by a difference
DIFFERENCES = ("interference", "head_cosine", "agreement", "accuracy")


@dataclass(frozen=True)
class ClassList:
    """One line: the classes of a list at a precision, beside all measured ones.

    `classes` of the list that are measured; their mean `scaled_norm`, `cdnv` and `interference`,
    the same of `all` measured classes, and how many classes of the list are `below` that.
    """

    list: str
    precision: str
    classes: int
    scaled_norm: float | None = None
    scaled_norm_all: float | None = None
    scaled_norm_below: int | None = None
    cdnv: float | None = None
    cdnv_all: float | None = None
    cdnv_below: int | None = None
    interference: float | None = None
    interference_all: float | None = None
    interference_below: int | None = None


LISTED = ("scaled_norm", "cdnv", "interference")


def class_table(classes: pl.DataFrame, lists: ClassLists) -> pl.DataFrame:
    """Lines of classes at each precision, after average and deviation of all.

    The classes are those of the `lists`, whose names say why they are shown.

    Without lists, those with most samples, least and largest CDNV. Columns: precision, why, name,
    classes (1, or how many the line is of), count (mean), `CLASS_VALUES`, and norm, scaled norm and
    cdnv as multiples of the average. Names match with or without the mark of a leading space.
    Raises AnalysisError for a name that is asked for and that no measured class has, and for a list
    without any.
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
        chosen = _chosen(precision, lists)
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


def class_lists(classes: pl.DataFrame, lists: ClassLists) -> pl.DataFrame:
    """Table of `ClassList` lines: each list beside the average of measured classes."""
    lines = []
    for name, names in lists.items():
        for rows in classes.partition_by("precision", maintain_order=True):
            chosen = _named(rows, name, names).unique("class")
            values: dict[str, Any] = {}
            for column in LISTED:
                own, every = chosen[column].drop_nulls(), rows[column].drop_nulls()
                if len(own):
                    average = float(every.to_numpy().mean())
                    values[column] = float(own.to_numpy().mean())
                    values[f"{column}_all"] = average
                    values[f"{column}_below"] = int((own < average).sum())
            lines.append(ClassList(name, rows["precision"][0], len(chosen), **values))
    return frame_of(ClassList, lines)


def class_changes(classes: pl.DataFrame, lists: ClassLists) -> pl.DataFrame:
    """What each precision does to single classes, beside the first of the table.

    The classes are those that `class_table` shows of the first precision, after a line of the means
    over all. Columns: precision, baseline, why, name, classes; `RATIOS` as value over value at the
    baseline, `DIFFERENCES` as value less value at the baseline. Null where a value is missing, or
    the baseline of a ratio is zero.
    """
    first, *others = classes.partition_by("precision", maintain_order=True)
    shown = _chosen(first, lists).select("class", "why")
    parts = []
    for rows in others:
        both = rows.join(first, on="class", suffix="_before", maintain_order="left")
        before = [pl.col(f"{name}_before") for name in RATIOS]
        changes = both.select(
            "precision",
            pl.col("precision_before").alias("baseline"),
            "class",
            "name",
            *(
                pl.when(start != 0).then(pl.col(name) / start).alias(name)
                for name, start in zip(RATIOS, before, strict=True)
            ),
            *((pl.col(name) - pl.col(f"{name}_before")).alias(name) for name in DIFFERENCES),
        )
        every = changes.select(
            pl.first("precision", "baseline"),
            *(pl.col(name).mean() for name in (*RATIOS, *DIFFERENCES)),
        ).with_columns(
            pl.lit(AVERAGE).alias("why"),
            pl.lit("").alias("name"),
            pl.lit(len(changes)).alias("classes"),
        )
        single = shown.join(changes, on="class", maintain_order="left").with_columns(
            pl.lit(1).alias("classes")
        )
        columns = ["precision", "baseline", "why", "name", "classes", *RATIOS, *DIFFERENCES]
        parts += [every.select(columns), single.select(columns).drop_nulls("precision")]
    return pl.concat(parts, how="vertical_relaxed")


def unmeasured(classes: pl.DataFrame, lists: ClassLists) -> list[str]:
    """Names of the lists that no measured class has."""
    names = dict.fromkeys(name for own in lists.values() for name in own)
    return [name for name in names if _of_name(classes, name).is_empty()]


def _chosen(classes: pl.DataFrame, lists: ClassLists) -> pl.DataFrame:
    if not lists:
        return pl.concat(_extremes(classes))
    return pl.concat(_named(classes, why, names) for why, names in lists.items())


def _extremes(classes: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for column, most, why in ORDERED:
        known = classes.drop_nulls(column).sort(column, "class", descending=[most, False])
        yield known.head(EACH).with_columns(pl.lit(why).alias("why"))


def _named(classes: pl.DataFrame, why: str, names: Sequence[str]) -> pl.DataFrame:
    missing = unmeasured(classes, {why: names})
    if missing and (why == ASKED or len(missing) == len(set(names))):
        listed = ", ".join(repr(name) for name in missing)
        raise AnalysisError(
            f"--classes: no measured class is called {listed}."
            f"{nearest(missing[0], classes['name'].to_list())}"
        )
    return pl.concat(_of_name(classes, name) for name in names).with_columns(
        pl.lit(why).alias("why")
    )


def _of_name(classes: pl.DataFrame, name: str) -> pl.DataFrame:
    spoken = pl.col("name").str.replace("^[Ġ▁ ]", "")
    return classes.filter((pl.col("name") == name) | (spoken == name))
