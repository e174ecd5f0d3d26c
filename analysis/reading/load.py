"""Run directory or file -> a tidy table with roles, complete or refused."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import yaml

from analysis.reading.interventions import interventions, matched_axis, unmeasured
from analysis.reading.mapping import (
    ColumnMap,
    Declared,
    KnownMissing,
    apply_map,
    read_declared,
    read_map,
)
from analysis.reading.naming import (
    FAMILIES,
    KNOWN_AXES,
    RESPONSES,
    UNIT,
    ColumnNames,
    better_of,
    is_architecture,
    map_of,
)
from analysis.reading.numbers import Mark, as_numbers, first, is_number, matches
from analysis.reading.places import Place, place_of
from analysis.reading.responses import check_response
from analysis.reading.search_record import SearchRecord
from analysis.reading.sources import read_data, read_file, read_run, with_places
from analysis.reading.subjects import with_robust, without_layers
from analysis.reading.table import (
    ABOVE_FLOOR,
    FLOOR,
    HEADLINE,
    OF_TARGETS,
    PARTS_OF_SEED,
    PRIMARY,
    REFMEANS,
    ROW,
    AnalysisError,
    Metric,
    Missing,
    Roles,
    Table,
    nearest,
    shown,
)
from study.columns import metric_of
from study.store import RunPaths

NO_AXES = ("precision", "seed", *PARTS_OF_SEED, "data_seed")  # these have roles of their own
KEYS = ("cell", "training")
NONE = "none"  # the level of a setting that is null
MISSING_SHOWN = 20


def load(
    source: str | Path | Place,
    *,
    columns: str | Path | None = None,
    names: ColumnNames | None = None,
    response: str | None = None,
    primary: Sequence[str] | None = None,
    margin: Mapping[str, float] | None = None,
    intervention: Sequence[str] | None = None,
    decimal: Mark | None = None,
    allow_missing: bool = False,
) -> Table:
    """The table at `source`: a run directory, or the file of a table, of the Hub too.

    A foreign file needs a map of its columns, or their `names`.

    A file without either must have the columns of a run's rows (`training`, `epoch`, the metrics by
    their names). `primary`, `margin` and `intervention` stand in place of what the run or the map
    declares.
    Raises AnalysisError for what cannot be read, for two rows of one training, checkpoint and
    precision, for a column of numbers that holds text, and for an incomplete grid unless
    `allow_missing`; points that a map declares as missing are not held against it.
    """
    place = place_of(source)
    path = place.path
    known: list[KnownMissing] = []
    planned: pl.DataFrame | None = None
    texts: frozenset[str] = frozenset()
    about = ""
    declared = Declared()
    trainings: dict[str, str] = {}
    if path.is_dir():
        for option, value in (("--columns", columns), ("names of columns", names)):
            if value:
                raise AnalysisError(
                    f"{place.text} is a run directory, whose columns are known: leave {option} out"
                )
        frame, metrics, planned = read_run(path)
        trainings = dict(frame.select("cell", "training").rows())
        axes = _varied(planned)
        texts = frozenset(name for name in axes if planned[name].null_count())
        frame = with_robust(_with_none(with_places(_above_floor(frame)), texts))
        roles = _own_roles(frame, metrics, response, place.text, axes=axes)
        declared = read_declared(RunPaths(path).study)
    elif columns is None and not names:
        frame, metrics = read_file(path, decimal)
        frame = with_robust(_above_floor(frame))
        roles = _own_roles(frame, metrics, response, place.text, axes=KNOWN_AXES)
    else:
        frame, declared = _read_mapped(path, columns, names, response, decimal)
        frame, roles = apply_map(frame, declared, response, place.text)
        known, about = declared.known_missing, declared.about
    # Of a response that is a metric nothing is asked but how it goes with the others.
    others = {name: metric for name, metric in roles.metrics.items() if name != roles.response}
    roles = replace(roles, metrics=others)
    declared = _replaced(declared, primary, margin, intervention)
    outcomes = [name for name in frame.columns if better_of(name) is not None]
    roles = _with_declared(roles, declared, outcomes)
    frame, layers = without_layers(frame)
    rows = frame
    frame, left_out = _checked(frame, roles, place.text, texts)
    if response is not None and columns is None and not names:
        check_response(rows, frame, roles, place.text)
    asked = [] if planned is None else [name for name in _varied(planned) if name not in NO_AXES]
    if waiting := unmeasured(declared.intervention, roles, asked):
        what = f"interventions of which one level is measured so far ({', '.join(waiting)})"
        left_out[what] = len(waiting)
    named = [name for name in declared.intervention if name not in waiting]
    roles = replace(
        roles,
        interventions=interventions(frame, roles, named),
        matched=matched_axis(frame, roles, declared.matched, asked),
    )
    if path.is_dir() and (copies := RunPaths(path).copied_cells()):
        left_out["files among the cells that have no cell's name"] = len(copies)
    missing = _missing(frame, roles, planned, known)
    unknown = [part for part in missing if not part.reason]
    if unknown and not allow_missing:
        raise AnalysisError(
            f"{place.text}: the grid is incomplete: {_listing(unknown[0].points)}; "
            "pass --allow-missing"
        )
    order = {name: number for number, name in enumerate(HEADLINE)}
    ordered = dict(sorted(roles.metrics.items(), key=lambda entry: order.get(entry[0], len(order))))
    data, classes = read_data(path) if path.is_dir() else ((), {})
    search = _search(path, trainings)
    return Table(
        frame,
        replace(roles, metrics=ordered),
        place.text,
        about,
        tuple(missing),
        left_out,
        layers=layers,
        data=data,
        classes=classes,
        search=search,
        name=place.name,
    )


def written_map(
    source: str | Path,
    *,
    columns: str | Path | None = None,
    names: ColumnNames | None = None,
    response: str | None = None,
    primary: Sequence[str] | None = None,
    margin: Mapping[str, float] | None = None,
    intervention: Sequence[str] | None = None,
    decimal: Mark | None = None,
) -> str:
    """The map that these arguments of `load` amount to, as YAML.

    Raises AnalysisError as `load`, which reads the table with it.
    """
    place = place_of(source)
    path = place.path
    if path.is_dir():
        raise AnalysisError(
            f"{place.text} is a run directory, whose columns are known: it needs no map"
        )
    frame, mapping = _read_mapped(path, columns, names, response, decimal)
    mapping = _replaced(mapping, primary, margin, intervention)
    tidy, roles = apply_map(frame, mapping, response, place.text)
    interventions(tidy, roles, mapping.intervention)
    matched_axis(tidy, roles, mapping.matched, ())
    _with_declared(roles, mapping, tidy.columns)
    mapping = mapping.model_copy(update={"response": roles.response})
    content = mapping.model_dump(exclude_defaults=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    command = f"collapse-study report {shlex.quote(path.name)} --columns MAP.yaml"
    return f"# Columns of {path.name}, for: {command}\n{text}"


def _read_mapped(
    path: Path,
    columns: str | Path | None,
    names: ColumnNames | None,
    response: str | None,
    decimal: Mark | None,
) -> tuple[pl.DataFrame, ColumnMap]:
    """The rows of a file as it has them, and the map of its columns."""
    if columns is None:
        frame, _ = read_file(path, decimal)
        mapping = map_of(frame, names or ColumnNames(), response, str(path))
        return frame, mapping.model_copy(update={"decimal": decimal})
    if names:
        raise AnalysisError(
            f"{columns} says what the columns are: leave it out, or the options that name columns"
        )
    mapping = read_map(Path(columns))
    frame, _ = read_file(path, decimal or mapping.decimal)
    return frame, mapping


DeclaredT = TypeVar("DeclaredT", bound=Declared)


def _replaced(
    declared: DeclaredT,
    primary: Sequence[str] | None,
    margin: Mapping[str, float] | None,
    intervention: Sequence[str] | None,
) -> DeclaredT:
    """What is declared, with what a reader says in its place."""
    for name, change in (margin or {}).items():
        if not 0 < change < math.inf:
            raise AnalysisError(f"margin: {name}={change} is no positive number")
    changes = {
        "primary": declared.primary if primary is None else list(primary),
        "margin": declared.margin if margin is None else dict(margin),
        "intervention": declared.intervention if intervention is None else list(intervention),
    }
    return declared.model_copy(update=changes)


def _with_declared(roles: Roles, declared: Declared, outcomes: Sequence[str] = ()) -> Roles:
    """Roles with the primary metrics, margins and levels that are declared.

    `outcomes`, of sections of their own, may have a margin, too. Raises AnalysisError for a name
    that is no column of the table.
    """
    numbers = {*roles.metrics, *roles.responses, roles.response, *outcomes}
    for what, listed, known in (
        ("primary", declared.primary or (), roles.metrics),
        ("margin", declared.margin, numbers),
        ("level", declared.level, roles.metrics),
    ):
        for name in listed:
            if name not in known:
                kind = "metric or response" if what == "margin" else "metric"
                where = "under `level`" if what == "level" else f"with --{what}"
                raise AnalysisError(
                    f"{what}: {name!r} is no {kind} of the table.{nearest(name, known)} "
                    f"Name others {where}."
                )
    primary = roles.primary if declared.primary is None else tuple(declared.primary)
    return replace(roles, primary=primary, margin=declared.margin, level=declared.level)


def _search(path: Path, training_of: Mapping[str, str]) -> SearchRecord | None:
    """The search of a run directory; None where it holds none, and for a file."""
    if not RunPaths(path).journal.is_file():
        return None
    from analysis.reading.search import read_search

    return read_search(path, training_of)


def _above_floor(frame: pl.DataFrame) -> pl.DataFrame:
    """With the column `ABOVE_FLOOR` where the least possible loss is known."""
    if FLOOR not in frame.columns or frame[FLOOR].null_count() == len(frame):
        return frame
    return frame.with_columns((pl.col("val_loss") - pl.col(FLOOR)).alias(ABOVE_FLOOR))


def _varied(planned: pl.DataFrame) -> tuple[str, ...]:
    """Settings that differ between the cells of a study.

    Null is a value of some settings (`train.clip: null`), and means of others that a kind of model
    or schedule does not have them. Where the settings without nulls tell the values apart, nothing
    differs beyond these.
    """
    names = [name for name in planned.columns if name not in KEYS and planned[name].n_unique() > 1]
    axes = [name for name in names if not planned[name].null_count()]
    for name in (name for name in names if name not in axes):
        of_trainings = planned.group_by("training").agg(pl.col(name).n_unique())[name]
        points = planned.select(*axes, name).n_unique()
        if of_trainings.max() == 1 and points > (planned.select(axes).n_unique() if axes else 1):
            axes.append(name)
    return tuple(name for name in names if name in axes)


def _with_none(frame: pl.DataFrame, texts: Collection[str]) -> pl.DataFrame:
    """Rows with axes as texts, and the level `none` in place of their nulls."""
    return frame.with_columns(pl.col(name).cast(pl.String).fill_null(NONE) for name in texts)


def _own_roles(
    frame: pl.DataFrame,
    metadata: Mapping[str, Mapping[str, Any]],
    response: str | None,
    source: str,
    axes: tuple[str, ...],
) -> Roles:
    """Roles of a table with the project's own column names."""
    if UNIT not in frame.columns:
        raise AnalysisError(
            f"{source}: has no column `{UNIT}`, so it is no table of this project; name the column "
            "of the training of a row with --unit COLUMN (and --response, --metrics, --axes), or "
            "describe the table with --columns MAP.yaml; `collapse-study init csv` writes one"
        )
    chosen = response or "val_loss"
    responses = {name: better for name, better in RESPONSES.items() if name in frame.columns}
    better = "lower" if chosen == ABOVE_FLOOR else better_of(chosen)
    if better is not None:
        responses = {chosen: better} | responses
    if chosen not in frame.columns:
        raise AnalysisError(f"{source}: has no column {chosen!r}.{nearest(chosen, frame.columns)}")
    described = {name: entry for name, entry in metadata.items() if name in frame.columns} or {
        name: {"family": name.split("_")[0].upper()}
        for name in frame.columns
        if name.upper().startswith(FAMILIES)
    }
    metrics = {
        name: Metric(
            column=name,
            family=entry.get("family") or "",
            direction=entry.get("direction"),
            heavy_tailed=bool(entry.get("heavy_tailed", False)),
            citation=_told(name, entry, "citation"),
            description=_told(name, entry, "description"),
        )
        for name, entry in described.items()
        if name != chosen
        and not name.endswith(REFMEANS)
        and str(entry.get("family", "")).upper().startswith(FAMILIES)
    }
    own = next((names for key, names in OF_TARGETS.items() if _has_values(frame, key)), None)
    if own is not None:  # of a regression most metrics of classes do not exist
        metrics = {name: each for name, each in metrics.items() if _has_values(frame, name)}
    if not metrics:
        raise AnalysisError(
            f"{source}: has no column of a collapse metric (nc1_..., nc2_..., nc3_..., nc4_...)"
        )
    chosen_axes = tuple(
        name
        for name in axes
        if name in frame.columns and name not in NO_AXES and frame[name].n_unique() > 1
    )
    return Roles(
        response=chosen,
        responses=responses,
        metrics=metrics,
        axes=chosen_axes,
        architecture=tuple(name for name in chosen_axes if is_architecture(name)),
        unit=UNIT,
        order="epoch" if "epoch" in frame.columns else None,
        seed="seed" if "seed" in frame.columns else None,
        precision="precision" if "precision" in frame.columns else None,
        primary=own or PRIMARY,
    )


def _told(name: str, entry: Mapping[str, Any], about: str) -> str:
    """What is told of a metric today, else what the table was stored with."""
    return str(getattr(metric_of(name), about, None) or entry.get(about) or "")


def _has_values(frame: pl.DataFrame, name: str) -> bool:
    return name in frame.columns and frame[name].count() > 0


def _checked(
    frame: pl.DataFrame, roles: Roles, source: str, texts: Collection[str]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows of whole models that have the response; infinite metrics become null.

    `texts` are axes whose levels are texts, also those that could be read as numbers.
    """
    left_out: dict[str, int] = {}
    kept_means = [name for name in frame.columns if name.endswith(REFMEANS)]
    numbers = list(dict.fromkeys([*roles.metrics, *roles.responses, roles.response, *kept_means]))
    for column in (*numbers, roles.order, roles.unit, roles.seed, roles.precision, *roles.axes):
        if column is not None and frame[column].dtype.is_nested():
            raise AnalysisError(
                f"{source}: column {column!r} holds {frame[column].dtype}: give one value a row"
            )
    for column in (*numbers, roles.order):
        if column is not None:
            _check_numbers(frame, column, source)
    for column in (*roles.axes, roles.seed):
        if column is not None and column not in texts and frame[column].dtype == pl.String:
            _check_one_kind(frame, column, source)
            frame = frame.with_columns(as_numbers(frame[column], "."))
    frame = frame.with_columns(pl.col(name).cast(pl.Float64) for name in numbers)
    if roles.precision is not None:
        frame = frame.with_columns(pl.col(roles.precision).cast(pl.String))
    frame = frame.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in numbers
    )
    without = frame[roles.response].null_count()
    if without:
        left_out[f"rows without {roles.response}"] = without
        frame = frame.filter(pl.col(roles.response).is_not_null())
    if frame.is_empty():
        raise AnalysisError(f"{source}: no row is left with a value of {roles.response!r}")
    for name in (roles.unit, roles.order, roles.precision, *roles.axes):
        if name is not None and frame[name].null_count():
            empty = frame.filter(pl.col(name).is_null())
            raise AnalysisError(
                f"{source}: column {name!r} is null in {len(empty)} rows, "
                f"the first: {empty[ROW][0]}"
            )
    key = [name for name in (roles.unit, roles.order, roles.precision) if name is not None]
    twice = frame.filter(frame.select(key).is_duplicated())
    if not twice.is_empty():
        where = ", ".join(f"{name} {shown(twice[name][0])}" for name in key)
        raise AnalysisError(
            f"{source}: {len(twice)} rows share their {' and '.join(key)}, the first: {where} "
            f"({twice[ROW][0]})"
        )
    per_unit = frame.group_by(roles.unit).agg(pl.col(name).n_unique() for name in roles.axes)
    for name in roles.axes:
        mixed = per_unit.filter(pl.col(name) > 1)
        if not mixed.is_empty():
            raise AnalysisError(
                f"{source}: rows of one training ({mixed[roles.unit][0]!r}) differ in {name!r}, "
                "an axis"
            )
    return frame.drop(ROW), left_out


def _check_numbers(frame: pl.DataFrame, name: str, source: str) -> None:
    """Refuse a column of numbers that holds something else.

    The error names the value and its row.
    """
    column = frame[name]
    if column.dtype.is_numeric() or not column.count():
        return
    row = first(~is_number(column.cast(pl.String)))
    row = first(column.is_not_null()) if row is None else row
    assert row is not None
    raise AnalysisError(
        f"{source}: column {name!r} must hold numbers, but {frame[ROW][row]} has "
        f"{shown(column[row])}; write a number there, or NA where there is none"
    )


def _check_one_kind(frame: pl.DataFrame, name: str, source: str) -> None:
    """Refuse a setting of which some values are numbers and others are not.

    As texts they would be levels without an order, and no one would notice.
    """
    column = frame[name]
    text, number = first(~matches(column, ".")), first(is_number(column))
    if text is not None and number is not None:
        raise AnalysisError(
            f"{source}: column {name!r} mixes numbers and text: {shown(column[text])} "
            f"({frame[ROW][text]}) beside {shown(column[number])} ({frame[ROW][number]}); write "
            "all of them as numbers, or none"
        )


def _missing(
    frame: pl.DataFrame, roles: Roles, planned: pl.DataFrame | None, known: list[KnownMissing]
) -> list[Missing]:
    """Points of the grid without rows.

    The grid is that of the study's cells, else all combinations of the axes' values.
    """
    if planned is not None:
        names = [name for name in _varied(planned) if name not in PARTS_OF_SEED]
        absent = planned.join(frame, on="cell", how="anti", maintain_order="left").select(
            names or ["cell"]
        )
        return _absent(absent, known)
    names = [*roles.axes, *([roles.precision] if roles.precision else [])]
    levels = [frame[name].unique().sort().to_list() for name in names]
    schema = frame.select(names).schema
    points = pl.DataFrame(list(itertools.product(*levels)), schema=schema, orient="row")
    return (
        _absent(points.join(frame, on=names, how="anti", nulls_equal=True), known) if names else []
    )


def _absent(absent: pl.DataFrame, known: list[KnownMissing]) -> list[Missing]:
    """Missing points, those that a map declares apart from the others."""
    parts = []
    for entry in known:
        try:
            declared = absent.filter(pl.sql_expr(entry.where))
        except pl.exceptions.PolarsError as error:
            raise AnalysisError(
                f"known_missing: cannot evaluate {entry.where!r}: {error}"
            ) from None
        if not declared.is_empty():
            parts.append(Missing(declared, entry.reason))
            absent = absent.join(declared, on=absent.columns, how="anti", nulls_equal=True)
    return parts + ([] if absent.is_empty() else [Missing(absent)])


def _listing(points: pl.DataFrame) -> str:
    shown = [
        "(" + ", ".join(f"{k} {v}" for k, v in row.items()) + ")"
        for row in points.head(MISSING_SHOWN).to_dicts()
    ]
    more = f" and {len(points) - MISSING_SHOWN} more" if len(points) > MISSING_SHOWN else ""
    return f"{len(points)} points have no rows: {', '.join(shown)}{more}"
