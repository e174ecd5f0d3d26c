"""YAML files as plain mappings: safe, duplicate keys refused, `extends` merged."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from study.settings.base import LARGEST_INT
from study.settings.faults import Fault, StudyError

Mapping = dict[str, Any]

LARGEST_FILE = 200_000
"""Bytes of a file of settings."""
MOST_NODES = 200_000
"""Values that a file may stand for, those of aliases counted wherever they are used."""
TEXT, MAPPING, SEQUENCE, MERGE = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq", "merge")
)
_OTHER_NUMBER = re.compile(r"[-+]?(0_*[0-9][0-9_]*|[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?)")
"""Plain numbers of YAML 1.1 that are read otherwise elsewhere: 010 is 8, and 1:30 is 90."""


class Inherited(list[Any]):
    """Rules that were written for another grid.

    That is the grid of the file that is extended or overridden.

    They need not match a point of this one.
    """


yaml.SafeDumper.add_representer(Inherited, yaml.SafeDumper.represent_list)


def with_inherited_rules(content: Mapping) -> Mapping:
    """The content of a file whose rules need not match any point.

    They were written for another grid.
    """
    rules = content.get("rules")
    return {**content, "rules": Inherited(rules)} if isinstance(rules, list) else content


def is_folder(target: str | Path) -> bool:
    """Whether there is a folder at a path; not where it is no path at all."""
    try:
        return (Path(target) if isinstance(target, str) else target).is_dir()
    except (OSError, ValueError):
        return False


def is_file(target: str | Path) -> bool:
    """Whether there is a file at a path; not where it is no path at all."""
    try:
        return Path(target).is_file()
    except (OSError, ValueError):
        return False


def read_yaml(path: Path) -> Mapping:
    """The mapping that a YAML file holds.

    Raises StudyError for a file that is missing, unreadable or no mapping.
    """
    try:
        text = _text(path)
    except StudyError as error:
        raise StudyError(error.faults, source=str(path)) from None
    return parse_yaml(text, source=str(path))


def _text(path: Path) -> str:
    """The text of a file of a size that settings have.

    Devices and pipes may never end.
    """
    try:
        if is_folder(path):
            raise StudyError([Fault("", "this is a folder", "Give a YAML file")])
        if not stat.S_ISREG(path.stat().st_mode):
            raise StudyError([Fault("", "this is a device or a pipe", "Give a YAML file")])
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            message = f"holds more than {LARGEST_FILE:,} bytes"
            raise StudyError([Fault("", message, "Give a YAML file of settings")])
        return content.decode("utf-8-sig")
    except StudyError:
        raise
    except FileNotFoundError:
        raise StudyError([Fault("", "there is no such file", "Check the path")]) from None
    except UnicodeDecodeError as error:
        message = f"not a text file (byte {error.start} is not UTF-8)"
        raise StudyError([Fault("", message, "Give a YAML file in UTF-8")]) from None
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise StudyError([Fault("", message, "Check the path")]) from None
    except ValueError:  # a path with a zero byte
        raise StudyError([Fault("", "this is no path", "Check the path")]) from None


def parse_yaml(text: str, *, source: str) -> Mapping:
    """As `read_yaml`, from text; `source` names it in errors."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        faults = [] if node is None else _Check(loader).faults_of(node)
        value = None if node is None or faults else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise StudyError([Fault(where, f"not valid YAML: {problem}")], source=source) from None
    except RecursionError:
        message = "not valid YAML: mappings and lists lie too deep in each other"
        raise StudyError([Fault("", message)], source=source) from None
    except (yaml.YAMLError, ValueError) as error:
        message = " ".join(str(error).split())
        raise StudyError([Fault("", f"not valid YAML: {message}")], source=source) from None
    if faults:
        raise StudyError(faults, source=source)
    if value is None:
        raise StudyError(
            [Fault("", "the file is empty", "Write at least `name`, `model` and `grid`")],
            source=source,
        )
    if not isinstance(value, dict):
        message = f"holds a {type(value).__name__}, not settings by name"
        raise StudyError([Fault("", message, "Begin with `name: my-study`")], source=source)
    return value


class _Loader(yaml.SafeLoader):
    """SafeLoader whose merge keys follow the specification.

    Of a key that several mappings have, what stands beside `<<` wins, then the first that is
    merged. PyYAML 6.0.3 lets one of them win by where its text lies in memory.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        own = [pair for pair in node.value if pair[0].tag != MERGE]
        names = {key.value for key, _ in own}
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            if key.tag == MERGE:
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    self.flatten_mapping(part)
                    merged += [pair for pair in part.value if pair[0].value not in names]
                    names |= {below.value for below, _ in part.value}
        node.value = merged + own


class _Check:
    """Looks for what PyYAML reads in silence, or fails at.

    It does so before values are made of nodes.

    Faults of keys: a key stands twice (PyYAML keeps the last), or is no text. Faults of values: an
    alias holds itself or multiplies to more than fits a memory, or a number is read as another
    number than it looks like.
    """

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.loader = loader
        self.faults: list[Fault] = []
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def faults_of(self, node: yaml.Node) -> list[Fault]:
        """What is wrong with a document."""
        self._size(node)
        return self.faults

    def _size(self, node: yaml.Node) -> int:
        """Check a node; how many nodes it is with all that its aliases stand for."""
        if id(node) in self._open:
            self._fault(node, "an alias stands inside what it stands for", "Write the values out")
            return 1
        if id(node) not in self._sizes:
            self._open.add(id(node))
            size = 1 + sum(self._size(below) for below in self._below(node))
            if size > MOST_NODES and max(self._sizes.values(), default=0) <= MOST_NODES:
                message = f"aliases stand for {size:,} values, at most {MOST_NODES:,} can be read"
                self._fault(node, message, "Write fewer of them")
            self._sizes[id(node)] = size
            self._open.remove(id(node))
        return self._sizes[id(node)]

    def _below(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            self._tagged(node, MAPPING)
            self._keys(node)
            return [part for pair in node.value for part in pair]
        if isinstance(node, yaml.SequenceNode):
            self._tagged(node, SEQUENCE)
            return list(node.value)
        self._scalar(node)
        return []

    def _tagged(self, node: yaml.Node, tag: str) -> None:
        if node.tag != tag:
            self._fault(node, f"not valid YAML: the tag {node.tag}", "Leave the tag out")

    def _keys(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == MERGE:
                parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
                if not all(isinstance(part, yaml.MappingNode) for part in parts):
                    self._fault(key, "`<<` merges something else than mappings", "Give an alias")
            elif key.tag != TEXT:
                read = self._value(key) if isinstance(key, yaml.ScalarNode) else key.tag
                self._fault(
                    key, f"the key {read!r} is not text", "Use a name, in quotes if need be"
                )
            elif key.value in lines:
                message = f"the key `{key.value}` stands here and in line {lines[key.value]}"
                self._fault(key, message, "Keep one of the two")
            else:
                lines[key.value] = line

    def _scalar(self, node: Any) -> None:
        if node.tag in (TEXT, MERGE):
            if any("\ud800" <= letter <= "\udfff" for letter in node.value):
                self._fault(node, "half of a pair of surrogates is no letter", "Write the letter")
            return
        value = self._value(node)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and node.style is None and _OTHER_NUMBER.fullmatch(node.value):
            fix = f"Write {value}, or the number that you mean"
            self._fault(node, f"`{node.value}` is read as {value}", fix)
        if isinstance(value, int) and not -LARGEST_INT <= value <= LARGEST_INT:
            message = f"`{node.value}` is a larger number than 64 bits hold"
            self._fault(node, message, f"Use a number up to {LARGEST_INT}")

    def _value(self, node: yaml.Node) -> Any:
        try:
            return self.loader.construct_object(node)
        # PyYAML's conversions raise what Python's raise, and KeyError or AttributeError besides.
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError, yaml.YAMLError):
            what = node.tag.rpartition(":")[2]
            self._fault(node, f"not valid YAML: `{node.value}` is no {what}", "Leave the tag out")
            return None

    def _fault(self, node: yaml.Node, message: str, fix: str) -> None:
        self.faults.append(Fault(f"line {node.start_mark.line + 1}", message, fix))


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

    The path of `extends` starts from the file that names it. Paths in settings start from the file
    that is launched: those of an extended file in another folder then mean another place.
    """
    chain: list[Path] = []
    merged: Mapping = {}
    while True:
        content = read_yaml(path)
        if path.resolve() in chain:
            names = " -> ".join(p.name for p in [*chain, path])
            raise StudyError(
                [Fault("extends", f"the files extend each other: {names}")], source=str(path)
            )
        chain.append(path.resolve())
        parent = content.pop("extends", None)
        merged = merge(with_inherited_rules(content) if len(chain) > 1 else content, merged)
        if parent is None:
            return merged
        if not isinstance(parent, str):
            fault = Fault("extends", f"{parent!r} is not a path", "Give the path of one YAML file")
            raise StudyError([fault], source=str(path))
        path = path.parent / parent
