"""Sections on the data and single classes: frequencies, tables of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import polars as pl

from analysis.figures.classes import by_frequency, frequencies
from analysis.findings.classes import class_changes, class_lists, class_table, unmeasured
from analysis.findings.data import data_table, floor_table
from analysis.reading.class_lists import ClassLists
from analysis.reading.table import CLASS_VALUES, SCALED_NORM, AnalysisError, DataSet
from analysis.report.columns import CLASS_CHANGES, CLASS_LISTS, CLASSES, data_columns, floor_columns
from analysis.report.exhibits import Context, Exhibit, Section, at_precision, counted
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import TableExhibit


def data(context: Context) -> Section | None:
    """What is known of each data set.

    How frequent its classes are, and how near trainings came to its least loss.
    """
    sets, trainings = context.table.data, counted(len(context.rows))
    exhibits: list[Exhibit] = []
    if any(each.classes is not None for each in sets):
        exhibits.append(
            FigureExhibit(
                "class_frequency",
                "Class frequencies",
                f"{_sets(sets)} of {trainings}: samples of each class in the training split, "
                "most frequent first.",
                partial(frequencies, sets),
            )
        )
    if sets:
        frame = data_table(sets)
        used = f"{_sets(sets)} of {trainings}; mean and deviation are over the classes in use."
        exhibits.append(TableExhibit("data", "The data", used, frame, data_columns(frame)))
    above = floor_table(context.rows, context.table.roles)
    if above is not None:
        used = (
            f"Last checkpoint of {counted(len(above))}{at_precision(context.table)}, the closest "
            "first; nats per sample."
        )
        columns = floor_columns(context.table.roles.axes, context.table.roles.seed)
        exhibits.append(
            TableExhibit("floor", "Loss above the entropy floor", used, above, columns, folded=True)
        )
    if not exhibits:
        return None
    text = (
        "Few classes, balance and unambiguous contexts are conditions of collapse, and "
        "properties of the data."
    )
    return Section("data", "The data and its classes", (text,), tuple(exhibits))


def _sets(sets: tuple[DataSet, ...]) -> str:
    return f"{len(sets)} data set{'' if len(sets) == 1 else 's'}"


def _absent(frame: pl.DataFrame, lists: ClassLists) -> str:
    """Which classes of the lists are not measured."""
    names = unmeasured(frame, lists)
    return f" Not measured: {', '.join(names)}." if names else ""


def _compared(
    frame: pl.DataFrame, lists: ClassLists, used: str, suffix: str, *, folded: bool
) -> Iterator[Exhibit]:
    """Lists beside all classes, and classes at other precisions."""
    if lists:
        yield TableExhibit(
            f"class_lists{suffix}",
            "Lists of classes beside all",
            f"{used}.",
            class_lists(frame, lists),
            CLASS_LISTS,
            folded=folded,
        )
    if frame["precision"].n_unique() > 1:
        yield TableExhibit(
            f"class_changes{suffix}",
            "Single classes at other precisions",
            f"{used}; each beside the same class at {frame['precision'][0]}.",
            class_changes(frame, lists),
            CLASS_CHANGES,
            folded=folded,
        )


def classes(context: Context) -> Section | None:
    """Norm, CDNV and interference of single classes against the average."""
    table = context.table
    if not table.classes and context.choices.classes:
        raise AnalysisError(
            f"--classes: {table.source} has no table of classes; `collapse-study measure "
            "CHECKPOINT --classes FILE` writes one, which a report finds in the folder "
            "`classes` of the run"
        )
    if not table.classes:
        return None
    exhibits: list[Exhibit] = []
    for place, (name, frame) in enumerate(table.classes.items()):
        suffix = "" if place == 0 else f"_{place + 1}"
        first = frame.filter(pl.col("precision") == frame["precision"][0])
        shown = [
            column
            for column in CLASS_VALUES
            if column != SCALED_NORM and first[column].drop_nulls().n_unique() > 1
        ]
        used = f"{name}: one trained model, {len(first)} measured classes"
        lists = context.choices.classes
        exhibits += [
            TableExhibit(
                f"classes{suffix}",
                f"Single classes of {name}",
                f"{used}; “of average” is a multiple of the average of all.{_absent(frame, lists)}",
                class_table(frame, lists),
                CLASSES,
                folded=place > 0,
            ),
            *_compared(frame, lists, used, suffix, folded=place > 0),
            FigureExhibit(
                f"classes{suffix}",
                f"All classes of {name} by frequency",
                f"{used}, at {first['precision'][0]}; trainings other than this one are not shown.",
                partial(by_frequency, first, shown),
                folded=place > 0,
            ),
        ]
    return Section(
        "classes",
        "Class by class",
        (
            "Which classes collapse and which do not: norm of the centred mean, variance, CDNV "
            "and mean interference with the other classes, cosine to the row of the head, and "
            "decisions on validation samples.",
        ),
        tuple(exhibits),
    )
