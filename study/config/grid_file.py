"""The parts of a study file that are no settings: its keys, axes and rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from study.config.declared import AnalysisConfig, Tuned
from study.config.execution import KEEP, Resources
from study.config.paths import SHORT_NAMES, full_path, known_paths
from study.settings.base import Settings
from study.settings.faults import Fault, nearest
from study.settings.validation import validation_faults

SECTIONS = ("data", "model", "train", "measure", "precision", "precision_options", "seed")

TOP_LEVEL = (
    "name",
    *SECTIONS,
    "resources",
    "keep",
    "grid",
    "rules",
    "analysis",
    "tuned",
    "extends",
)

OTHER_FILES = {
    "search": "This is a search: collapse-study tune",
    "unit": "This describes a table: collapse-study report TABLE --columns",
}
"""Settings that only another kind of file has, with the command that takes it."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Rule(Settings):
    """`when` all these settings have one of these values, `set` others."""

    when: dict[str, Any]
    set: dict[str, Any]


def structure_faults(content: dict[str, Any]) -> Iterator[Fault]:
    for key in content:
        if key not in TOP_LEVEL:
            fix = OTHER_FILES.get(key) or nearest(str(key), TOP_LEVEL)
            yield Fault(str(key), "unknown setting", fix)
    name = content.get("name")
    if name is None:
        yield Fault("name", "is missing", "Give the study a name, such as `name: my-study`")
    elif not isinstance(name, str) or not NAME.fullmatch(name):
        yield Fault(
            "name",
            f"{name!r} is no name for a folder",
            "Use letters, digits, `.`, `_` and `-`; no path",
        )
    groups = ("data", "model", "train", "measure", "precision_options")
    for key in (*groups, "resources", "analysis", "tuned"):
        if key in content and not isinstance(content[key], dict):
            yield Fault(
                key,
                f"is {content[key]!r}, not settings by name",
                f"Write `{key}: {{setting: value}}`",
            )
    if isinstance(content.get("resources", {}), dict):
        yield from validation_faults(Resources, content.get("resources", {}), prefix="resources")
    for key, kind in (("analysis", AnalysisConfig), ("tuned", Tuned)):
        if isinstance(content.get(key), dict):
            yield from validation_faults(kind, content[key], prefix=key)
    if content.get("keep", "all") not in KEEP:
        yield Fault("keep", f"is {content['keep']!r}", "Use `all`, `last` or `none`")


def read_grid(grid: Any, faults: list[Fault]) -> list[dict[str, list[Any]]]:
    """The axes that can be used; what cannot goes to `faults`."""
    known = known_paths(execution=False)
    sound: list[dict[str, list[Any]]] = []
    for number, mapping in enumerate(grid if isinstance(grid, list) else [grid]):
        place = "grid" if not isinstance(grid, list) else f"grid[{number}]"
        if not isinstance(mapping, dict):
            faults.append(
                Fault(
                    place,
                    f"is {mapping!r}, not axes by name",
                    "Write `grid: {width: [64, 128], seed: [0]}`",
                )
            )
            continue
        axes: dict[str, list[Any]] = {}
        for axis, values in mapping.items():
            twin = next((other for other in axes if full_path(other) == full_path(axis)), None)
            if full_path(axis) not in known:
                faults.append(
                    Fault(f"{place}.{axis}", "unknown axis", nearest(axis, [*SHORT_NAMES, *known]))
                )
            elif not isinstance(values, list):
                faults.append(
                    Fault(
                        f"{place}.{axis}",
                        f"is {values!r}, not a list",
                        f"Write `{axis}: [{values}]`",
                    )
                )
            elif not values:
                faults.append(
                    Fault(
                        f"{place}.{axis}", "is an empty list", "List a value, or leave the axis out"
                    )
                )
            elif twin:
                faults.append(
                    Fault(f"{place}.{axis}", f"sets the same as `{twin}`", "Keep one of the two")
                )
            else:
                axes[axis] = values
        sound.append(axes)
    return sound


def read_rules(rules: Any, axes: set[str], faults: list[Fault]) -> list[Rule]:
    """The rules that can be used; what cannot goes to `faults`."""
    if not isinstance(rules, list):
        faults.append(
            Fault(
                "rules", f"is {rules!r}, not a list", "Write `rules: [{when: {...}, set: {...}}]`"
            )
        )
        return []
    sound = []
    for number, rule in enumerate(rules):
        rule_faults = list(_rule_faults(rule, f"rules[{number}]", axes))
        faults += rule_faults
        if not rule_faults:
            sound.append(Rule(**rule))
    return sound


def _rule_faults(rule: Any, place: str, axes: set[str]) -> Iterator[Fault]:
    if (
        not isinstance(rule, dict)
        or set(rule) != {"when", "set"}
        or not all(isinstance(v, dict) for v in rule.values())
    ):
        yield Fault(
            place, f"is {rule!r}", "Write `{when: {depth: [8, 12]}, set: {train.batch_size: 4}}`"
        )
        return
    known = known_paths(execution=True)
    for part in ("when", "set"):
        for path in rule[part]:
            if full_path(str(path)) not in known:
                yield Fault(
                    f"{place}.{part}.{path}",
                    "unknown setting",
                    nearest(str(path), [*SHORT_NAMES, *known]),
                )
    for path in rule["set"]:
        target = full_path(str(path))
        if any(
            target == axis or target.startswith(f"{axis}.") or axis.startswith(f"{target}.")
            for axis in axes
        ):
            yield Fault(
                f"{place}.set.{path}",
                "is an axis of the grid",
                "List the values in the grid instead",
            )
        if "precision" in rule["when"] and not target.startswith("precision_options."):
            message = (
                "depends on `precision`, but all precisions of a point share one training and its "
                "samples"
            )
            yield Fault(
                f"{place}.set.{path}",
                message,
                "Under `when: precision` set only `precision_options.*`",
            )
