"""Settings in place of those of a file: `train.lr=1e-3`, `grid.seed=[0,1]`."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from study.config import full_path, put
from study.settings.faults import Fault, StudyError
from study.settings.yaml_files import parse_yaml, with_inherited_rules

WRITTEN = "Write `train.lr=1e-3` or `grid.seed=[0,1]`: a dotted path, `=`, a value as in YAML"
FLAT = ("grid", "search.space")
"""Sections whose names are dotted paths themselves."""


def overridden(content: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The content of a study's or a search's file with other settings.

    A value is read as YAML, as it would be in the file, and is checked with the file. `grid.AXIS`
    sets an axis in each grid of the file, and short names of axes stand for their paths (`epochs=3`
    is `train.epochs=3`).

    Raises StudyError with one fault per override that cannot be read or would have no effect.
    """
    overrides = list(overrides)
    content = copy.deepcopy(with_inherited_rules(content) if overrides else content)
    faults: list[Fault] = []
    seen: set[str] = set()
    for text in overrides:
        try:
            path, value = _read(text)
            if path in seen:
                raise StudyError([Fault(path, "is given twice", "Keep one of the two")])
            seen.add(path)
            _set(content, path, value)
        except StudyError as error:
            faults += error.faults
    faults += _hidden(content, seen)
    if faults:
        raise StudyError(faults, source="command line")
    return content


def _read(text: str) -> tuple[str, Any]:
    """Path and value of an override."""
    name, sign, written = text.partition("=")
    name = name.strip()
    if not sign or not all(name.split(".")):
        raise StudyError([Fault("", f"{text!r} is no setting with a value", WRITTEN)])
    if name == "extends":
        fix = "Give the other file in place of this one"
        raise StudyError([Fault(name, "is read before other settings", fix)])
    try:
        tree = parse_yaml(f"value: {written}", source=text)
    except StudyError as error:
        (fault, *_) = error.faults
        if "not valid YAML" not in fault.message:
            raise StudyError([Fault(name, fault.message, fault.fix)]) from None
        raise StudyError([Fault(name, f"{written!r} is not valid YAML", WRITTEN)]) from None
    if tree.keys() != {"value"}:
        raise StudyError([Fault(name, f"{written!r} is more than one value", WRITTEN)])
    return full_path(name), tree["value"]


def _set(content: dict[str, Any], path: str, value: Any) -> None:
    """Set a path of a file's content."""
    for section in FLAT:
        if path.startswith(f"{section}."):
            name = path.removeprefix(f"{section}.")
            for names in _mappings(content, section):
                twin = next((key for key in names if full_path(key) == full_path(name)), name)
                names[twin] = value
            return
    put(content, path, value)


def _mappings(content: dict[str, Any], section: str) -> list[dict[str, Any]]:
    """The mappings by dotted path of a section, which is made if it is not there."""
    *parents, leaf = section.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            return []  # the check of the file says so
    value = content.setdefault(leaf, {})
    return [
        each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)
    ]


def _hidden(content: dict[str, Any], paths: Iterable[str]) -> list[Fault]:
    """Overrides that an axis of the grid would override in turn."""
    axes = {full_path(axis): axis for grid in _mappings(content, "grid") for axis in grid}
    return [
        Fault(path, "is an axis of the grid", f"Set the axis: `grid.{axes[path]}=[...]`")
        for path in paths
        if path in axes
    ]
