"""Run directory, csv or parquet -> a tidy table with roles, complete or refused."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from analysis.reading.mapping import ColumnMap, KnownMissing, apply_map, read_map
from analysis.reading.search_record import SearchRecord
from analysis.reading.sources import read_data, read_file, read_run
from analysis.reading.table import (
    ABOVE_FLOOR,
    FLOOR,
    HEADLINE,
    PARTS_OF_SEED,
    REFMEANS,
    AnalysisError,
    Direction,
    Metric,
    Missing,
    Roles,
    Table,
    nearest,
)
from study.store import RunPaths

RESPONSES: dict[str, Direction] = {
    "val_loss": "lower",
    "train_loss": "lower",
    "perplexity": "lower",
    "generalization_gap": "lower",
    "val_accuracy": "higher",
    "train_accuracy": "higher",
}
FAMILIES = ("NC", "GNC", "UNC")
NO_AXES = ("precision", "seed", *PARTS_OF_SEED, "data_seed")  # these have roles of their own
KNOWN_AXES = (
    "width",
    "depth",
    "epochs",
    "lr",
    "weight_decay",
    "batch_size",
    "train_precision",
    "data_train_tokens",
)
KEYS = ("cell", "training")
MISSING_SHOWN = 20


def load(
    source: str | Path,
    *,
    columns: str | Path | None = None,
    response: str | None = None,
    allow_missing: bool = False,
) -> Table:
    """The table at `source`: a run directory, or a csv or parquet file.

    A foreign file needs a map of its columns.

    A file without a map must have the columns of a run's rows (`training`, `epoch`, the metrics by
    their names). Raises AnalysisError for what cannot be read, for two rows of one training,
    checkpoint and precision, and for an incomplete grid unless `allow_missing`; points that a map
    declares as missing are not held against it.
    """
    path = Path(source)
    known: list[KnownMissing] = []
    planned: pl.DataFrame | None = None
    about = ""
    trainings: dict[str, str] = {}
    if path.is_dir():
        if columns is not None:
            raise AnalysisError(
                f"{path} is a run directory, whose columns are known: leave --columns out"
            )
        frame, metrics, planned = read_run(path)
        trainings = dict(frame.select("cell", "training").rows())
        frame = _above_floor(frame)
        roles = _own_roles(frame, metrics, response, str(path), axes=_varied(planned))
    else:
        frame, metrics = read_file(path)
        if columns is None:
            frame = _above_floor(frame)
            roles = _own_roles(frame, metrics, response, str(path), axes=KNOWN_AXES)
        else:
            mapping: ColumnMap = read_map(Path(columns))
            frame, roles = apply_map(frame, mapping, response, str(path))
            known, about = mapping.known_missing, mapping.about
    layers = None
    if "layer" in frame.columns:
        single = frame.filter(pl.col("layer").is_not_null())
        layers = None if single.is_empty() else single
        frame = frame.filter(pl.col("layer").is_null())
    frame, left_out = _checked(frame, roles, str(path))
    missing = _missing(frame, roles, planned, known)
    unknown = [part for part in missing if not part.reason]
    if unknown and not allow_missing:
        raise AnalysisError(
            f"{path}: the grid is incomplete: {_listing(unknown[0].points)}; pass --allow-missing"
        )
    order = {name: place for place, name in enumerate(HEADLINE)}
    ordered = dict(sorted(roles.metrics.items(), key=lambda entry: order.get(entry[0], len(order))))
    data, classes = read_data(path) if path.is_dir() else ((), {})
    search = _search(path, trainings)
    return Table(
        frame,
        replace(roles, metrics=ordered),
        str(path),
        about,
        tuple(missing),
        left_out,
        layers=layers,
        data=data,
        classes=classes,
        search=search,
    )


def _search(path: Path, training_of: Mapping[str, str]) -> SearchRecord | None:
    """The search of a run directory; None where it holds none, and for a file."""
    if not RunPaths(path).journal.exists():
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

    Not those that only some kinds of model or schedule have.
    """
    names = [name for name in planned.columns if name not in KEYS and planned[name].n_unique() > 1]
    return tuple(name for name in names if not planned[name].null_count())


def _own_roles(
    frame: pl.DataFrame,
    metadata: Mapping[str, Mapping[str, Any]],
    response: str | None,
    source: str,
    axes: tuple[str, ...],
) -> Roles:
    """Roles of a table with the project's own column names."""
    if "training" not in frame.columns:
        raise AnalysisError(
            f"{source}: has no column `training`, so it is no table of this project; describe it "
            "with --columns MAP.yaml (examples in search_spaces/columns/)"
        )
    chosen = response or "val_loss"
    responses = {name: better for name, better in RESPONSES.items() if name in frame.columns}
    if chosen == ABOVE_FLOOR:
        responses = {ABOVE_FLOOR: "lower", **responses}
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
            citation=entry.get("citation") or "",
            description=entry.get("description") or "",
        )
        for name, entry in described.items()
        if name != chosen
        and not name.endswith(REFMEANS)
        and str(entry.get("family", "")).upper().startswith(FAMILIES)
    }
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
        architecture=tuple(
            name for name in chosen_axes if name in ("width", "depth") or name.startswith("model_")
        ),
        unit="training",
        order="epoch" if "epoch" in frame.columns else None,
        seed="seed" if "seed" in frame.columns else None,
        precision="precision" if "precision" in frame.columns else None,
    )


def _checked(frame: pl.DataFrame, roles: Roles, source: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows of whole models that have the response; infinite metrics become null."""
    left_out: dict[str, int] = {}
    kept_means = [name for name in frame.columns if name.endswith(REFMEANS)]
    numbers = list(dict.fromkeys([*roles.metrics, *roles.responses, roles.response, *kept_means]))
    text = [
        name
        for name in numbers
        if not frame[name].dtype.is_numeric() and frame[name].dtype != pl.Null
    ]
    if text:
        kind, value = frame[text[0]].dtype, frame[text[0]].drop_nulls()[0]
        raise AnalysisError(
            f"{source}: column {text[0]!r} must hold numbers, it is {kind} ({value!r})"
        )
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
            raise AnalysisError(
                f"{source}: column {name!r} is null in {frame[name].null_count()} rows"
            )
    key = [name for name in (roles.unit, roles.order, roles.precision) if name is not None]
    twice = frame.filter(frame.select(key).is_duplicated())
    if not twice.is_empty():
        where = ", ".join(f"{name} {twice[name][0]!r}" for name in key)
        raise AnalysisError(
            f"{source}: {len(twice)} rows share their {' and '.join(key)}, the first: {where}"
        )
    per_unit = frame.group_by(roles.unit).agg(pl.col(name).n_unique() for name in roles.axes)
    for name in roles.axes:
        mixed = per_unit.filter(pl.col(name) > 1)
        if not mixed.is_empty():
            raise AnalysisError(
                f"{source}: rows of one training ({mixed[roles.unit][0]!r}) differ in {name!r}, "
                "an axis"
            )
    return frame, left_out


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
