"""The JSON schema of a study or search file, by which editors check it.

A section need not be complete: the grid, a rule or the file that is extended may give what it
lacks. So nothing below the top is required, and a section without `kind` may have the settings of
any kind. What a schema cannot say, the launch does.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from study.config import (
    ASIDE,
    SECTIONS,
    SHORT_NAMES,
    AnalysisConfig,
    CellConfig,
    Resources,
    StudyConfig,
    Tuned,
    full_path,
    known_paths,
)
from study.reference.meanings import about, meanings
from study.search.config import SearchConfig
from study.settings.schema import models_in

Schema = dict[str, Any]
EXTENDS = "Another file of the same form, below which this one is merged; its path starts from here"
SEARCH = "What Optuna looks for; `collapse-study tune` runs the file"
GRID = "Axes and the values of each: every combination is a point. A list of such is their union"


def study_schema() -> Schema:
    """JSON schema (draft 2020-12) of the files of studies and of searches."""
    top = meanings(StudyConfig)
    cell = {name: _field(CellConfig, name) for name in SECTIONS}
    resources = {f"resources.{name}": _field(Resources, name) for name in Resources.model_fields}
    settings = _by_path(CellConfig) | resources | {"keep": _field(StudyConfig, "keep")}
    axes, execution = (_named(known_paths(execution=each)) for each in (False, True))
    grid = {
        "type": "object",
        "properties": {
            name: {"type": "array", "minItems": 1, "items": each} for name, each in axes.items()
        },
        "additionalProperties": False,
    }
    listed = {name: _or_list(each) for name, each in execution.items()}
    rule = {
        "type": "object",
        "properties": {
            "when": {"type": "object", "properties": listed, "additionalProperties": False},
            "set": {"type": "object", "properties": execution, "additionalProperties": False},
        },
        "required": ["when", "set"],
        "additionalProperties": False,
    }
    grids = {"anyOf": [grid, {"type": "array", "items": grid}], "description": GRID}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of collapse-study",
        "type": "object",
        "properties": {
            "name": _field(StudyConfig, "name"),
            **cell,
            "grid": grids,
            "rules": {"type": "array", "items": rule, "description": top["rules"]},
            "resources": _object(Resources),
            "keep": _field(StudyConfig, "keep"),
            "analysis": _object(AnalysisConfig),
            "tuned": _object(Tuned),
            "extends": {"type": "string", "description": EXTENDS},
            "search": _object(SearchConfig) | {"description": SEARCH},
        },
        "patternProperties": {f"^{'|^'.join(each.replace('.', '[.]') for each in ASIDE)}": {}},
        "additionalProperties": False,
        "anyOf": [{"required": ["name"]}, {"required": ["extends"]}],
        "$defs": {path: settings[path] for path in known_paths(execution=True)},
    }


def schema_text() -> str:
    """The schema as a file."""
    return json.dumps(study_schema(), indent=1) + "\n"


def _named(paths: Collection[str]) -> dict[str, Schema]:
    """The settings of paths, by these and by their short names."""
    names = [*(name for name in SHORT_NAMES if full_path(name) in paths), *paths]
    return {name: {"$ref": f"#/$defs/{full_path(name)}"} for name in names}


def _or_list(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value}]}


def _object(model: type[BaseModel]) -> Schema:
    """The settings of one class."""
    properties = {name: _field(model, name) for name in model.model_fields}
    return {
        "type": "object",
        "description": about(model),
        "properties": properties,
        "additionalProperties": False,
    }


def _field(model: type[BaseModel], name: str) -> Schema:
    """One setting: a value, or a group of settings, of one of several kinds."""
    field = model.model_fields[name]
    annotation = typing.get_type_hints(model, include_extras=True)[name]
    groups = [_object(group) for group in models_in(annotation)]
    if groups:
        names = [kind for kind in _kinds(annotation) if _is_short(annotation, kind)]
        choices = [{"enum": names}, *groups] if names else groups
        choices += [{"type": "null"}] if type(None) in typing.get_args(annotation) else []
        value: Schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    else:
        value = leaf(annotation)
    text = {"description": meanings(model)[name]} if name in meanings(model) else {}
    if not field.is_required() and not groups:
        value = {**value, "default": field.get_default(call_default_factory=True)}
    return {**value, **text}


def leaf(annotation: Any) -> Schema:
    """The schema of a plain setting.

    Where `true` is a name, YAML reads it as a boolean: both are allowed.
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = [limit for part in parts[1:] for limit in getattr(part, "metadata", ())]
        written = leaf(_written(parts))
        return {**written, **{key: value for each in limits for key, value in _limit(each)}}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [leaf(part) for part in parts]}
    if origin is list:
        return {"type": "array", "items": leaf(parts[0])}
    if origin is dict and parts[1] is not Any:
        return {"type": "object", "additionalProperties": leaf(parts[1])}
    value = TypeAdapter(annotation).json_schema()
    return {"enum": [*value["enum"], True, False]} if "true" in value.get("enum", ()) else value


def _written(parts: tuple[Any, ...]) -> Any:
    """The type in a file, where a setting is converted from another."""
    types = [each.json_schema_input_type for each in parts if isinstance(each, BeforeValidator)]
    return next((each for each in types if each is not PydanticUndefined), parts[0])


LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}


def _limit(metadata: Any) -> Iterator[tuple[str, Any]]:
    """A limit of numbers as JSON schema has it.

    Pydantic leaves it out where a value is converted first, as all floats are.
    """
    for name, key in LIMITS.items():
        if (value := getattr(metadata, name, None)) is not None:
            yield key, value


def _kinds(annotation: Any) -> list[str]:
    """The names of the kinds of a group; none where it has one form alone."""
    return [
        group.model_fields["kind"].default
        for group in models_in(annotation)
        if "kind" in group.model_fields
    ]


def _is_short(annotation: Any, kind: str) -> bool:
    """Whether the name of a kind may stand for the group."""
    try:
        TypeAdapter(annotation).validate_python(kind)
    except ValidationError:
        return False
    return True


def _by_path(model: type[BaseModel]) -> dict[str, Schema]:
    """Dotted path -> setting, with all forms that it has in different kinds."""
    forms: dict[str, list[Schema]] = {}
    for path, value in _walk(model, ""):
        if value not in forms.setdefault(path, []):
            forms[path].append(value)
    return {
        path: values[0] if len(values) == 1 else _several(path, values)
        for path, values in forms.items()
    }


def _several(path: str, values: list[Schema]) -> Schema:
    """A setting of several kinds; of `kind` itself the names of all."""
    if path.endswith(".kind"):
        return {"enum": [value["const"] for value in values]}
    return {"anyOf": values}


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Schema]]:
    hints = typing.get_type_hints(model, include_extras=True)
    for name in model.model_fields:
        yield f"{prefix}{name}", _field(model, name)
        for group in models_in(hints[name]):
            yield from _walk(group, f"{prefix}{name}.")
