"""Settings of the precisions that fine-tune before they measure."""

from __future__ import annotations

from study.settings.base import Fraction, PositiveFloat, PositiveInt, Settings


class QatOptions(Settings):
    """Fine-tuning of `qat-`, `efqat-` and `ft-fp32`.

    Everything else is taken from `train`.
    """

    epochs: PositiveInt = 1
    lr: PositiveFloat = 1e-4


class EfqatOptions(Settings):
    """The share of each weight's rows that `efqat-` updates.

    They are the rows of largest mean magnitude.
    """

    share: Fraction = 0.25


class PrecisionOptions(Settings):
    """`precision_options`.

    `study.precision.options_used` says which groups a precision uses.
    """

    qat: QatOptions = QatOptions()
    efqat: EfqatOptions = EfqatOptions()
