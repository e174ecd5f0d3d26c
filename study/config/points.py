"""What is wrong with the points of a grid."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from study.config.cell import COLUMNS, CellConfig, PointSettings, completed
from study.config.execution import KEEP, Resources
from study.config.grid_file import Rule
from study.config.paths import full_path
from study.config.study import Point, StudyConfig, matches
from study.settings.faults import Fault
from study.settings.schema import INVALID, setting
from study.settings.validation import validation_faults

MOST_POINTS = 20_000
"""Points of a grid. A run keeps a file for each cell, and a launch looks at each."""

MOST_FAULTS, POINTS_WITH_FAULTS = 200, 1_000
"""Checking a file that has faults ends after this many of them, or this many points."""


def grid_faults(
    study: StudyConfig, searched: Collection[str], *, unsound: bool, inherited: bool
) -> list[Fault]:
    """What is wrong with the points of a grid, and with rules that match none of them."""
    count = sum(math.prod(map(len, axes.values())) for axes in study.grid)
    if count > MOST_POINTS:
        fix = "List fewer values an axis, or make several studies of it"
        return [Fault("grid", f"has {count:,} points, at most {MOST_POINTS:,} can be run", fix)]
    faults: dict[Fault, None] = {}
    matching = set[int]()
    sound: dict[str, Any] | None = None  # resources of the last point, if they have no fault
    for number, point in enumerate(study.all_points):
        matching |= point.rules
        # An axis that could not be read leaves its setting out: that it is missing would be an echo
        # of the same fault.
        found = list(point_faults(point, resources=point.resources != sound))
        faults |= dict.fromkeys(
            fault for fault in found if not (unsound and fault.message == "is missing")
        )
        sound = None if found else point.resources
        if len(faults) > MOST_FAULTS or (faults and number > POINTS_WITH_FAULTS):
            return list(faults)
    if unsound or inherited:
        return list(faults)
    for number, rule in enumerate(study.rules):
        conditions = {full_path(path) for path in rule.when}
        if number not in matching and not conditions & set(searched):
            faults[_unmatched(study, rule, f"rules[{number}].when")] = None
    return list(faults)


def matched_faults(study: StudyConfig) -> Iterator[Fault]:
    """What is wrong with the axis whose levels are compared at equal loss."""
    matched = study.analysis.matched
    if matched is None:
        return
    place, levels = "analysis.matched", _levels(study)
    known = ", ".join(levels) or "none"
    for name, where in (
        (matched.axis, "axis"),
        *((name, f"free[{number}]") for number, name in enumerate(matched.free)),
    ):
        if full_path(name) not in levels:
            fix = f"Axes of the grid: {known}"
            yield Fault(f"{place}.{where}", f"{name!r} is no axis of the grid", fix)
    values = levels.get(full_path(matched.axis), [])
    if full_path(matched.axis) in map(full_path, matched.free):
        fix = "Take it out: its levels are what is compared"
        yield Fault(f"{place}.free", f"holds the axis itself, {matched.axis}", fix)
    if values and matched.baseline not in values:
        message = f"{matched.baseline!r} is no level of {matched.axis}"
        yield Fault(f"{place}.baseline", message, f"Levels: {', '.join(map(str, values))}")
    elif values and all(value == matched.baseline for value in values):
        fix = "List a second level of it in the grid"
        yield Fault(f"{place}.axis", f"{matched.axis} has one level", fix)


def _levels(study: StudyConfig) -> dict[str, list[Any]]:
    """The values of each axis over all parts of the grid, by its path."""
    levels: dict[str, list[Any]] = {}
    for axes in study.grid:
        for axis, values in axes.items():
            levels.setdefault(full_path(axis), []).extend(values)
    return levels


def intervention_faults(study: StudyConfig) -> Iterator[Fault]:
    """Interventions that are no axis of the grid with two levels, or are named twice."""
    levels = _levels(study)
    apart = ("seed", "train.init_seed", "train.shuffle_seed", "data.seed")
    axes_of_grid = [
        axis
        for axis, values in levels.items()
        if axis not in apart
        and not axis.startswith(("precision", "measure."))
        and len({json.dumps(value, sort_keys=True, default=repr) for value in values}) > 1
    ]
    known = ", ".join(axes_of_grid) or "none, so list two levels of one in the grid"
    named = [full_path(name) for name in study.analysis.intervention]
    for number, path in enumerate(named):
        place = f"analysis.intervention[{number}]"
        within = any(path == axis or path.startswith(f"{axis}.") for axis in axes_of_grid)
        if within and path not in COLUMNS:
            parts = ", ".join(column for column in COLUMNS if column.startswith(f"{path}."))
            yield Fault(place, f"{path} is several settings", f"Name one of {parts}")
        elif not within:
            message = (
                f"{study.analysis.intervention[number]!r} is no setting that trainings differ in"
            )
            yield Fault(place, message, f"Axes with two levels: {known}")
        elif path in named[:number]:
            yield Fault(place, f"names {path} a second time", "Keep it once")


def _unmatched(study: StudyConfig, rule: Rule, place: str) -> Fault:
    """The fault of a rule that matches no point of the grid."""
    fix = "Change what it asks for, or take the rule out"
    points = [
        completed({**point.settings, "resources": point.resources, "keep": point.keep})
        for point in study.all_points
    ]
    for path, values in rule.when.items():
        if not any(matches(tree, {path: values}) for tree in points):
            settings = dict.fromkeys(
                repr(_shown(setting(PointSettings, tree, full_path(path)))) for tree in points
            )
            first, more = list(settings)[:5], ", ..." if len(settings) > 5 else ""
            message = f"matches no point: {path} is {', '.join(first)}{more}, never {values!r}"
            return Fault(place, message, fix)
    return Fault(place, "matches no point: what it asks for never comes together", fix)


def _shown(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return None if value is INVALID else value


def point_faults(point: Point, *, resources: bool) -> Iterator[Fault]:
    """What is wrong with a point; with its `resources` only if they are asked for."""
    try:
        _ = point.config
    except ValidationError:
        yield from validation_faults(CellConfig, point.settings, origins=point.origins)
    if resources:
        yield from validation_faults(
            Resources, point.resources, prefix="resources", origins=point.origins
        )
    if point.keep not in KEEP:
        yield Fault(
            point.origins.get("keep", "keep"), f"is {point.keep!r}", "Use `all`, `last` or `none`"
        )
