"""The space of a search: settings and schedule families with their values.

A value is written `{float: [low, high]}`, `{log: [low, high]}` (a float on a logarithmic scale),
`{int: [low, high]}` or `{choice: [a, b, c]}`. The parameters of a schedule family exist only in
trials of that family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from study.config import SHORT_NAMES, full_path, known_paths
from study.settings.base import Float
from study.settings.faults import Fault, nearest

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

SCHEDULE = "train.schedule"
FAMILIES = ("constant", "linear", "cosine", "exponential", "multistep", "wsd")
SEEDS = ("seed", "data.seed", "train.init_seed", "train.shuffle_seed")
KINDS = ("float", "log", "int", "choice")
WRITTEN = (
    "Write `{float: [low, high]}`, `{log: [low, high]}`, `{int: [low, high]}` or `{choice: [a, b]}`"
)
_FLOATS = TypeAdapter(list[Float])

Assignment = dict[str, Any]
"""Dotted path -> value, as a study takes it."""


@dataclass(frozen=True)
class Dimension:
    """The values that one setting may take: from low to high, or one of several."""

    kind: str
    values: tuple[Any, ...]

    def suggest(self, trial: BaseTrial, name: str) -> Any:
        """A value for the parameter `name` of an Optuna trial."""
        if self.kind == "choice":
            return trial.suggest_categorical(name, list(self.values))
        low, high = self.values
        if self.kind == "int":
            return trial.suggest_int(name, low, high)
        return trial.suggest_float(name, low, high, log=self.kind == "log")


Node = Dimension | list[Any] | str | int | float | bool | None
"""A setting of a schedule: searched, a list of searched or fixed values, or fixed."""


@dataclass(frozen=True)
class Space:
    """What is searched.

    settings  their dimensions by dotted path
    families  families of schedules, each with settings of its own
    """

    settings: Mapping[str, Dimension]
    families: Mapping[str, Mapping[str, Node]] = field(default_factory=dict)

    def suggest(self, trial: BaseTrial) -> Assignment:
        """Settings for an Optuna trial.

        Its parameters are named by path: `train.lr`, `train.schedule` (the family),
        `train.schedule.cosine.floor`, `train.schedule.multistep.milestones[0]`.
        """
        settings: Assignment = {
            path: dimension.suggest(trial, path) for path, dimension in self.settings.items()
        }
        if self.families:
            family = trial.suggest_categorical(SCHEDULE, list(self.families))
            nodes = self.families[family]
            own = {
                name: _suggest(node, trial, f"{SCHEDULE}.{family}.{name}")
                for name, node in nodes.items()
            }
            settings[SCHEDULE] = {"kind": family, **own}
        return settings

    def resolved(self) -> Space:
        """The space with numbers as numbers, however they are written: for comparing two."""
        families = {
            family: {name: _resolved(node) for name, node in nodes.items()}
            for family, nodes in self.families.items()
        }
        return Space(
            {path: _resolved_dimension(each) for path, each in self.settings.items()}, families
        )

    def probes(self) -> Iterator[tuple[Assignment, dict[str, str]]]:
        """Points at the edges of the space.

        Every dimension is once at each of its ends (a choice at each value), with the others at
        their first. With each point comes where in the search file its values stand, by dotted
        path.
        """
        for family in self.families or [None]:
            ends = {path: [dimension] for path, dimension in self.settings.items()}
            nodes = {} if family is None else self.families[family]
            ends |= {
                f"{SCHEDULE}.{family}.{name}": list(_dimensions(node))
                for name, node in nodes.items()
            }
            yield self._probe(family, None, None)
            for dimensions in ends.values():
                for dimension in dimensions:
                    for value in dimension.values[1:]:
                        yield self._probe(family, dimension, value)

    def _probe(
        self, family: str | None, moved: Dimension | None, value: Any
    ) -> tuple[Assignment, dict[str, str]]:
        def at(node: Node) -> Any:
            if isinstance(node, list):
                return [at(item) for item in node]
            if isinstance(node, Dimension):
                return value if node is moved else node.values[0]
            return node

        point: Assignment = {path: at(dimension) for path, dimension in self.settings.items()}
        origins = {path: f"search.space.{path}" for path in self.settings}
        if family is not None:
            nodes = self.families[family]
            location = f"search.space.{SCHEDULE}.{family}"
            point[SCHEDULE] = {"kind": family, **{name: at(node) for name, node in nodes.items()}}
            origins |= {SCHEDULE: location} | {
                f"{SCHEDULE}.{name}": f"{location}.{name}" for name in nodes
            }
        return point, origins


def _resolved(node: Node) -> Node:
    if isinstance(node, list):
        return [_resolved(item) for item in node]
    return _resolved_dimension(node) if isinstance(node, Dimension) else _number(node)


def _resolved_dimension(dimension: Dimension) -> Dimension:
    return Dimension(dimension.kind, tuple(_number(value) for value in dimension.values))


def _number(value: Any) -> Any:
    """A value as a number where settings would read it as one: `1e-3` is text in YAML."""
    try:
        return _FLOATS.validate_python([value], strict=True)[0]
    except ValidationError:
        return value


def _suggest(node: Node, trial: BaseTrial, name: str) -> Any:
    if isinstance(node, list):
        return [_suggest(item, trial, f"{name}[{number}]") for number, item in enumerate(node)]
    return node.suggest(trial, name) if isinstance(node, Dimension) else node


def _dimensions(node: Node) -> Iterator[Dimension]:
    if isinstance(node, list):
        for item in node:
            yield from _dimensions(item)
    elif isinstance(node, Dimension):
        yield node


def read_space(content: Any, faults: list[Fault]) -> Space:
    """The part of a space that can be used; what cannot goes to `faults`."""
    settings: dict[str, Dimension] = {}
    families: dict[str, dict[str, Node]] = {}
    if not isinstance(content, dict) or not content:
        faults.append(
            Fault(
                "search.space",
                f"is {content!r}, not ranges by path",
                f"{WRITTEN}, each below a dotted path",
            )
        )
        return Space(settings, families)
    known = known_paths(execution=False)
    for name, value in content.items():
        path, location = full_path(str(name)), f"search.space.{name}"
        if path == SCHEDULE:
            families = _read_families(value, location, faults)
        elif path not in known:
            faults.append(
                Fault(location, "unknown setting", nearest(str(name), [*SHORT_NAMES, *known]))
            )
        elif (fix := _why_not(path)) is not None:
            faults.append(Fault(location, "cannot be searched", fix))
        elif path in settings:
            faults.append(
                Fault(
                    location,
                    f"is {path}, which is searched under another name already",
                    "Keep one of the two",
                )
            )
        elif (dimension := _read_dimension(value, location, faults)) is not None:
            settings[path] = dimension
    return Space(settings, families)


def _why_not(path: str) -> str | None:
    """What to do about a setting that a space cannot hold."""
    if path in SEEDS:
        return "Seeds are what a result must hold for"
    if path.startswith(f"{SCHEDULE}."):
        return f"Write it below `{SCHEDULE}:`"
    if path.partition(".")[0] in ("measure", "precision", "precision_options"):
        return (
            "A trial is a training, and this is how one is measured: "
            "set it in the study, precisions in its grid"
        )
    return None


def _read_families(value: Any, location: str, faults: list[Fault]) -> dict[str, dict[str, Node]]:
    if not isinstance(value, dict) or not value:
        fix = "Write `{constant: {}, cosine: {warmup: {float: [0, 0.2]}}}`"
        faults.append(Fault(location, f"is {value!r}, not families by name", fix))
        return {}
    families: dict[str, dict[str, Node]] = {}
    for family, nodes in value.items():
        if family not in FAMILIES:
            faults.append(
                Fault(f"{location}.{family}", "unknown schedule", nearest(str(family), FAMILIES))
            )
        elif not isinstance(nodes, dict | None):
            fix = f"Write `{family}: {{warmup: {{float: [0, 0.2]}}}}`, or `{family}: {{}}`"
            faults.append(Fault(f"{location}.{family}", f"is {nodes!r}, not settings by name", fix))
        else:
            if "kind" in (nodes or {}):
                faults.append(
                    Fault(f"{location}.{family}.kind", "is the family's own name", "Leave it out")
                )
            read = {
                name: _read_node(node, f"{location}.{family}.{name}", faults)
                for name, node in (nodes or {}).items()
            }
            families[family] = {name: node for name, node in read.items() if node is not None}
    return families


def _read_node(value: Any, location: str, faults: list[Fault]) -> Node:
    if isinstance(value, list):
        return [
            _read_node(item, f"{location}[{number}]", faults) for number, item in enumerate(value)
        ]
    return _read_dimension(value, location, faults) if isinstance(value, dict) else value


def _read_dimension(value: Any, location: str, faults: list[Fault]) -> Dimension | None:
    """A dimension, or None and a fault."""
    if not isinstance(value, dict) or len(value) != 1:
        faults.append(Fault(location, f"is {value!r}", WRITTEN))
        return None
    ((kind, content),) = value.items()
    if kind not in KINDS:
        faults.append(Fault(location, f"is `{kind}`", nearest(str(kind), KINDS)))
        return None
    problem = _choice_problem(content) if kind == "choice" else _range_problem(kind, content)
    if problem is not None:
        faults.append(Fault(f"{location}.{kind}", f"is {content!r}", problem))
        return None
    return Dimension(
        kind, tuple(_FLOATS.validate_python(content) if kind in ("float", "log") else content)
    )


def _choice_problem(values: Any) -> str | None:
    if not isinstance(values, list) or not values:
        return "List the values: `{choice: [a, b]}`"
    if not all(item is None or isinstance(item, str | int | float | bool) for item in values):
        return "Each value must be a number, a text, true, false or null"
    twice = len({repr(_number(item)) for item in values}) < len(values)
    return "A value stands there twice" if twice else None


def _range_problem(kind: str, ends: Any) -> str | None:
    if not isinstance(ends, list) or len(ends) != 2:
        return f"Give two ends: `{{{kind}: [low, high]}}`"
    if kind == "int" and not all(
        isinstance(end, int) and not isinstance(end, bool) for end in ends
    ):
        return "Both ends must be whole numbers"
    try:
        low, high = _FLOATS.validate_python(ends)
    except ValidationError:
        return "Both ends must be numbers"
    if not low < high:  # also where one of them is NaN
        return "The low end must come first and be smaller"
    if high == float("inf") or low == float("-inf"):
        return "Both ends must be finite"
    return (
        "On a logarithmic scale the low end must be above 0" if kind == "log" and low <= 0 else None
    )
