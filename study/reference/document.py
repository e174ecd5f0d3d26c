"""docs/settings.md: a table of settings for each section and kind."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from study.config import SHORT_NAMES, AnalysisConfig, CellConfig, Resources, StudyConfig, Tuned
from study.reference.meanings import about, meanings
from study.reference.schema import EXTENDS, GRID, SEARCH, leaf
from study.search.config import SearchConfig
from study.settings.schema import models_in

HEAD = """\
# Settings

Every setting of a study or search file. This page is written by `python -m study.reference`, as is
`study.schema.json`, by which an editor completes, explains and checks a file that names it in its
first line:

    # yaml-language-server: $schema=study.schema.json

A setting without a default must be given: in its section, as an axis of `grid`, by a rule, or by
the file that is extended.
"""
TABLE = "| setting | values | default | meaning |\n|---|---|---|---|\n"


def document() -> str:
    """The page."""
    short = ", ".join(f"`{name}` is `{path}`" for name, path in SHORT_NAMES.items())
    top = meanings(StudyConfig)
    lines = [
        _row("name", "text", "", top["name"]),
        _row("grid", "axes and their values", "", f"{GRID}. {short}."),
        _row("rules", "list of `{when: {...}, set: {...}}`", "", top["rules"]),
        _field_row(StudyConfig, "keep"),
        _row("extends", "path", "", EXTENDS),
        _row("search", "see below", "", SEARCH),
        *(_field_row(CellConfig, name) for name in ("precision", "seed")),
    ]
    parts = [HEAD, "## The file\n\n" + TABLE + "\n".join(lines) + "\n"]
    hints = typing.get_type_hints(CellConfig, include_extras=True)
    for section in ("data", "model", "train", "measure", "precision_options"):
        for model in models_in(hints[section]):
            parts += _sections(section, model)
    for section, model in (
        ("resources", Resources),
        ("analysis", AnalysisConfig),
        ("search", SearchConfig),
        ("tuned", Tuned),
    ):
        parts += _sections(section, model)
    return "\n".join(parts)


def _sections(path: str, model: type[BaseModel]) -> Iterator[str]:
    """The table of a group of settings, and of the groups within."""
    kind = model.model_fields["kind"].default if "kind" in model.model_fields else None
    title = f"`{path}`" + (f", `kind: {kind}`" if kind else "")
    rows, below = [], []
    hints = typing.get_type_hints(model, include_extras=True)
    for name in model.model_fields:
        groups = models_in(hints[name])
        below += [(f"{path}.{name}", group) for group in groups]
        if len(groups) > 1:
            rows.append(_group_row(model, name, groups))
        elif name != "kind" and not groups:
            rows.append(_field_row(model, name))
    table = TABLE + "\n".join(rows) + "\n" if rows else ""
    yield f"## {title}\n\n{_cell(about(model))}\n\n{table}"
    for place, group in below:
        yield from _sections(place, group)


def _field_row(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    annotation = typing.get_type_hints(model, include_extras=True)[name]
    default = (
        "" if field.is_required() else f"`{_yaml(field.get_default(call_default_factory=True))}`"
    )
    return _row(name, values(leaf(annotation)), default, meanings(model).get(name, ""))


def _group_row(model: type[BaseModel], name: str, groups: list[type[BaseModel]]) -> str:
    """The setting that chooses between the tables of its kinds."""
    kinds = ", ".join(f"`{group.model_fields['kind'].default}`" for group in groups)
    default = model.model_fields[name].get_default(call_default_factory=True)
    text = "A kind by its name, or its settings with `kind`: see below."
    return _row(name, kinds, f"`{_yaml(default)}`", text)


def _row(name: str, taken: str, default: str, text: str) -> str:
    return f"| `{name}` | {_cell(taken)} | {default} | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _yaml(value: Any) -> str:
    return "null" if value is None else value if isinstance(value, str) else json.dumps(value)


def values(schema: dict[str, Any]) -> str:
    """What a setting may be, in words."""
    if "anyOf" in schema:
        return " or ".join(values(each) for each in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        names = schema.get("enum", [schema.get("const")])
        return ", ".join(dict.fromkeys(f"`{_yaml(name)}`" for name in names))
    match schema.get("type"):
        case "integer":
            return f"whole number{_limits(schema)}"
        case "number":
            return f"number{_limits(schema)}"
        case "array":
            return f"list [{values(schema['items'])}]"
        case "object":
            below = schema.get("additionalProperties")
            return f"names, each with: {values(below if isinstance(below, dict) else {})}"
        case "boolean":
            return "`true`, `false`"
        case "null":
            return "`null`"
        case "string":
            return "text"
    return "any value"


def _limits(schema: dict[str, Any]) -> str:
    """The range of a number; limits of 64 bits go without saying."""
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    parts = [
        f"{word} {schema[key]:,}"
        for key, word in words.items()
        if key in schema and abs(schema[key]) < 2**62
    ]
    return f" {', '.join(parts)}" if parts else ""
