"""Pydantic's validation errors as faults with a path, a value and a remedy."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from study.settings.base import LARGEST_INT
from study.settings.faults import Fault, nearest
from study.settings.schema import models_in


def validation_faults(
    model: type[BaseModel],
    value: Any,
    *,
    prefix: str = "",
    origins: Mapping[str, str] | None = None,
) -> Iterator[Fault]:
    """Every fault of `value` under `model`.

    `origins` tells from which axis or rule a dotted path got its value.
    """
    try:
        model.model_validate(value)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            yield _fault(model, value, item, prefix, origins or {})


def _fault(
    model: type[BaseModel], root: Any, item: Any, prefix: str, origins: Mapping[str, str]
) -> Fault:
    path = _yaml_path(root, item["loc"])
    dotted = ".".join([prefix, *path] if prefix else path)
    place = next((origins[p] for p in _prefixes(dotted) if p in origins), dotted)
    section, _, leaf = dotted.rpartition(".")
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return Fault(
            dotted,
            "is missing",
            f"Give it under `{section}:`, or as an axis of `grid`" if section else "Add it",
        )
    if kind == "extra_forbidden":
        return Fault(place, "unknown setting", nearest(leaf, _names(model, root, path[:-1])))
    if kind == "union_tag_not_found":
        return Fault(
            f"{place}.kind", "is missing", f"Known kinds: {', '.join(_kinds(model, path))}"
        )
    if kind == "union_tag_invalid":
        tag = str(context["tag"])
        return Fault(f"{place}.kind", f"is `{tag}`", nearest(tag, _kinds(model, path)))
    if "error" in context:  # raised by a validator of ours: a whole sentence already
        return Fault(place, str(context["error"]))
    if item["input"].__class__ is int and abs(item["input"]) > LARGEST_INT:
        message = "is a larger number than 64 bits hold"
        return Fault(place, message, f"Use a number up to {LARGEST_INT}")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        form = f"Write `{leaf}: {{{'name' if kind == 'dict_type' else 'setting'}: value}}`"
        return Fault(place, f"is {item['input']!r}, not settings by name", form)
    if kind == "list_type":
        return Fault(place, f"is {item['input']!r}, not a list", f"Write `{leaf}: [...]`")
    if kind == "literal_error" and isinstance(item["input"], str):
        names = re.findall(r"'([^']*)'", context["expected"])
        if close := get_close_matches(item["input"], names, n=1):
            fix = f"Did you mean `{close[0]}`? It should be {context['expected']}"
            return Fault(place, f"is {item['input']!r}", fix)
    reason = item["msg"][0].lower() + item["msg"][1:]
    return Fault(place, f"is {item['input']!r}", f"It {reason.removeprefix('input ')}")


def _yaml_path(root: Any, location: tuple[int | str, ...]) -> list[str]:
    """Pydantic's location without the tags that it inserts for unions."""
    path: list[str] = []
    node = root
    for part in location:
        if isinstance(node, dict):
            if part not in node and (node.get("kind") == part or "[" in str(part)):
                continue
            path.append(str(part))
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            path[-1] += f"[{part}]"
            node = node[part]
        else:
            break
    return path


def _models_at(model: type[BaseModel], path: list[str]) -> list[type[BaseModel]]:
    models = [model]
    for part in path:
        hints = [typing.get_type_hints(m, include_extras=True).get(part) for m in models]
        models = [below for hint in hints if hint is not None for below in models_in(hint)]
    return models


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return None if field is None else str(typing.get_args(field.annotation)[0])


def _kinds(model: type[BaseModel], path: list[str]) -> list[str]:
    return [kind for below in _models_at(model, path) if (kind := _kind(below))]


def _names(model: type[BaseModel], root: Any, path: list[str]) -> set[str]:
    node = root
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    kind = node.get("kind") if isinstance(node, dict) else None
    models = _models_at(model, path)
    matching = [m for m in models if _kind(m) == kind]
    return {name for m in matching or models for name in m.model_fields}


def _prefixes(dotted: str) -> Iterator[str]:
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        yield ".".join(parts[:length])
