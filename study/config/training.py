"""How a model is trained, as settings (`train`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from study.settings.attack import AdversaryConfig, training_fault
from study.settings.base import (
    Float,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from study.settings.optimizers import WITH_NESTEROV, DecayConfig, OptimizerName
from study.settings.penalty import PenaltyConfig
from study.settings.phases import Phase, phase_fault
from study.settings.schedule import ScheduleConfig


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
    loss: Literal["cross_entropy", "label_smoothing", "focal", "mse", "cumulative_link"] = (
        "cross_entropy"
    )
    """The loss of a sample; `study/training/losses.py` has the formulas.

    A regression has mse, classes in an order may have cumulative_link.
    """
    label_smoothing: Fraction = 0.1
    """Of that loss: the share of a label that all classes divide."""
    focal_gamma: NonNegativeFloat = 2.0
    """Of the focal loss: the exponent of 1 - p."""
    penalty: PenaltyConfig = Field(default=PenaltyConfig(), json_schema_extra={"neutral": {}})
    adversary: AdversaryConfig | None = Field(default=None, json_schema_extra={"neutral": None})
    phases: list[Phase] | None = Field(default=None, json_schema_extra={"neutral": None})
    """Phases `{classes: [...], epochs: N}` one after another; null = all classes in every epoch.

    Their epochs sum to `epochs`, over which the schedule runs. `forgetting` is of the first.
    """
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
    def _has_the_epochs_of_its_phases(self) -> Self:
        if fault := phase_fault(self.phases, self.epochs):
            raise ValueError(fault)
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

    @model_validator(mode="after")
    def _has_an_adversary_that_fits(self) -> Self:
        if fault := training_fault(self.adversary, loss=self.loss, compiled=self.compile):
            raise ValueError(fault)
        return self
