"""What is measured of a training, and when, as settings (`measure`)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from study.settings.attack import AttackConfig
from study.settings.base import (
    NonNegativeInt,
    PositiveInt,
    Settings,
)
from study.settings.probe import ProbeConfig

Compute = Literal["fp32", "tf32", "bf16"]
WHEN = ("at", "initial")
"""Settings of measuring that say when, not what."""


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
    probe: ProbeConfig | None = Field(default=None, json_schema_extra={"neutral": None})
    complexity_samples: PositiveInt | None = Field(
        default=None, json_schema_extra={"neutral": None}
    )
    """Training samples of which `geometric_complexity` is measured, from images; null = none."""
    attack: AttackConfig | None = Field(default=None, json_schema_extra={"neutral": None})

    @model_validator(mode="after")
    def _agrees_on_epoch_0(self) -> Self:
        if self.initial == "never" and isinstance(self.at, list) and 0 in self.at:
            raise ValueError("measure.at lists epoch 0, measure.initial is never: change one")
        return self

    @model_validator(mode="after")
    def _probes_measured_layers(self) -> Self:
        if self.probe is not None and self.probe.layers == "all" and self.layers != "all":
            raise ValueError(
                "measure.probe.layers is all, but only the last layer is measured: set "
                "measure.layers to all, or measure.probe.layers to last"
            )
        return self


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


def computes_itself(precision: str, compute: Compute) -> str:
    """Why a precision of activations is not measured in another arithmetic."""
    return (
        f"{precision} says itself what is computed in, and measure.compute {compute} would round "
        "a second time: measure it with measure.compute fp32, in a part of the grid of its own, or "
        "take a precision of weights alone, such as int8"
    )
