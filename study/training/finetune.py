"""Fine-tuning a checkpoint.

Under fake quantization (`qat-`, `efqat-`) or without it (`ft-fp32`, their control).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch

from study.config import CellConfig
from study.data.base import Dataset
from study.models.base import FeatureModel
from study.precision import Precision, PrecisionError, quantize
from study.precision.layers import covered_weights
from study.precision.options import PrecisionOptions
from study.training.efqat import PartialRounding
from study.training.rounding import Rounding
from study.training.train import Diverged, Progress, train


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model, and whether its weights are rounded already."""

    model: FeatureModel
    rounded: bool = False


def finetune(
    model: FeatureModel,
    precision: Precision,
    config: CellConfig,
    data: Dataset,
    device: torch.device,
    *,
    beat: Callable[[Progress], None] | None = None,
) -> FeatureModel:
    """A fine-tuned copy of the checkpoint `model` at `precision`, to be measured.

    It is what `quantize` returns for the copy that `tune` gives. Raises what `tune` raises.
    """
    tuned = tune(model, precision, config, data, device, beat=beat)
    return tuned.model if tuned.rounded else quantize(tuned.model, precision.untuned).eval()


def tune(
    model: FeatureModel,
    precision: Precision,
    config: CellConfig,
    data: Dataset,
    device: torch.device,
    *,
    beat: Callable[[Progress], None] | None = None,
) -> Tuned:
    """A copy of the checkpoint `model`, fine-tuned for `precision`.

    Its weights are not rounded, but with `efqat.scales: trained`, as no rounding finds these scales
    again.

    Trains by `config.train`, with the epochs and the learning rate of
    `config.precision_options.qat`, without its `quantize` and `compile`, in the same order of the
    data for every precision of a checkpoint. Weights in the scope of the precision are rounded in
    every forward pass (`qat-`, `efqat-`); `ft-fp32` rounds nothing.

    Raises PrecisionError if the precision needs no fine-tuning or a layer cannot take its format,
    and what `study.training.train.train` raises.
    """
    if precision.tuning is None:
        raise PrecisionError(f"{precision.name} needs no fine-tuning: call quantize")
    options = config.precision_options
    own = {"epochs": options.qat.epochs, "lr": options.qat.lr, "quantize": None, "compile": False}
    settings = config.train.model_copy(update=own)
    measure = config.measure.model_copy(update={"at": "last"})
    tuned = deepcopy(model).to(device)
    rounding = None if precision.tuning == "ft" else _rounding(tuned, precision, options)
    config = config.model_copy(update={"train": settings, "measure": measure})
    try:
        for _ in train(config, data, device, model=tuned, beat=beat, rounding=rounding):
            pass
    except Diverged as error:
        raise Diverged(
            f"{precision.name}: {error} (here precision_options.qat.lr is the learning rate)"
        ) from error
    has_scales = rounding is not None and bool(rounding.parameters)
    if rounding is not None and has_scales:
        rounding.write()
    return Tuned(tuned.eval().requires_grad_(not has_scales), rounded=has_scales)


def _rounding(model: FeatureModel, precision: Precision, options: PrecisionOptions) -> Rounding:
    if precision.tuning == "qat":
        return Rounding(model, precision)
    weights = covered_weights(model, precision)
    if stacks := [weight.name for weight in weights if weight.stack > 1]:
        raise PrecisionError(
            f"{precision.name}: {stacks[0]} holds the experts of a mixture, which see few "
            f"tokens each: take {precision.name.replace('efqat-', 'qat-')!r}"
        )
    return PartialRounding(model, precision, options.efqat)
