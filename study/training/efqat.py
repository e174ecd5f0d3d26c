"""Fine-tuning a part of a quantized network: EfQAT (Ashkboos et al. 2024)."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.precision import Precision
from study.precision.inputs import StraightThrough
from study.precision.layers import Weight, as_matrices, from_matrices
from study.precision.options import EfqatOptions
from study.training.rounding import Rounding


class PartialRounding(Rounding):
    """Rounds weights, of which only the most important rows are trained.

    The importance of a row (an output channel) is the mean magnitude of its weights (Ashkboos et
    al. 2024, arXiv 2411.11038). `options.select` says among which rows the `share` is taken,
    rounded up: those of each weight (`rows`, their CWPL), of the network (`network`, CWPN), or
    whole weights in the order of their mean magnitude, until they hold the share of all weights
    (`layers`, LWPN; that the weight which reaches the share is trained whole is our choice).
    `options.every` steps they are chosen again.

    Other rows stay as they are, bit for bit: no gradient, momentum or weight decay moves them. The
    momentum of an optimizer with coupled decay takes up their decay, though, and moves a row by it
    once that row is chosen.
    """

    def __init__(self, model: nn.Module, precision: Precision, options: EfqatOptions) -> None:
        super().__init__(model, precision)
        self.options, self.steps = options, 0
        self.frozen: list[tuple[Weight, Tensor, Tensor]] = []
        self.grids = (
            {weight.name: TrainedGrid(weight.matrices[0], precision) for weight in self.weights}
            if options.scales == "trained"
            else {}
        )
        self.select()

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [each for grid in self.grids.values() for each in grid.parameters()]

    def values(self, weight: Weight) -> Tensor:
        if weight.name not in self.grids:
            return super().values(weight)
        matrix = as_matrices(weight.parameter, weight.transposed)[0]
        rounded: Tensor = self.grids[weight.name](matrix)
        return from_matrices(rounded[None], weight.parameter, weight.transposed)

    def select(self) -> None:
        """Choose the rows that are trained from now on."""
        importance = [weight.matrices[0].abs().mean(1) for weight in self.weights]
        trained = selected_rows(
            importance, [weight.parameter.numel() for weight in self.weights], self.options
        )
        self.frozen = []
        for weight, is_trained in zip(self.weights, trained, strict=True):
            rows = (~is_trained).nonzero().flatten()
            kept = weight.parameter.detach().index_select(_dim(weight), rows)
            self.frozen.append((weight, rows, kept))

    def before_update(self) -> None:
        for weight, rows, _ in self.frozen:
            if weight.parameter.grad is not None:
                weight.parameter.grad.index_fill_(_dim(weight), rows, 0)

    @torch.no_grad()
    def after_update(self) -> None:
        for weight, rows, kept in self.frozen:
            weight.parameter.index_copy_(_dim(weight), rows, kept)
        self.steps += 1
        if self.options.every is not None and self.steps % self.options.every == 0:
            self.select()


def selected_rows(
    importance: list[Tensor], sizes: list[int], options: EfqatOptions
) -> list[Tensor]:
    """Which rows of each weight are trained, by their importance and its size.

    Of equals the first ones come first.
    """
    match options.select:
        case "rows":
            return [_largest(rows, options.share) for rows in importance]
        case "network":
            largest = _largest(torch.cat(importance), options.share)
            return list(torch.split(largest, [len(rows) for rows in importance]))
    means = torch.stack([rows.mean() for rows in importance])
    left = options.share * sum(sizes)
    trained = [torch.zeros(len(rows), dtype=torch.bool, device=rows.device) for rows in importance]
    for number in means.argsort(descending=True, stable=True).tolist():
        if left > 0:
            trained[number].fill_(True)
        left -= sizes[number]
    return trained


def _largest(importance: Tensor, share: float) -> Tensor:
    """The largest entries, at least one of them."""
    count = max(1, -int(-share * len(importance) // 1))
    order = importance.argsort(descending=True, stable=True)
    return torch.zeros_like(importance, dtype=torch.bool).index_fill_(0, order[:count], True)


def _dim(weight: Weight) -> int:
    """The dimension of a parameter along which its rows lie."""
    return -1 if weight.transposed else 0


class TrainedGrid(nn.Module):
    """Integers whose scales, and zero points where there are any, are trained.

    v = clamp(round(w / s) + z, low, high), value (v - z) s, one s and z a block. With the gradient
    of rounding taken as 1, that with respect to s is round(w / s) - w / s, beyond the bounds
    low - z or high - z, where w gets none (Esser et al. 2020, eq. 3 and 5); that with respect to z
    is -s beyond the bounds, else 0 (Bhalgat et al. 2020, eq. 4). Both are multiplied by
    1 / sqrt(n high), n the weights of a block: Esser et al. 2020, section 2.2, who have one block a
    layer; that these are the gradients of EfQAT, too, is our reading of it. s and z begin as those
    of rounding to nearest.
    """

    def __init__(self, weight_oi: Tensor, precision: Precision) -> None:
        super().__init__()
        from study.precision import ao

        o, i = weight_oi.shape
        self.size = o * i if precision.granularity == "tensor" else precision.group or i
        self.low, self.high = -(2 ** (precision.bits - 1)), 2 ** (precision.bits - 1) - 1
        # A weight of zero more leaves the scale as it is, and torchao needs rows of two.
        blocks = F.pad(weight_oi.detach().reshape(-1, self.size), (0, 1))
        scale, zero = ao.choose_qparams_affine(
            blocks,
            ao.MappingType.SYMMETRIC if precision.symmetric else ao.MappingType.ASYMMETRIC,
            (1, blocks.shape[1]),
            target_dtype=torch.int8,
            quant_min=self.low,
            quant_max=self.high,
            zero_point_dtype=torch.int8,
        )
        self.least = float(torch.finfo(scale.dtype).eps)
        self.scale = nn.Parameter(scale.flatten())
        zeros = zero.flatten().to(scale.dtype)
        self.zero = nn.Parameter(zeros, requires_grad=not precision.symmetric)

    def forward(self, weight_oi: Tensor) -> Tensor:
        share = 1 / sqrt(self.size * self.high)
        scale = _scaled_gradient(self.scale, share).clamp_min(self.least)[:, None]
        zero = _scaled_gradient(self.zero, share)[:, None]
        zero = StraightThrough.apply(zero, zero.detach().round())
        real = weight_oi.reshape(-1, self.size) * (1 / scale)
        integers = (real.round() + zero).clamp(self.low, self.high).detach()
        inside = (real + zero > self.low) & (real + zero < self.high)
        # The gradient of `clamp` at its bounds differs between versions of PyTorch.
        smooth = torch.where(inside, real + zero, integers)
        values: Tensor = (StraightThrough.apply(smooth, integers) - zero) * scale
        return values.view(weight_oi.shape)


def _scaled_gradient(x: Tensor, share: float) -> Tensor:
    return x * share + (x - x * share).detach()
