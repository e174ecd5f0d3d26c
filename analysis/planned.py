"""The points that a run's study file asks for, by column, so that a report uses those and names the missing ones."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from analysis.roles import AnalysisError


def planned_points(path: Path, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of `frame` that the study at `path` asks for, its points): one column per axis, types as in `frame`.

    Axes whose values are no scalars (such as a schedule by name) select no rows; they are left out of the points.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnalysisError(f"{path}: cannot be read ({error.strerror}): this is no run directory") from None
    except yaml.YAMLError as error:
        raise AnalysisError(f"{path}: is not YAML: {error}") from None
    grids = content.get("grid") or {}
    points: dict[tuple[tuple[str, Any], ...], None] = {}
    for axes in grids if isinstance(grids, list) else [grids]:
        columns = {column_of(axis, frame): values for axis, values in axes.items()}
        scalar = {name: values for name, values in columns.items() if name is not None and _scalars(values)}
        for choice in itertools.product(*scalar.values()):
            points[tuple(zip(scalar, choice, strict=True))] = None
    names = sorted({name for point in points for name, _ in point}, key=frame.columns.index)
    if not names:
        return frame, frame.select(pl.lit(None).alias("_")).head(0).select([])
    rows = []
    for point in points:
        given = dict(point)
        # Grids of a list may have different axes; an axis that one of them lacks has the study's fixed value there.
        fixed = {name: _fixed(content, name, frame) for name in names if name not in given}
        rows.append({name: _as(frame.schema[name], {**given, **fixed}[name]) for name in names})
    planned = pl.DataFrame(rows, schema={name: frame.schema[name] for name in names}, orient="row").unique(
        maintain_order=True
    )
    return frame.join(planned, on=names, how="semi", nulls_equal=True), planned


def column_of(axis: str, frame: pl.DataFrame) -> str | None:
    """Column of an axis: its own name, else its leaf, else the dotted path joined by `_`; None if it has no column."""
    for name in (axis, axis.rpartition(".")[2], axis.replace(".", "_")):
        if name in frame.columns and not (name == "precision" and axis not in ("precision",)):
            return name
    return None


def _scalars(values: Any) -> bool:
    return isinstance(values, list) and all(not isinstance(value, list | dict) for value in values)


def _fixed(content: dict[str, Any], name: str, frame: pl.DataFrame) -> Any:
    """The value of a setting that a grid does not vary: from the section that holds it, else the only one measured."""
    for section in ("data", "model", "train", "measure"):
        settings = content.get(section) or {}
        for key, value in settings.items():
            if name in (key, f"{section}_{key}"):
                return value
    if name in content:
        return content[name]
    found = frame[name].unique()
    if len(found) == 1:
        return found[0]
    raise AnalysisError(f"the study does not say which `{name}` the grid without that axis has, and rows have several")


def _as(kind: pl.DataType, value: Any) -> Any:
    if value is None:
        return None
    if kind.is_float():
        return float(value)  # YAML reads 3e-4 as text
    if kind.is_integer():
        return int(value)
    return value if kind == pl.Boolean else str(value)
