"""The points that a run's study file asks for, by column, so that a report uses those and names the missing ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from analysis.roles import AnalysisError

SECTIONS = ("data", "model", "train", "measure")
Point = dict[str, Any]


def planned_points(path: Path, frame: pl.DataFrame) -> list[pl.DataFrame]:
    """The points of the study at `path`, types as in `frame`: a frame for each set of columns that points have.

    An axis is found by its own name, by its dotted path joined by `_`, or by its leaf; an axis of mappings (such as
    `train.schedule`) by the paths of what these set. An axis without a column in `frame` says nothing about rows.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnalysisError(f"{path}: cannot be read ({error.strerror}): this is no run directory") from None
    except yaml.YAMLError as error:
        raise AnalysisError(f"{path}: is not YAML: {error}") from None
    grids = content.get("grid") or {}
    points = [point for axes in (grids if isinstance(grids, list) else [grids]) for point in _points(axes, frame)]
    varied = dict.fromkeys(name for point in points for name in point)
    groups: dict[tuple[str, ...], dict[tuple[Any, ...], None]] = {}
    for point in points:
        # The grids of a list may have different axes; one that a grid lacks has the study's fixed value there.
        whole = {**{name: value for name, value in _fixed(content, frame) if name in varied}, **point}
        names = tuple(name for name in varied if name in whole)
        values = tuple(_as(frame.schema[name], name, whole[name]) for name in names)
        groups.setdefault(names, {})[values] = None
    return [
        pl.DataFrame(list(rows), schema={name: frame.schema[name] for name in names}, orient="row")
        for names, rows in groups.items()
        if names
    ]


def _points(axes: dict[str, list[Any]], frame: pl.DataFrame) -> Iterator[Point]:
    choices = [[dict(_settings(axis, value, frame)) for value in values] for axis, values in axes.items()]
    for choice in itertools.product(*choices):
        yield {name: value for part in choice for name, value in part.items()}


def _settings(path: str, value: Any, frame: pl.DataFrame) -> Iterator[tuple[str, Any]]:
    """(column, value) of what a value of an axis sets."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _settings(f"{path}.{key}", inner, frame)
        return
    name = column_of(path, frame) or column_of(f"{path}.kind", frame)
    if name is not None and not isinstance(value, list):
        yield name, value


def _fixed(content: dict[str, Any], frame: pl.DataFrame) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if key in SECTIONS or key in ("precision", "seed"):
            yield from _settings(key, value, frame)


def column_of(path: str, frame: pl.DataFrame) -> str | None:
    """The column of a setting: its path, the path joined by `_`, else its leaf; None if the rows have none of these."""
    for name in (path, path.replace(".", "_"), path.rpartition(".")[2]):
        if name in frame.columns:
            return name
    return None


def _as(kind: pl.DataType, name: str, value: Any) -> Any:
    """A YAML value as the type of its column; PyYAML reads 3e-4 as text."""
    if value is None:
        return None
    try:
        if kind.is_float():
            return float(value)
        if kind.is_integer():
            return int(value)
    except (TypeError, ValueError):
        raise AnalysisError(f"the study sets {name} to {value!r}, but its column holds {kind}") from None
    return value if kind == pl.Boolean else str(value)
