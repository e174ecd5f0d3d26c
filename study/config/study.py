"""A study as settings, and the points of its grid."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from study.config.cell import CellConfig, PointSettings, completed
from study.config.declared import AnalysisConfig, Tuned
from study.config.execution import Resources
from study.config.grid_file import Rule
from study.config.paths import full_path, put
from study.settings.base import Settings
from study.settings.schema import setting
from study.settings.yaml_files import merge


@dataclass(frozen=True)
class Point:
    """One point of the grid, raw.

    Nested settings, its execution settings, where each value came from, and the numbers of the
    rules that matched.
    """

    settings: dict[str, Any]
    resources: dict[str, Any]
    keep: Any
    origins: Mapping[str, str] = field(compare=False)
    rules: frozenset[int] = field(compare=False)

    @cached_property
    def config(self) -> CellConfig:
        """Its settings as validation makes them; pydantic's error where it finds faults."""
        return CellConfig.model_validate(self.settings)


class StudyConfig(Settings):
    """A study: shared settings, axes of its grid, rules, and where it runs."""

    name: str
    """Name of the study and of the folder of its run: letters, digits, `.`, `_` and `-`."""
    settings: dict[str, Any]
    grid: list[dict[str, list[Any]]]
    rules: list[Rule] = []
    """Settings of points `when` others have one of some values: `set` them."""
    resources: Resources = Resources()
    keep: Literal["all", "last", "none"] = "all"
    """Checkpoints whose weights stay on disk."""
    analysis: AnalysisConfig = AnalysisConfig()
    tuned: Tuned | None = None
    folder: Path = Field(default=Path(), exclude=True)

    @cached_property
    def all_points(self) -> tuple[Point, ...]:
        """Every point of the grid, made and validated once for all who walk it whole."""
        return tuple(self.points())

    def points(self) -> Iterator[Point]:
        """Every point of the grid in the order of the file.

        A point that is written twice alike comes once; of points that are the same once resolved
        `study.grid.expand` makes one cell.
        """
        identities: set[str] = set()
        execution = {"resources": self.resources.model_dump(exclude_unset=True), "keep": self.keep}
        for number, axes in enumerate(self.grid):
            place = "grid" if len(self.grid) == 1 else f"grid[{number}]"
            for indices in itertools.product(*(range(len(values)) for values in axes.values())):
                tree = merge(self.settings, execution)
                origins: dict[str, str] = {}
                for (axis, values), index in zip(axes.items(), indices, strict=True):
                    put(tree, full_path(axis), values[index])
                    origins[full_path(axis)] = f"{place}.{axis}[{index}]"
                matching = set[int]()
                for position, rule in enumerate(self.rules):
                    if matches(tree, rule.when):
                        matching.add(position)
                        for path, value in rule.set.items():
                            put(tree, full_path(path), value)
                            origins[full_path(path)] = f"rules[{position}].set.{path}"
                resources, keep = tree.pop("resources"), tree.pop("keep")
                identity = json.dumps(tree, sort_keys=True, default=repr)
                if identity not in identities:
                    identities.add(identity)
                    yield Point(tree, resources, keep, origins, frozenset(matching))

    def as_yaml(self) -> dict[str, Any]:
        """The mapping that `study_from` reads back to this study.

        What a run keeps of its YAML.
        """
        grid = self.grid[0] if len(self.grid) == 1 else self.grid
        rules = [rule.model_dump() for rule in self.rules]
        values = {
            "name": self.name,
            **self.settings,
            "resources": self.resources.model_dump(exclude_none=True),
        }
        rest = {
            "rules": rules,
            "analysis": self.analysis.model_dump(exclude_defaults=True),
            "tuned": self.tuned and self.tuned.model_dump(),
        }
        return {
            **values,
            "keep": self.keep,
            "grid": grid,
            **{name: value for name, value in rest.items() if value},
        }


def matches(tree: dict[str, Any], when: dict[str, Any]) -> bool:
    """Whether all settings have one of the values, as validation reads both."""
    return all(
        any(_has(tree, full_path(path), value) for value in _listed(values))
        for path, values in when.items()
    )


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _has(tree: dict[str, Any], path: str, value: Any) -> bool:
    """Whether a setting would be the same if `value` were put in its place."""
    other = dict(tree)
    put(other, path, value)
    return bool(
        setting(PointSettings, completed(tree), path)
        == setting(PointSettings, completed(other), path)
    )
