"""Settings of the precisions that fine-tune or calibrate before they measure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from study.settings.base import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Settings


class QatOptions(Settings):
    """Fine-tuning of `qat-`, `efqat-` and `ft-fp32`.

    Everything else is taken from `train`.
    """

    epochs: PositiveInt = 1
    """Passes over the training data."""
    lr: PositiveFloat = 1e-4
    """Learning rate of the fine-tuning."""


class EfqatOptions(Settings):
    """Which rows of weights `efqat-` updates: a `share`, of largest mean magnitude.

    `select` says among which: the `rows` of each weight, those of the `network`, or whole `layers`.
    They are chosen once, or again `every` so many steps. `scales` of integers `follow` the weights,
    or are `trained` with them.
    """

    share: Fraction = 0.25
    """Share of the rows that is updated, those of largest mean magnitude."""
    select: Literal["rows", "network", "layers"] = Field(
        default="rows", json_schema_extra={"neutral": "rows"}
    )
    """Among which rows the share is taken."""
    every: PositiveInt | None = Field(default=None, json_schema_extra={"neutral": None})
    """Steps after which rows are chosen again; null = once."""
    scales: Literal["follow", "trained"] = Field(
        default="follow", json_schema_extra={"neutral": "follow"}
    )
    """Whether scales of integers follow the weights or are trained."""


class CalibrationOptions(Settings):
    """Training rows whose layer inputs `gptq-`, `awq-` and `smooth-` see.

    `samples` rows, drawn by `seed` and `data.seed`.
    """

    samples: PositiveInt = 128
    """Training rows that are seen."""
    seed: NonNegativeInt = 0
    """Seed of the draw, beside `data.seed`."""


class GptqOptions(Settings):
    """How `gptq-` rounds.

    `damping` is added to the diagonal of the Hessian, as a share of its mean; `order`: columns of
    large diagonal come first (act-order), on scales that were chosen before.
    """

    damping: PositiveFloat = 0.01
    """Share of the mean of the diagonal of the Hessian that is added to it."""
    order: bool = False
    """Whether columns of a large diagonal come first (act-order)."""


class RotationOptions(Settings):
    """The seed of the random signs of `rot-`."""

    seed: NonNegativeInt = 0
    """Seed of the random signs."""


class SmoothOptions(Settings):
    """How much of the inputs' range `smooth-` moves into the weights.

    `strength` is alpha of Xiao et al. 2023, eq. 4.
    """

    strength: Fraction = 0.5
    """The exponent alpha of Xiao et al. 2023, eq. 4."""


class PrecisionOptions(Settings):
    """`precision_options`.

    `study.precision.options_used` says which groups a precision uses.
    """

    qat: QatOptions = QatOptions()
    efqat: EfqatOptions = EfqatOptions()
    calibration: CalibrationOptions = CalibrationOptions()
    gptq: GptqOptions = GptqOptions()
    rotation: RotationOptions = RotationOptions()
    smooth: SmoothOptions = SmoothOptions()
