"""YAML files as plain mappings: safe, duplicate keys refused, `extends` merged."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from study.settings.faults import Fault, StudyError

Mapping = dict[str, Any]


class Inherited(list[Any]):
    """Rules that were written for another grid: that of the file that is extended or overridden.

    They need not match a point of this one.
    """


yaml.SafeDumper.add_representer(Inherited, yaml.SafeDumper.represent_list)


def with_inherited_rules(content: Mapping) -> Mapping:
    """The content of a file whose rules need not match, as they were written for another grid."""
    rules = content.get("rules")
    return {**content, "rules": Inherited(rules)} if isinstance(rules, list) else content


class _Loader(yaml.SafeLoader):
    """SafeLoader that notes keys given twice and keys that are no text.

    PyYAML itself keeps the last of equal keys in silence.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.faults: list[Fault] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                self.faults.append(
                    Fault(
                        f"line {line}",
                        f"the key {key!r} is not text",
                        "Use a name, in quotes if need be",
                    )
                )
                return {}
            if key in first:
                message = f"the key `{key}` stands here and in line {first[key]}"
                self.faults.append(Fault(f"line {line}", message, "Keep one of the two"))
            first.setdefault(key, line)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Mapping:
    """The mapping that a YAML file holds.

    Raises StudyError for a file that is missing, unreadable or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(
            [Fault("", "there is no such file", "Check the path")], source=str(path)
        ) from None
    except IsADirectoryError:
        raise StudyError(
            [Fault("", "this is a folder", "Give a YAML file")], source=str(path)
        ) from None
    except UnicodeDecodeError as error:
        message = f"not a text file (byte {error.start} is not UTF-8)"
        raise StudyError(
            [Fault("", message, "Give a YAML file in UTF-8")], source=str(path)
        ) from None
    except OSError as error:
        raise StudyError(
            [Fault("", f"cannot be read: {error.strerror}")], source=str(path)
        ) from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> Mapping:
    """As `read_yaml`, from text; `source` names it in errors."""
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise StudyError([Fault(where, f"not valid YAML: {problem}")], source=source) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise StudyError([Fault("", f"not valid YAML: {message}")], source=source) from None
    if loader.faults:
        raise StudyError(loader.faults, source=source)
    if value is None:
        raise StudyError(
            [Fault("", "the file is empty", "Write at least `name`, `model` and `grid`")],
            source=source,
        )
    if not isinstance(value, dict):
        message = f"holds a {type(value).__name__}, not settings by name"
        raise StudyError([Fault("", message, "Begin with `name: my-study`")], source=source)
    return value


def merge(below: Mapping, above: Mapping) -> Mapping:
    """Deep merge of mappings: `above` wins.

    Mappings merge key by key; everything else, lists too, is replaced.
    """
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def read_extended(path: Path) -> Mapping:
    """A YAML file with its chain of `extends` merged in, the nearest file winning.

    Relative corpus paths of an extended file in another folder keep their meaning only if both
    files share a folder, so the path of `extends` is resolved against the file that names it and
    settings against the file that is launched.
    """
    chain: list[Path] = []
    merged: Mapping = {}
    while True:
        if path.resolve() in chain:
            names = " -> ".join(p.name for p in [*chain, path])
            raise StudyError(
                [Fault("extends", f"the files extend each other: {names}")], source=str(path)
            )
        chain.append(path.resolve())
        content = read_yaml(path)
        parent = content.pop("extends", None)
        merged = merge(with_inherited_rules(content) if len(chain) > 1 else content, merged)
        if parent is None:
            return merged
        if not isinstance(parent, str):
            fault = Fault("extends", f"{parent!r} is not a path", "Give the path of one YAML file")
            raise StudyError([fault], source=str(path))
        path = path.parent / parent
