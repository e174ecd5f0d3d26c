"""The resolved scientific configuration of one cell, checked as a whole."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from study.config.execution import Resources
from study.config.measuring import MeasureConfig, computes_itself, measured_epochs
from study.config.targets import target_problem, with_head, without_rows
from study.config.training import TrainConfig
from study.data.kinds import DataConfig
from study.models.kinds import ModelConfig
from study.precision import parse_precision
from study.precision.options import PrecisionOptions
from study.settings.attack import adversary_fault, attack_fault
from study.settings.base import (
    NonNegativeInt,
    Settings,
)
from study.settings.phases import measured_phase_fault
from study.settings.schema import column_kinds, column_names

MOST_CHECKPOINTS = 10_000
"""Checkpoints of a training that are measured, each a row."""


@cache
def _known_precision(name: str) -> str:
    return parse_precision(name).name


def completed(tree: Any) -> Any:
    """Settings with those that follow from others.

    `train.init_seed` and `train.shuffle_seed` are `seed`, and `model.head` is that of the loss.
    """
    tree = with_head(tree)
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
        readable = model.readable()
        if data is not None and readable and data.gives not in readable:
            raise ValueError(
                f"{model.kind} reads {' or '.join(readable)}, but data.kind {data.kind} gives "
                f"{data.gives}: change one of the two"
            )
        return model

    @field_validator("measure")
    @classmethod
    def _probes_other_classes(cls, measure: MeasureConfig, info: ValidationInfo) -> MeasureConfig:
        if measure.probe is not None and (data := info.data.get("data")) is not None:
            data.check_probe(measure.probe)
        return measure

    @field_validator("measure")
    @classmethod
    def _derives_by_inputs(cls, measure: MeasureConfig, info: ValidationInfo) -> MeasureConfig:
        data = info.data.get("data")
        if data is not None and measure.complexity_samples and data.gives != "images":
            raise ValueError(
                "measure.complexity_samples asks for derivatives of features by pixels, and "
                f"data.kind {data.kind} gives {data.gives}: leave it out, or take images"
            )
        return measure

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

    @field_validator("train")
    @classmethod
    def _perturbs_what_can_be(cls, train: TrainConfig, info: ValidationInfo) -> TrainConfig:
        data = info.data.get("data")
        if data is not None and (fault := adversary_fault(train.adversary, data.gives)):
            raise ValueError(fault)
        return train

    @field_validator("measure")
    @classmethod
    def _attacks_what_can_be(cls, measure: MeasureConfig, info: ValidationInfo) -> MeasureConfig:
        data = info.data.get("data")
        if data is not None and (fault := attack_fault(measure.attack, data.gives)):
            raise ValueError(fault)
        return measure

    @field_validator("measure")
    @classmethod
    def _attacks_rows_of_the_head(
        cls, measure: MeasureConfig, info: ValidationInfo
    ) -> MeasureConfig:
        data, train = info.data.get("data"), info.data.get("train")
        if data is None or train is None or measure.attack is None:
            return measure
        if where := without_rows(data, train.loss):
            raise ValueError(
                f"attack needs a row of the head for each class, and {where}: leave it out"
            )
        return measure

    @field_validator("train")
    @classmethod
    def _fits_the_targets(cls, train: TrainConfig, info: ValidationInfo) -> TrainConfig:
        data, model = info.data.get("data"), info.data.get("model")
        if data is None or model is None:
            return train  # the fault of one of them says it all
        if problem := target_problem(data, model, train):
            raise ValueError(problem)
        return train

    @model_validator(mode="before")
    @classmethod
    def _others_follow(cls, value: Any) -> Any:
        return completed(value)

    @model_validator(mode="after")
    def _can_be_measured(self) -> Self:
        count = len(self.measure.at) if isinstance(self.measure.at, list) else self.train.epochs
        if self.measure.at not in ("last", "log") and count > MOST_CHECKPOINTS:
            raise ValueError(
                f"{count:,} checkpoints of a training would be measured, at most "
                f"{MOST_CHECKPOINTS:,} can be: use `measure.at: log`, or list fewer epochs"
            )
        return self

    @model_validator(mode="after")
    def _measures_its_phases(self) -> Self:
        if self.train.phases is None:
            return self
        measured = measured_epochs(self.measure, self.train.epochs)
        tuned = parse_precision(self.precision).tuning is not None
        if fault := measured_phase_fault(self.train.phases, measured, self.data.kind, tuned):
            raise ValueError(fault)
        return self


class PointSettings(CellConfig):
    """Every setting that a rule may ask for."""

    resources: Resources = Resources()
    keep: Literal["all", "last", "none"] = "all"


COLUMNS = column_names(
    CellConfig,
    apart=(
        "precision_options",
        "train.decay",
        "train.penalty",
        "train.adversary",
        "measure.attack",
        "measure.probe",
    ),
)

COLUMN_KINDS = {COLUMNS[path]: kind for path, kind in column_kinds(CellConfig).items()}
