"""A study file as settings, checked with every fault at once.

`load_study(path)` gives a StudyConfig; `StudyConfig.points()` the raw settings of every point
of the grid, each of which is a CellConfig. No torch is imported here: plans and errors are
instant.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from study.data.kinds import DataConfig
from study.models.kinds import ModelConfig
from study.precision import parse_precision
from study.precision.options import PrecisionOptions
from study.settings.base import (
    Float,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from study.settings.faults import Fault, StudyError, nearest
from study.settings.optimizers import WITH_NESTEROV, DecayConfig, OptimizerName
from study.settings.penalty import PenaltyConfig
from study.settings.schedule import ScheduleConfig
from study.settings.schema import INVALID, column_kinds, column_names, setting
from study.settings.validation import validation_faults
from study.settings.yaml_files import Inherited, merge, read_extended

SHORT_NAMES = {"width": "model.width", "depth": "model.depth", "epochs": "train.epochs"}
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
ASIDE = (".", "x-")
"""How top-level keys begin that hold nothing but anchors for aliases elsewhere in the file."""
KEEP = ("all", "last", "none")
MOST_POINTS = 20_000
"""Points of a grid. A run keeps a file for each cell, and a launch looks at each."""
MOST_CHECKPOINTS = 10_000
"""Checkpoints of a training that are measured, each a row."""
MOST_FAULTS, POINTS_WITH_FAULTS = 200, 1_000
"""Checking a file that has faults ends after this many of them, or this many points."""
Compute = Literal["fp32", "tf32", "bf16"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class TrainConfig(Settings):
    """How a model is trained.

    Weight decay acts on matrices only, unless `decay` says otherwise; the loss is the mean over
    predicted samples, to which `penalty` adds. `quantize` rounds weights in every pass from the
    first step on.
    """

    epochs: PositiveInt
    """Passes over the training data."""
    lr: PositiveFloat = 1e-3
    """Learning rate at the height of the schedule."""
    batch_size: PositiveInt = 16
    """Rows (chunks of text, images) of a pass."""
    accumulation: PositiveInt = 1
    """Passes whose gradients make one optimizer step."""
    optimizer: OptimizerName = "adamw"
    """How a step follows from gradients; `study/training/optimizer.py` has the formulas."""
    weight_decay: NonNegativeFloat = 0.0
    """Of matrices; coupled or decoupled as the optimizer has it."""
    decay: DecayConfig = Field(default=DecayConfig(), json_schema_extra={"neutral": {}})
    beta1: Annotated[Float, Field(ge=0, lt=1)] = 0.9
    """Of adamw, adam, lion and muon: decay of the mean gradient."""
    beta2: Annotated[Float, Field(ge=0, lt=1)] = 0.999
    """Of those: decay of the mean squared gradient; lion has its own use of it."""
    eps: PositiveFloat = 1e-8
    """Of adamw, adam and muon: added to the root of the mean squared gradient."""
    momentum: Annotated[Float, Field(ge=0, lt=1)] = 0.9
    """Of sgd, sgdw, signum, signumw and muon."""
    nesterov: bool = Field(default=False, json_schema_extra={"neutral": False})
    """Whether momentum looks ahead."""
    clip: PositiveFloat | None = None
    """Largest norm of the gradient of a step; null = any."""
    schedule: ScheduleConfig = Field(default="linear", validate_default=True)
    loss: Literal["cross_entropy", "label_smoothing", "focal", "mse"] = "cross_entropy"
    """The loss of a sample; `study/training/losses.py` has the formulas."""
    label_smoothing: Fraction = 0.1
    """Of that loss: the share of a label that all classes divide."""
    focal_gamma: NonNegativeFloat = 2.0
    """Of the focal loss: the exponent of 1 - p."""
    penalty: PenaltyConfig = Field(default=PenaltyConfig(), json_schema_extra={"neutral": {}})
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """The arithmetic of training; weights and states of the optimizer stay fp32."""
    quantize: Literal["int8", "int4", "int2", "fp8", "ternary"] | None = Field(
        default=None, json_schema_extra={"neutral": None}
    )
    """Rounds weights in every pass from the first step on; null = never."""
    compile: bool = False
    """Whether PyTorch compiles the model before it trains."""
    init_seed: NonNegativeInt | None = None
    """Seed of the first weights; null = `seed`."""
    shuffle_seed: NonNegativeInt | None = None
    """Seed of the order of training rows; null = `seed`."""

    @model_validator(mode="after")
    def _looks_ahead_with_momentum(self) -> Self:
        if self.nesterov and (self.optimizer not in WITH_NESTEROV or self.momentum == 0):
            raise ValueError(
                f"nesterov needs optimizer {', '.join(WITH_NESTEROV[:-1])} or {WITH_NESTEROV[-1]} "
                f"and momentum above 0, not {self.optimizer} with momentum {self.momentum}: set "
                "nesterov to false, or change them"
            )
        return self

    @model_validator(mode="after")
    def _compiles_what_stays(self) -> Self:
        if self.quantize is not None and self.compile:
            raise ValueError(
                "compile takes weights that stay what they are, and quantize rounds them in every "
                "pass: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _predicts_probabilities(self) -> Self:
        if self.loss == "mse" and self.penalty.entropy != 0:
            raise ValueError(
                "penalty.entropy is one of probabilities, and loss mse trains scores that are "
                "none: set penalty.entropy to 0, or train with cross_entropy"
            )
        return self


class MeasureConfig(Settings):
    """What is measured, and when. The last epoch is always measured.

    So is epoch 0, the untrained model, unless `initial` is never. Trainings that begin with the
    same weights share its columns, as all checkpoints of the same weights do.
    """

    at: Literal["each", "last", "log"] | list[NonNegativeInt] = "each"
    """Epochs whose checkpoints are measured: each, the last, 1, 2, 4, ..., or those listed."""
    min_count: PositiveInt = 10
    """Training samples below which a class is not measured."""
    train_tokens: PositiveInt | None = None
    """At most so many training samples, drawn by `data.seed`; null = all."""
    agreement_samples: PositiveInt = 10_000
    """Samples whose decisions are compared: the first of validation, as many of training."""
    layers: Literal["last", "all"] = "last"
    """`all` adds a row for the output of every block."""
    initial: Literal["once", "never"] = Field(default="once", json_schema_extra={"neutral": "once"})
    """Whether the untrained model is measured."""
    compute: Compute = Field(default="fp32", json_schema_extra={"neutral": "fp32"})
    """The arithmetic of the passes that measure precisions of weights alone."""

    @model_validator(mode="after")
    def _agrees_on_epoch_0(self) -> Self:
        if self.initial == "never" and isinstance(self.at, list) and 0 in self.at:
            raise ValueError("measure.at lists epoch 0, measure.initial is never: change one")
        return self


class Resources(Settings):
    """Where a training runs; never part of a cell's identity.

    `cpus` is also the number of threads.
    """

    cpus: PositiveInt = 1
    """Cores, and threads, of a training."""
    gpus: NonNegativeFloat = 0.0
    """GPUs of a training; 0.5 lets two share one."""
    memory_gib: PositiveFloat | None = None
    """Memory in GiB that a training is given; null = no promise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a training computes; `auto` = on a GPU where it has one."""
    parallel: PositiveInt | None = None
    """Trainings that run at once; null = as many as fit."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Least minutes between two states to resume from within an epoch."""
    hang_minutes: PositiveFloat = 30.0
    """Minutes without a step after which a training is stopped as hung."""
    retries: NonNegativeInt = 2
    """Further attempts after a lost node, a lack of memory or a hang."""


class Tuned(Settings):
    """What a search notes in the settings that it wrote.

    Its file, the trial, and the seeds on which the settings were chosen.
    """

    search: str
    """The file of the search."""
    trial: NonNegativeInt
    """The number of the trial whose settings these are."""
    seeds: list[NonNegativeInt]
    """Seeds on which the settings were chosen, which say too much of them."""


class AnalysisConfig(Settings):
    """What a study declares of its analysis before it runs.

    It is never part of a cell's identity.

    `primary` are the metrics that it is to decide about (those of the report where it is None), all
    others are exploratory; `margin` the change of a column that counts as none; `level` the value
    of a metric whose epoch the report asks for; `intervention` the axes whose effect is asked for,
    trainings being paired that agree in all others and the seed.
    """

    primary: list[str] | None = None
    """Metrics that the study decides about; null = one a property."""
    margin: dict[str, PositiveFloat] = {}
    """Change of a column that counts as none, by column."""
    level: dict[str, Float] = {}
    """Value of a metric whose epoch the report asks for, by metric."""
    intervention: list[str] = []
    """Axes whose effect is asked for."""

    @field_validator("primary")
    @classmethod
    def _each_once(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("names a metric twice: keep it once")
        return value

    @field_validator("intervention", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@cache
def _known_precision(name: str) -> str:
    return parse_precision(name).name


def _with_seeds(tree: Any) -> Any:
    """Settings in which `train.init_seed` and `train.shuffle_seed` default to `seed`."""
    if isinstance(tree, dict) and isinstance(train := tree.get("train"), dict):
        seeds = {
            name: tree.get("seed", 0)
            for name in ("init_seed", "shuffle_seed")
            if train.get(name) is None
        }
        return {**tree, "train": {**train, **seeds}}
    return tree


class CellConfig(Settings):
    """The resolved scientific configuration of one cell.

    It holds everything that the cell's numbers depend on, and nothing else.
    """

    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    measure: MeasureConfig = MeasureConfig()
    precision: Annotated[str, AfterValidator(_known_precision)] = "fp32"
    """The arithmetic at which a checkpoint is measured; docs/precision.md has the grammar."""
    precision_options: PrecisionOptions = PrecisionOptions()
    seed: NonNegativeInt = 0
    """Seed of first weights and order of rows, unless `train` gives them seeds of their own."""

    @field_validator("model")
    @classmethod
    def _model_reads_the_data(cls, model: ModelConfig, info: ValidationInfo) -> ModelConfig:
        data = info.data.get("data")
        if data is not None and model.reads not in (None, data.gives):
            raise ValueError(
                f"{model.kind} reads {model.reads}, but data.kind {data.kind} gives {data.gives}: "
                "change one of the two"
            )
        return model

    @field_validator("precision")
    @classmethod
    def _leaves_the_arithmetic(cls, name: str, info: ValidationInfo) -> str:
        measure, precision = info.data.get("measure"), parse_precision(name)
        if measure is not None and measure.compute != "fp32" and not precision.of_weights_alone:
            raise ValueError(computes_itself(name, measure.compute))
        return name

    @field_validator("train")
    @classmethod
    def _acts_on_the_model(cls, train: TrainConfig, info: ValidationInfo) -> TrainConfig:
        model = info.data.get("model")
        head, decay = getattr(model, "head", "learned"), train.decay
        if head == "fixed_etf" and decay.head:
            raise ValueError(
                "decay.head acts on a head that is trained, and model.head fixed_etf is frozen: "
                "leave it out, or set it to 0"
            )
        lengths = {
            "penalty.feature_norm": train.penalty.feature_norm,
            # In the unconstrained-features model it acts on the vectors before they are divided.
            "decay.features": 0 if model is not None and model.kind == "ufm" else decay.features,
        }
        for name, value in lengths.items():
            if head == "cosine" and value:
                raise ValueError(
                    f"{name} acts on the lengths of features, which model.head cosine makes 1: "
                    "leave it out, or set it to 0"
                )
        return train

    @model_validator(mode="before")
    @classmethod
    def _seeds_follow(cls, value: Any) -> Any:
        return _with_seeds(value)

    @model_validator(mode="after")
    def _can_be_measured(self) -> Self:
        count = len(self.measure.at) if isinstance(self.measure.at, list) else self.train.epochs
        if self.measure.at not in ("last", "log") and count > MOST_CHECKPOINTS:
            raise ValueError(
                f"{count:,} checkpoints of a training would be measured, at most "
                f"{MOST_CHECKPOINTS:,} can be: use `measure.at: log`, or list fewer epochs"
            )
        return self


def computes_itself(precision: str, compute: Compute) -> str:
    """Why a precision of activations is not measured in another arithmetic."""
    return (
        f"{precision} says itself what is computed in, and measure.compute {compute} would round "
        "a second time: measure it with measure.compute fp32, in a part of the grid of its own, or "
        "take a precision of weights alone, such as int8"
    )


class _PointSettings(CellConfig):
    """Every setting that a rule may ask for."""

    resources: Resources = Resources()
    keep: Literal["all", "last", "none"] = "all"


COLUMNS = column_names(CellConfig, apart=("precision_options", "train.decay", "train.penalty"))
COLUMN_KINDS = {COLUMNS[path]: kind for path, kind in column_kinds(CellConfig).items()}


def measured_epochs(measure: MeasureConfig, epochs: int) -> tuple[int, ...]:
    """Epochs whose checkpoints are measured: the last, and 0 unless it never is.

    `each`, `log` (1, 2, 4, ...), or those listed.
    """
    at = measure.at
    if at == "each":
        epochs_at = set(range(1, epochs + 1))
    elif at == "log":
        epochs_at = {2**k for k in range(epochs.bit_length())}
    elif at == "last":
        epochs_at = set()
    else:
        epochs_at = {int(epoch) for epoch in at}
    ends = {epochs} if measure.initial == "never" else {0, epochs}
    return tuple(sorted(ends | {epoch for epoch in epochs_at if epoch <= epochs}))


class Rule(Settings):
    """`when` all these settings have one of these values, `set` others."""

    when: dict[str, Any]
    set: dict[str, Any]


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
                    if _matches(tree, rule.when):
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


def load_study(path: str | Path) -> StudyConfig:
    """The study of a YAML file.

    Raises StudyError with all faults of the file, each with its path and its fix.
    """
    path = Path(path)
    return study_from(read_extended(path), folder=path.resolve().parent, source=str(path))


def study_from(
    content: dict[str, Any], *, folder: Path, source: str, searched: Collection[str] = ()
) -> StudyConfig:
    """As `load_study`, from the mapping itself.

    Relative paths in it resolve against `folder`. Rules may match no point of the grid if they are
    `Inherited`, or ask for settings that are `searched`.
    """
    content = {name: value for name, value in content.items() if not name.startswith(ASIDE)}
    faults = list(_structure_faults(content))
    grid = _read_grid(content.get("grid", {}), faults)
    rules = _read_rules(
        content.get("rules") or [], {full_path(axis) for axes in grid for axis in axes}, faults
    )
    resources = content.get("resources", {})
    unsound = bool(faults)
    sound_resources = isinstance(resources, dict) and not any(
        fault.path.startswith("resources") for fault in faults
    )
    study = StudyConfig(
        name=str(content.get("name")),
        settings={key: content[key] for key in SECTIONS if key in content},
        grid=grid,
        rules=rules,
        folder=folder,
        keep=content["keep"] if content.get("keep") in KEEP else "all",
        resources=Resources(**resources) if sound_resources else Resources(),
        analysis=AnalysisConfig(**content.get("analysis", {})) if not unsound else AnalysisConfig(),
        tuned=Tuned(**content["tuned"]) if "tuned" in content and not unsound else None,
    )
    inherited = isinstance(content.get("rules"), Inherited)
    faults += _intervention_faults(study)
    faults += _grid_faults(study, searched, unsound=unsound, inherited=inherited)
    if faults:
        raise StudyError(faults, source=source)
    return study


def _grid_faults(
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
        found = list(_point_faults(point, resources=point.resources != sound))
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


def _intervention_faults(study: StudyConfig) -> Iterator[Fault]:
    """Interventions that are no axis of the grid with two levels, or are named twice."""
    levels: dict[str, list[Any]] = {}
    for axes in study.grid:
        for axis, values in axes.items():
            levels.setdefault(full_path(axis), []).extend(values)
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
        _with_seeds({**point.settings, "resources": point.resources, "keep": point.keep})
        for point in study.all_points
    ]
    for path, values in rule.when.items():
        if not any(_matches(tree, {path: values}) for tree in points):
            settings = dict.fromkeys(
                repr(_shown(setting(_PointSettings, tree, full_path(path)))) for tree in points
            )
            first, more = list(settings)[:5], ", ..." if len(settings) > 5 else ""
            message = f"matches no point: {path} is {', '.join(first)}{more}, never {values!r}"
            return Fault(place, message, fix)
    return Fault(place, "matches no point: what it asks for never comes together", fix)


def _shown(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return None if value is INVALID else value


def full_path(name: str) -> str:
    """The dotted path that a short name stands for; other names are paths already."""
    return SHORT_NAMES.get(name, name)


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path, copying the mappings on the way so that points share nothing."""
    *parents, leaf = path.split(".")
    for parent in parents:
        below = tree.get(parent)
        tree[parent] = dict(below) if isinstance(below, dict) else {}
        tree = tree[parent]
    tree[leaf] = value


def _matches(tree: dict[str, Any], when: dict[str, Any]) -> bool:
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
        setting(_PointSettings, _with_seeds(tree), path)
        == setting(_PointSettings, _with_seeds(other), path)
    )


def known_paths(*, execution: bool) -> dict[str, None]:
    """Dotted paths that an axis (or, with `execution`, a rule) may set.

    They are leaves, and groups with a short form.
    """
    paths = dict.fromkeys([*COLUMNS, "train.schedule"])
    if execution:
        paths |= dict.fromkeys([f"resources.{name}" for name in Resources.model_fields] + ["keep"])
    return paths


def _structure_faults(content: dict[str, Any]) -> Iterator[Fault]:
    for key in content:
        if key not in TOP_LEVEL:
            fix = (
                "This is a search: python -m study.tune"
                if key == "search"
                else nearest(str(key), TOP_LEVEL)
            )
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


def _read_grid(grid: Any, faults: list[Fault]) -> list[dict[str, list[Any]]]:
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


def _read_rules(rules: Any, axes: set[str], faults: list[Fault]) -> list[Rule]:
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


def _point_faults(point: Point, *, resources: bool) -> Iterator[Fault]:
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
