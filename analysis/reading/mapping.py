"""Maps of foreign tables: a YAML file that says in SQL which column is what."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, TypeVar

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from yaml.constructor import ConstructorError

from analysis.reading.numbers import Mark, first, is_number
from analysis.reading.table import (
    ROW,
    AnalysisError,
    Direction,
    Metric,
    Roles,
    nearest,
    shown,
)

LARGEST = 200_000
"""Bytes of a map, or of the YAML of a study."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class MetricMap(_Part):
    """A metric: an SQL expression over the file's columns, and what is known of it.

    Without an expression it is the column of its own name.
    """

    sql: str | None = None
    family: str = ""
    direction: Direction | None = None
    heavy_tailed: bool = False
    citation: str = ""
    description: str = ""


class Extract(_Part):
    """Named groups of a regular expression on a text column become columns.

    They are text; empty groups are null.
    """

    column: str
    pattern: str


class KnownMissing(_Part):
    """Points of the grid that lack by design: an SQL condition on axes, and why."""

    where: str
    reason: str


class MatchedAxis(_Part):
    """An axis whose levels are compared with a baseline at equal training loss."""

    axis: str
    baseline: bool | float | str
    free: list[str] = Field(default_factory=list)


class Declared(_Part):
    """What a study declares of its analysis before it runs.

    The metrics that it is to decide about, the change of a column that counts as none, the level of
    a metric whose epoch is asked for, the axes whose effect is, and the axis whose levels are
    compared at equal training loss.
    """

    primary: list[str] | None = None
    margin: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    level: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    intervention: list[str] = Field(default_factory=list)
    matched: MatchedAxis | None = None

    @field_validator("intervention", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class ColumnMap(Declared):
    """The map of a table.

    Order of work: `extract`, then `columns` (each may use those before it), then `where`, then the
    metrics. `decimal` is the mark that numbers are written with, where the file does not tell it;
    `primary` the metrics that the study is to decide about, `margin` the change of a column that
    counts as none, `level` the value of a metric whose epoch is asked for, `intervention` the axes
    whose effect is.
    """

    about: str = ""
    decimal: Mark | None = None
    extract: Extract | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    where: str | None = None
    axes: list[str]
    architecture: list[str] = Field(default_factory=list)
    unit: str
    order: str | None = None
    seed: str | None = None
    precision: str | None = None
    response: str
    responses: dict[str, Direction] = Field(default_factory=dict)
    metrics: dict[str, MetricMap] = Field(min_length=1)
    known_missing: list[KnownMissing] = Field(default_factory=list)


class _UniqueKeys(yaml.SafeLoader):
    """YAML without duplicate keys, which PyYAML accepts in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_map(path: Path) -> ColumnMap:
    """The map in a YAML file.

    Raises AnalysisError, which lists every fault with its path in the file.
    """
    try:
        content = read_content(path, _UniqueKeys)
    except OSError as error:
        raise AnalysisError(
            f"{path}: cannot be read ({error.strerror}); give the path of a column map"
        ) from None
    if not isinstance(content, dict):
        raise AnalysisError(
            f"{path}: a column map is a mapping with the keys {', '.join(ColumnMap.model_fields)}"
        )
    return _validated(ColumnMap, content, path)


def read_content(path: Path, loader: type[yaml.SafeLoader]) -> Any:
    """What a YAML file holds.

    Raises OSError where there is no such file, AnalysisError where it is no YAML.
    """
    if path.exists() and not path.is_file():
        raise AnalysisError(f"{path}: is no file; give the path of a YAML file")
    if path.stat().st_size > LARGEST:
        raise AnalysisError(f"{path}: has more than {LARGEST:,} bytes; give a YAML file")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader)
    except RecursionError:
        raise AnalysisError(f"{path}: is nested too deeply; write it flat") from None
    # Values that do not have the type of their tag break PyYAML's constructors in many ways.
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnalysisError(f"{path}: is not YAML: {error}") from None


PartT = TypeVar("PartT", bound=_Part)


def _validated(kind: type[PartT], content: Any, path: Path) -> PartT:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = [_fault(path, each, kind) for each in error.errors()]
        raise AnalysisError("\n".join(faults)) from None


def _fault(path: Path, fault: Any, kind: type[_Part]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = MetricMap.model_fields if len(fault["loc"]) > 1 else kind.model_fields
        return f"{path}: {place}: unknown key.{nearest(str(fault['loc'][-1]), known)}"
    if fault["type"] == "missing":
        return f"{path}: {place}: is missing"
    value = fault["input"]
    # The text of lists of lists by aliases would fill the memory.
    text = reprlib.repr(value) if isinstance(value, dict | list) else shown(value)
    return f"{path}: {place}: {fault['msg']}, not {text}"


def read_declared(path: Path) -> Declared:
    """What the YAML of a study declares under `analysis`.

    Nothing where there is no such file.
    """
    try:
        content = read_content(path, yaml.SafeLoader)
    except FileNotFoundError:  # of a search, whose trials are no study
        return Declared()
    except OSError as error:
        raise AnalysisError(f"{path}: cannot be read: {error}") from None
    section = content.get("analysis") if isinstance(content, dict) else None
    return Declared() if section is None else _validated(Declared, section, path)


def apply_map(
    frame: pl.DataFrame, mapping: ColumnMap, response: str | None, source: str
) -> tuple[pl.DataFrame, Roles]:
    """The mapped columns of a foreign table alone, and their roles.

    Raises AnalysisError, which names the expression that failed.
    """
    if mapping.extract is not None:
        frame = _extract(frame, mapping.extract, source)
    for column, sql in mapping.columns.items():
        frame = frame.with_columns(_evaluate(frame, column, sql, f"columns.{column}"))
    if mapping.where is not None:
        condition = _evaluate(frame, "where", mapping.where, "where")
        if condition.dtype != pl.Boolean:
            raise AnalysisError(
                f"where: {shown(mapping.where)} is {condition.dtype}, no condition: write one such "
                "as `width > 64`"
            )
        frame = frame.filter(condition)
        if frame.is_empty():
            raise AnalysisError(f"{source}: no row satisfies the map's `where: {mapping.where}`")
    chosen = response or mapping.response
    named: dict[str, list[str | None]] = {
        "axes": [*mapping.axes],
        "architecture": [*mapping.architecture],
        "unit": [mapping.unit],
        "order": [mapping.order],
        "seed": [mapping.seed],
        "precision": [mapping.precision],
        "responses": [*mapping.responses],
        "response": [chosen],
    }
    for role, listed in named.items():
        for name in listed:
            if name is not None and name not in frame.columns:
                raise AnalysisError(
                    f"{source}: `{role}` names {name!r}, no column of "
                    f"it.{nearest(name, frame.columns)}"
                )
    if stray := set(mapping.architecture) - set(mapping.axes):
        raise AnalysisError(
            f"the map's `architecture` lists {sorted(stray)}, which `axes` does not"
        )
    _check_roles(mapping)
    metrics = [
        _evaluate(frame, name, entry.sql or quoted(name), f"metrics.{name}")
        for name, entry in mapping.metrics.items()
    ]
    names = dict.fromkeys(name for listed in named.values() for name in listed if name is not None)
    tidy = frame.select(*names, ROW).with_columns(metrics)
    return tidy, Roles(
        response=chosen,
        responses=mapping.responses,
        metrics={
            name: Metric(name, **entry.model_dump(exclude={"sql"}))
            for name, entry in mapping.metrics.items()
        },
        axes=tuple(mapping.axes),
        architecture=tuple(mapping.architecture),
        unit=mapping.unit,
        order=mapping.order,
        seed=mapping.seed,
        precision=mapping.precision,
    )


def _check_roles(mapping: ColumnMap) -> None:
    """Raise AnalysisError where a column has two roles that exclude each other."""
    single = [mapping.unit, mapping.order, mapping.precision, *mapping.axes]
    for name, count in Counter(name for name in single if name is not None).items():
        if count > 1:
            raise AnalysisError(
                f"the map names {name!r} {count} times among `unit`, `order`, `precision` and "
                "`axes`: name it once"
            )
    if clash := sorted({*mapping.metrics} & {*single, mapping.seed}):
        raise AnalysisError(
            f"`metrics.{clash[0]}`: the map has {clash[0]!r} as `unit`, `order`, `precision`, "
            "`seed` or one of `axes`, too: give the metric another name"
        )


def quoted(name: str) -> str:
    """The name of a column in SQL."""
    return '"{}"'.format(name.replace('"', '""'))


def _extract(frame: pl.DataFrame, extract: Extract, source: str) -> pl.DataFrame:
    if extract.column not in frame.columns:
        known = nearest(extract.column, frame.columns)
        raise AnalysisError(
            f"{source}: `extract.column` names {extract.column!r}, no column of it.{known}"
        )
    try:
        groups = list(re.compile(extract.pattern).groupindex)
        matches = frame.select(
            pl.col(extract.column)
            .cast(pl.String)
            .str.extract_groups(extract.pattern)
            .alias("found")
        )
    except (re.error, pl.exceptions.ComputeError) as error:
        raise AnalysisError(f"`extract.pattern` is no regular expression: {error}") from None
    if not groups:
        raise AnalysisError(
            "`extract.pattern` has no named group: write (?P<depth>\\d+) for a column `depth`"
        )
    fields = matches.unnest("found").select(pl.col(name).replace("", None) for name in groups)
    unmatched = frame.filter(
        ~pl.col(extract.column).cast(pl.String).str.contains(extract.pattern).fill_null(False)
    )
    if not unmatched.is_empty():
        raise AnalysisError(
            f"{source}: {len(unmatched)} values of {extract.column!r} do not match "
            f"`extract.pattern`, the first is {unmatched[extract.column][0]!r}"
        )
    if clash := set(groups) & set(frame.columns):
        raise AnalysisError(
            f"`extract.pattern` has groups named like columns of the file: {sorted(clash)}"
        )
    return pl.concat([frame, fields], how="horizontal")


def _evaluate(frame: pl.DataFrame, name: str, sql: str, place: str) -> pl.Series:
    """An SQL expression as a column of the name `name`.

    polars would name it after an input column.
    """
    try:
        column = frame.select(pl.sql_expr(sql).alias(name))[name]
    except pl.exceptions.ColumnNotFoundError as error:
        found_names = re.findall(r'"([^"]+)"', str(error)) or [str(error)]
        missing = found_names[0]
        raise AnalysisError(
            f"{place}: {sql!r} uses a column {missing!r}.{nearest(missing, frame.columns)}"
        ) from None
    except pl.exceptions.PolarsError as error:
        first = str(error).split("\n", maxsplit=1)[0]
        raise AnalysisError(
            f"{place}: cannot evaluate the SQL expression {sql!r}: {first}{_texts(frame, sql)}"
        ) from None
    # Decimal is what SQL makes of a literal such as 0.1; a constant has one row.
    column = column.cast(pl.Float64) if column.dtype.is_decimal() else column
    return column.new_from_index(0, len(frame)) if len(column) == 1 else column


def _texts(frame: pl.DataFrame, sql: str) -> str:
    """Values that are no numbers in the columns of an expression.

    As the end of a message.
    """
    try:
        names = pl.sql_expr(sql).meta.root_names()
    except pl.exceptions.PolarsError:
        return ""
    for name in names:
        if name in frame.columns and frame[name].dtype == pl.String:
            row = first(~is_number(frame[name]))
            if row is not None:
                return f"; {shown(name)} holds text: {shown(frame[name][row])} ({frame[ROW][row]})"
    return ""
