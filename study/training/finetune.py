"""Fine-tuning a checkpoint.

Under fake quantization (`qat-`, `efqat-`) or without it (`ft-fp32`, their control).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from study.config import CellConfig
from study.data.base import Dataset
from study.models.base import FeatureModel
from study.precision import Precision, PrecisionError
from study.precision.apply import check_takes, quantize, round_matrices
from study.precision.layers import Place, Weight, as_matrices, covered_weights, from_matrices
from study.training.train import Diverged, Progress, train


class _StraightThrough(torch.autograd.Function):
    """Rounds forward, passes the gradient on unchanged (Bengio et al. 2013).

    It does so where integers are clamped, too.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, precision: Precision, transposed: bool, stack: int
    ) -> Tensor:
        rounded = round_matrices(as_matrices(weight, transposed, stack), precision)
        return from_matrices(rounded, weight, transposed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad, None, None, None


class FakeQuantized(nn.Module):
    """A weight as the forward pass sees it.

    It is rounded by the function that `quantize` uses.
    """

    def __init__(self, precision: Precision, transposed: bool, stack: int = 1) -> None:
        super().__init__()
        self.precision, self.transposed, self.stack = precision, transposed, stack

    def forward(self, weight: Tensor) -> Tensor:
        rounded: Tensor = _StraightThrough.apply(
            weight, self.precision, self.transposed, self.stack
        )
        return rounded


class LargestRows(nn.Module):
    """A weight of which only some rows are parameters (EfQAT).

    These are the rows of largest mean magnitude (Ashkboos et al. 2024, arXiv 2411.11038).

    The other rows are a buffer: no gradient, momentum or weight decay can reach them. `share` of
    the rows, rounded up, are trained. `transposed`: rows are the last dimension.
    """

    frozen: Tensor
    rows: Tensor

    def __init__(self, weight: Tensor, share: float, transposed: bool) -> None:
        super().__init__()
        importance = as_matrices(weight.detach(), transposed)[0].abs().mean(1)
        count = max(1, -int(-share * len(importance) // 1))
        self.dim = -1 if transposed else 0
        self.register_buffer("frozen", weight.detach().clone())
        self.register_buffer(
            "rows", importance.argsort(descending=True, stable=True)[:count].sort().values
        )

    def forward(self, trained: Tensor) -> Tensor:
        return self.frozen.index_copy(self.dim, self.rows, trained)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.index_select(self.dim, self.rows)


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
    return quantize(tuned, precision.untuned).eval()


def tune(
    model: FeatureModel,
    precision: Precision,
    config: CellConfig,
    data: Dataset,
    device: torch.device,
    *,
    beat: Callable[[Progress], None] | None = None,
) -> FeatureModel:
    """A copy of the checkpoint `model`, fine-tuned for `precision`.

    Its weights are not rounded.

    Trains by `config.train`, with the epochs and the learning rate of
    `config.precision_options.qat`, without `config.train.quantize`, in the same order of the data
    for every precision of a checkpoint. Weights in the scope of the precision are rounded in every
    forward pass (`qat-`, `efqat-`); `ft-fp32` rounds nothing.

    Raises PrecisionError if the precision needs no fine-tuning or a layer cannot take its format,
    and what `study.training.train.train` raises.
    """
    if precision.tuning is None:
        raise PrecisionError(f"{precision.name} needs no fine-tuning: call quantize")
    options = config.precision_options
    settings = config.train.model_copy(
        update={"epochs": options.qat.epochs, "lr": options.qat.lr, "quantize": None}
    )
    measure = config.measure.model_copy(update={"at": "last"})
    tuned = deepcopy(model).to(device)
    weights: list[Weight] = []
    if precision.tuning != "ft":
        weights = covered_weights(tuned, precision)
        check_takes(weights, precision)
        stacks = [weight.name for weight in weights if weight.stack > 1]
        if precision.tuning == "efqat" and stacks:
            raise PrecisionError(
                f"{precision.name}: {stacks[0]} holds the experts of a mixture, which see few "
                f"tokens each: take {precision.name.replace('efqat-', 'qat-')!r}"
            )
    for weight in weights:
        _parametrize(
            weight, precision, options.efqat.share if precision.tuning == "efqat" else None
        )
    config = config.model_copy(update={"train": settings, "measure": measure})
    try:
        for _ in train(config, data, device, model=tuned, beat=beat):
            pass
    except Diverged as error:
        raise Diverged(
            f"{precision.name}: {error} (here precision_options.qat.lr is the learning rate)"
        ) from error
    for weight in weights:
        _remove(weight)
    return tuned.eval()


def _parametrize(weight: Weight, precision: Precision, share: float | None) -> None:
    """Put fake quantization between the weight and all its places.

    The places go on sharing one parameter.
    """
    rows = None if share is None else LargestRows(weight.parameter, share, weight.transposed)
    for place in weight.places:
        # A parameter of its own first: registration writes into the one it finds.
        copied = nn.Parameter(
            weight.parameter.detach().clone(), requires_grad=weight.parameter.requires_grad
        )
        setattr(place.module, place.attribute, copied)
        if rows is not None:
            parametrize.register_parametrization(place.module, place.attribute, rows)
        fake = FakeQuantized(precision, weight.transposed, weight.stack)
        parametrize.register_parametrization(place.module, place.attribute, fake)
    for place in weight.places:
        _chain(place).original = _chain(weight.places[0]).original


def _remove(weight: Weight) -> None:
    """Puts the trained weight, unrounded, back into all its places as one parameter."""
    chain = _chain(weight.places[0])
    latent = chain.original.detach()
    for step in chain:
        if isinstance(step, LargestRows):
            latent = step(latent)
    shared = nn.Parameter(latent)
    for place in weight.places:
        parametrize.remove_parametrizations(place.module, place.attribute, leave_parametrized=False)
        setattr(place.module, place.attribute, shared)


def _chain(place: Place) -> parametrize.ParametrizationList:
    chain = place.module.get_submodule(f"parametrizations.{place.attribute}")
    assert isinstance(chain, parametrize.ParametrizationList)
    return chain
