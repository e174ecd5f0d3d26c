"""A search file: a study, and under `search` what to look for.

With the space, the constraints, and how long.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from study.columns import METRICS, OF_OTHER_DATA, columns_of_sets, metric_of
from study.columns.attacks import ATTACKS
from study.config import MOST_POINTS, CellConfig, StudyConfig, full_path, put, study_from
from study.data import DATA_KINDS
from study.grid import Cell, Training, expand, trainings
from study.launching.declared import declared_faults
from study.search.space import SCHEDULE, Assignment, Space, read_space
from study.settings.base import NonNegativeInt, PositiveInt, Settings
from study.settings.faults import Fault, StudyError, nearest
from study.settings.validation import validation_faults
from study.settings.yaml_files import read_extended, with_inherited_rules
from study.store.reference import reference_precision

LEAST_SEEDS, MOST_SEEDS = 6, 20
"""Seeds of a confirmation.

Both arms are paired by their seed: with five pairs no p of exact sign flips is below .06; with
twenty it enumerates a million patterns.
"""
_CONSTRAINT = re.compile(r"\s*(\w+)\s*(>=|<=)\s*(\S+)\s*")


class SearchConfig(Settings):
    """What is looked for and how.

    `confirm`: number of fresh seeds on which the winner and the study as it is are compared.
    """

    objective: Annotated[dict[str, Literal["minimize", "maximize"]], Field(min_length=1)]
    """Columns and their better direction; several give a front."""
    constraints: list[str] = []
    """Conditions such as `train_accuracy >= 0.99`, a text each."""
    trials: Annotated[PositiveInt, Field(le=MOST_POINTS)]
    """Number of complete trials that are asked for."""
    sampler: Literal["tpe", "random", "nsga2"] = "tpe"
    """How Optuna suggests settings."""
    seed: NonNegativeInt = 0
    """Seed of the sampler."""
    pruning: Literal["median", "hyperband"] | None = None
    """Whether and how hopeless trials end early; null = never."""
    confirm: NonNegativeInt = 0
    """Fresh seeds on which the winner and the study as it is are compared; 0 = none."""
    space: dict[str, Any]
    """Settings by path: `{float | log | int: [low, high]}`, `{choice: [a, b]}`; schedules."""


@dataclass(frozen=True)
class Constraint:
    """`column >= bound` or `column <= bound`."""

    column: str
    relation: str
    bound: float

    def __str__(self) -> str:
        return f"{self.column} {self.relation} {self.bound:.15g}"

    def violation(self, value: float) -> float:
        """How far a value is on the wrong side.

        At most 0 where the constraint holds, as Optuna takes it.
        """
        return self.bound - value if self.relation == ">=" else value - self.bound


@dataclass(frozen=True)
class Search:
    """A search file that can be used.

    `content` is the study's part of it, before anything is suggested.
    """

    config: SearchConfig
    constraints: tuple[Constraint, ...]
    space: Space
    content: dict[str, Any]
    study: StudyConfig
    source: str

    @cached_property
    def default(self) -> Training:
        """The training of the study as it is: the untuned default."""
        return self.training({})

    @property
    def columns(self) -> tuple[str, ...]:
        """The objectives."""
        return tuple(self.config.objective)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Columns that every trial must have a value of."""
        return tuple(
            dict.fromkeys([*self.columns, *(constraint.column for constraint in self.constraints)])
        )

    @property
    def most_epochs(self) -> int:
        """The longest that a trial trains."""
        searched = self.space.settings.get("train.epochs")
        return self.default.first.config.train.epochs if searched is None else max(searched.values)

    def with_settings(
        self, values: Assignment, *, seeds: list[int] | None = None
    ) -> dict[str, Any]:
        """The study's file with other settings, and on other seeds."""
        content = copy.deepcopy(self.content)
        for path, value in values.items():
            put(content, path, value)
        if seeds is not None:
            content.pop("seed", None)
            grids = content.get("grid", {})
            listed = grids if isinstance(grids, list) else [grids]
            content["grid"] = [{**axes, "seed": seeds} for axes in listed]
        return content

    def cells(self, values: Assignment, *, seeds: list[int] | None = None) -> tuple[Cell, ...]:
        """Cells of the study with other settings.

        Raises StudyError where these do not go together.
        """
        return expand(self.study_with(values, seeds=seeds))

    def study_with(self, values: Assignment, *, seeds: list[int] | None = None) -> StudyConfig:
        """The study with other settings; as `cells`.

        Its rules were checked with the search: in a trial one may match nothing.
        """
        return study_from(
            with_inherited_rules(self.with_settings(values, seeds=seeds)),
            folder=self.study.folder,
            source=self.source,
        )

    def training(self, values: Assignment) -> Training:
        """The one training of the study with other settings.

        Raises StudyError where these do not go together.
        """
        (training,) = trainings(self.cells(values))
        return training

    def definition(self) -> dict[str, Any]:
        """What must stay the same for trials of several launches to be one search."""
        return {
            "search.objective": dict(self.config.objective),
            "search.constraints": [str(constraint) for constraint in self.constraints],
            "search.space": self.config.space,
            "the study": reference_cell(self.default).key,
        }


def reference_cell(training: Training) -> Cell:
    """The cell whose rows count: that at the reference precision."""
    cells = {cell.config.precision: cell for cell in reversed(training.cells)}
    return cells[reference_precision(cell.config.precision for cell in training.cells)]


def load_search(path: str | Path) -> Search:
    """The search of a YAML file.

    Raises StudyError with all faults of the file, each with its path and its fix.
    """
    path = Path(path)
    return search_from(read_extended(path), folder=path.resolve().parent, source=str(path))


def search_from(content: dict[str, Any], *, folder: Path, source: str) -> Search:
    """As `load_search`, from the mapping itself.

    Relative paths in it resolve against `folder`.
    """
    section = content.get("search")
    content = {key: value for key, value in content.items() if key != "search"}
    faults: list[Fault] = []
    space = Space({})
    if isinstance(section, dict) and "space" in section:
        space = read_space(section["space"], faults)
    study: StudyConfig | None = None
    try:
        searched = [*space.settings, *([SCHEDULE] if space.families else [])]
        study = study_from(content, folder=folder, source=source, searched=searched)
    except StudyError as error:
        faults += error.faults
    if not isinstance(section, dict):
        message = "is missing" if section is None else f"is {section!r}, not settings by name"
        fix = (
            "Write `search: {objective: {nc1_ratio: minimize}, trials: 30, "
            "space: {train.lr: {log: [1e-4, 1]}}}`"
        )
        raise StudyError([*faults, Fault("search", message, fix)], source=source)
    shape = list(validation_faults(SearchConfig, section, prefix="search"))
    faults += shape
    constraints = tuple(_read_constraints(section.get("constraints", []), faults))
    faults += _column_faults(section, constraints)
    if study is not None:
        faults += declared_faults(study)
        faults += _study_faults(study, space)
        faults += _edge_faults(study, space)
        if not shape:
            faults += _absent_faults(section, constraints, study, space)
        if not shape:
            faults += _plan_faults(SearchConfig(**section), study)
    if faults or study is None:
        raise StudyError(faults, source=source)
    return Search(SearchConfig(**section), constraints, space, content, study, source)


def _read_constraints(lines: Any, faults: list[Fault]) -> Iterator[Constraint]:
    for number, text in enumerate(lines if isinstance(lines, list) else []):
        location, fix = (
            f"search.constraints[{number}]",
            "Write `train_accuracy >= 0.99` or `val_loss <= 2`",
        )
        match = _CONSTRAINT.fullmatch(text) if isinstance(text, str) else None
        try:
            bound = float(match[3]) if match else float("nan")
        except ValueError:
            bound = float("nan")
        if match is None or not abs(bound) < float("inf"):
            faults.append(Fault(location, f"is {text!r}", fix))
        else:
            yield Constraint(match[1], match[2], bound)


def _column_faults(section: dict[str, Any], constraints: tuple[Constraint, ...]) -> Iterator[Fault]:
    objective = section.get("objective")
    named = (
        [(f"search.objective.{name}", str(name)) for name in objective]
        if isinstance(objective, dict)
        else []
    )
    named += [
        (f"search.constraints[{n}]", constraint.column) for n, constraint in enumerate(constraints)
    ]
    for location, name in named:
        if metric_of(name) is None:
            yield Fault(location, f"unknown column {name!r}", nearest(name, METRICS))


def _absent_faults(
    section: dict[str, Any], constraints: tuple[Constraint, ...], study: StudyConfig, space: Space
) -> Iterator[Fault]:
    """Columns that no trial of the study can have a value of."""
    objective = section.get("objective")
    named = [(f"search.objective.{name}", name) for name in objective or ()]
    named += [(f"search.constraints[{n}]", each.column) for n, each in enumerate(constraints)]
    data = CellConfig.model_validate(next(study.points()).settings).data
    searched = {path.rpartition(".")[2] for path in space.settings if path.startswith("data.")}
    even = data.has_even_classes and not {"imbalance_ratio", "kind"} & searched
    with_floor = [kind.model_fields["kind"].default for kind in DATA_KINDS if kind.has_floor]
    for place, name in named:
        absent = name not in columns_of_sets(data.ood_sets) and "ood" not in searched
        if name.startswith(OF_OTHER_DATA) and absent:
            fix = "Give data.ood, or look for another column"
            sets = ", ".join(data.ood_sets) or "none"
            yield Fault(place, f"{name} needs other data, and data.ood names {sets}", fix)
        elif name.startswith("group_") and not data.is_grouped and "group" not in searched:
            fix = "Give data.group, or look for another column"
            yield Fault(place, f"{name} needs groups of samples, and data.group names none", fix)
        elif name in ATTACKS:
            fix = "Look for another column, or make a study with measure.attack of the winner"
            yield Fault(place, f"{name} is of samples under attack, a trial of clean ones", fix)
        elif name.startswith("minority_") and even:
            fix = "Set data.imbalance_ratio above 1, or look for another column"
            yield Fault(place, f"{name} needs small classes, and all are equally large", fix)
        elif name.endswith("_refmeans") or name in ("logits_error", "mean_drift"):
            fix = "Look for another column"
            message = f"{name} compares two precisions, and a trial is judged at the reference's"
            yield Fault(place, message, fix)
        elif name == "entropy_floor" and not data.has_floor:
            fix = f"Use data.kind {' or '.join(with_floor)}, or look for another column"
            yield Fault(place, f"{name} is known of {' and '.join(with_floor)} alone", fix)


def _study_faults(study: StudyConfig, space: Space) -> Iterator[Fault]:
    """A trial is one training; what is searched must be what the study leaves alone."""
    groups = trainings(expand(study))
    if len(groups) != 1:
        axes = [
            f"{axis}: {values}"
            for axes in study.grid
            for axis, values in axes.items()
            if len(values) > 1
        ]
        listed = f" ({', '.join(axes)})" if axes else ""
        yield Fault(
            "grid",
            f"gives {len(groups)} trainings{listed}",
            "A trial is one training: list one value an axis",
        )
    elif len({cell.config.precision for cell in groups[0].cells}) < len(groups[0].cells):
        fix = (
            "Of axes other than `precision`, list one value each: "
            "a trial has one row to be judged by"
        )
        yield Fault("grid", "measures a training more than once at one precision", fix)
    searched = [*space.settings, *([SCHEDULE] if space.families else [])]
    for path in searched:
        if any(_overlap(full_path(axis), path) for axes in study.grid for axis in axes):
            yield Fault(
                f"search.space.{path}",
                "is an axis of the grid too",
                "Take it out of one of the two",
            )
        for number, rule in enumerate(study.rules):
            if any(_overlap(full_path(target), path) for target in rule.set):
                yield Fault(
                    f"search.space.{path}",
                    f"is set by rules[{number}]",
                    "Take it out of one of the two",
                )


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _edge_faults(study: StudyConfig, space: Space) -> Iterator[Fault]:
    """What is wrong with settings at the edges of the space."""
    point = next(study.points())
    for values, origins in space.probes():
        tree = copy.deepcopy(point.settings)
        for path, value in values.items():
            put(tree, path, value)
        yield from validation_faults(CellConfig, tree, origins={**point.origins, **origins})


def _plan_faults(config: SearchConfig, study: StudyConfig) -> Iterator[Fault]:
    if config.confirm and not LEAST_SEEDS <= config.confirm <= MOST_SEEDS:
        fix = (
            f"Use 0 (none) or {LEAST_SEEDS} to {MOST_SEEDS}: "
            "the test enumerates all patterns of signs, and with fewer it cannot reject"
        )
        yield Fault("search.confirm", f"is {config.confirm}", fix)
    settings = next(study.points()).settings  # with the values of the grid and what rules set
    train = settings.get("train", {})
    for name in ("init_seed", "shuffle_seed"):
        if config.confirm and train.get(name) is not None:
            yield Fault(
                f"train.{name}",
                f"is {train[name]}",
                "Leave it out: `search.confirm` needs fresh seeds",
            )
    if config.pruning is not None:
        if len(config.objective) > 1:
            yield Fault(
                "search.pruning",
                f"is {config.pruning!r}",
                "Pruning takes one objective; leave it out",
            )
        if settings.get("measure", {}).get("at") == "last":
            yield Fault(
                "search.pruning",
                f"is {config.pruning!r}",
                "It needs checkpoints: not `measure.at: last`",
            )
