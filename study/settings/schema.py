"""The flat view of nested settings: dotted paths, table columns, canonical values."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

Scalar = str | int | float | bool | None


class _Invalid:
    """Stands for a value that a setting cannot have.

    It equals nothing, not even itself.
    """

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Literal[False]:
        return False


INVALID = _Invalid()
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_PLAIN = {type(None), bool, int, float, str}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes among the alternatives of an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return models_in(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [model for part in get_args(annotation) for model in models_in(part)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return []


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, annotation) of every setting below a class.

    The alternatives of a union are included.
    """
    hints = typing.get_type_hints(model, include_extras=True)
    for name in model.model_fields:
        path = f"{prefix}{name}"
        nested = models_in(hints[name])
        if nested:
            for part in nested:
                yield from leaves(part, f"{path}.")
        else:
            yield path, hints[name]


def column_names(model: type[BaseModel], *, apart: Collection[str] = ()) -> dict[str, str]:
    """Dotted path -> column.

    The column is the leaf name where that is unique in the schema, else the path joined by `_`.

    Settings below the sections `apart` do not count for uniqueness and are named by their path
    without its first part: `train.penalty.nc1` is `penalty_nc1` where `train.penalty` is one.
    """
    paths = list(dict.fromkeys(path for path, _ in leaves(model)))
    sections = tuple(f"{section}." for section in apart)
    counted = [path.rpartition(".")[2] for path in paths if not path.startswith(sections)]
    columns = {}
    for path in paths:
        leaf = path.rpartition(".")[2]
        if path.startswith(sections):
            columns[path] = path.partition(".")[2].replace(".", "_")
        else:
            columns[path] = (
                leaf if "." not in path or counted.count(leaf) == 1 else path.replace(".", "_")
            )
    return columns


def column_kinds(model: type[BaseModel]) -> dict[str, type]:
    """Dotted path -> str, int, float or bool: the type of the setting's column.

    What is no plain number is text.
    """
    kinds: dict[str, type] = {}
    for path, annotation in leaves(model):
        types_of_path = set(_atoms(annotation)) - {type(None)}
        kind = (
            types_of_path.pop()
            if len(types_of_path) == 1 and not types_of_path - {str, int, float, bool}
            else str
        )
        kinds[path] = kind if kinds.get(path, kind) is kind else str
    return kinds


def _atoms(annotation: Any) -> Iterator[type]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _atoms(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _atoms(part)
    elif origin is typing.Literal:
        yield from (type(value) for value in get_args(annotation))
    elif isinstance(annotation, type):
        yield annotation
    else:
        yield list


def flat(settings: BaseModel, prefix: str = "") -> dict[str, Scalar]:
    """Dotted path -> value of every setting of an instance.

    Lists become compact JSON text. A group that is null has no settings.
    """
    values: dict[str, Scalar] = {}
    for name, _ in _fields(type(settings)):
        value = getattr(settings, name)
        path = f"{prefix}{name}"
        if value is None and models_in(_hints(type(settings))[name]):
            continue
        if value is None or isinstance(value, str | int | float | bool):
            values[path] = value
        elif isinstance(value, BaseModel):
            values |= flat(value, f"{path}.")
        else:
            values[path] = canonical(_plain_value(value))
    return values


def setting(model: type[BaseModel], tree: Any, path: str) -> Any:
    """The value of one setting below raw settings, as validation makes it.

    The default where nothing stands there. INVALID where it is no value of the setting, and where
    the kinds that `tree` names have no such setting.
    """
    *parents, leaf = path.split(".")
    for name in parents:
        tree, below = _child(model, tree, name)
        if below is None:
            return INVALID
        model = below
    if leaf not in model.model_fields:
        return INVALID
    raw = _raw(model, tree, leaf)
    return raw if isinstance(raw, BaseModel) else _validated(model, leaf, raw)


def _raw(model: type[BaseModel], tree: Any, name: str) -> Any:
    """What stands under a name, else the default."""
    if isinstance(tree, BaseModel):
        return getattr(tree, name)
    if isinstance(tree, dict) and name in tree:
        return tree[name]
    field = model.model_fields[name]
    return INVALID if field.is_required() else field.get_default(call_default_factory=True)


def _child(model: type[BaseModel], tree: Any, name: str) -> tuple[Any, type[BaseModel] | None]:
    """What stands under the name of a group, and the class of its settings."""
    if name not in model.model_fields:
        return None, None
    raw = _raw(model, tree, name)
    models = models_in(_hints(model)[name])
    if len(models) == 1:
        return raw, models[0]
    kind = raw if isinstance(raw, str) else _kind_of(raw)
    below = (part for part in models if part.model_fields["kind"].default == kind)
    return ({} if isinstance(raw, str) else raw), next(below, None)


def _kind_of(raw: Any) -> Any:
    return raw.get("kind") if isinstance(raw, dict) else getattr(raw, "kind", None)


def _validated(model: type[BaseModel], name: str, value: Any) -> Any:
    if value is INVALID:
        return value
    try:
        return _adapter(model, name).validate_python(value, strict=True)
    except ValidationError:
        return INVALID


@cache
def _hints(model: type[BaseModel]) -> dict[str, Any]:
    return typing.get_type_hints(model, include_extras=True)


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_hints(model)[name])


def _plain_value(value: Any) -> Any:
    """A setting without classes: a group, or a list of them, by names."""
    if type(value) in _PLAIN:  # before `isinstance`, which classes of pydantic answer slowly
        return value
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    return plain(value) if isinstance(value, BaseModel) else value


def plain(settings: BaseModel) -> dict[str, Any]:
    """Nested settings for a key, defaults written out.

    Fields are left out while equal to the neutral value that they name.

    A field added after stores exist is declared `Field(..., json_schema_extra={"neutral": value})`:
    as long as it has that value the key is the one that the settings had before the field existed.
    """
    values: dict[str, Any] = {}
    for name, extra in _fields(type(settings)):
        dumped = _plain_value(getattr(settings, name))
        if not ("neutral" in extra and dumped == extra["neutral"]):
            values[name] = dumped
    return values


@cache
def _fields(model: type[BaseModel]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Names of settings, each with what its declaration adds to the schema."""
    extras = ((name, field.json_schema_extra) for name, field in model.model_fields.items())
    return tuple((name, extra if isinstance(extra, dict) else {}) for name, extra in extras)


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, ASCII, no NaN.

    Floats print as Python's shortest repr.
    """
    return _CANONICAL.encode(value)
