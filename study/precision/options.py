"""Settings of the precisions that fine-tune before they measure."""

from __future__ import annotations

from study.settings.base import Fraction, PositiveFloat, PositiveInt, Settings


class QatOptions(Settings):
    """Fine-tuning of `qat-`, `efqat-` and `ft-fp32`; everything else is taken from `train`."""

    epochs: PositiveInt = 1
    lr: PositiveFloat = 1e-4


class EfqatOptions(Settings):
    """`share`: the share of each weight's rows, those of largest mean magnitude, that `efqat-` updates."""

    share: Fraction = 0.25


class PrecisionOptions(Settings):
    """`precision_options`; `study.precision.options_used` says which groups a precision uses."""

    qat: QatOptions = QatOptions()
    efqat: EfqatOptions = EfqatOptions()
