"""Methods that choose the integers of a matrix by more than the nearest one.

Arrays in, arrays out. Shapes: o output channels (rows), i weights of a channel, r samples of a
layer's inputs. A convolution of n groups has n kinds of inputs: rows o / n of its weight see each.
Weights of a row that belong to one input channel, its kernel, lie side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from study.precision.grids import Grid, block_size, integer_range
from study.precision.names import Precision

COLUMNS = 128
"""Columns that GPTQ updates at a time (Frantar et al. 2023, section 3.3)."""
AWQ_STEPS = 20
"""Exponents from 0 to 1 that AWQ tries (Lin et al. 2024, eq. 5)."""
AWQ_LEAST = 1e-4
AWQ_CLIPS = 10
"""Shares of the largest weight, a twentieth apart, at which AWQ clips."""
# Proximal solver of HQQ (Badri & Shaji 2023): the norm, the weight of the penalty, its growth.
HQQ_STEPS, HQQ_NORM, HQQ_BETA, HQQ_GROWTH, HQQ_TOLERANCE = 20, 0.7, 10.0, 1.01, 1e-5


@dataclass
class InputMoments:
    """What calibration keeps of the inputs x (n, r, i) of a layer, summed in float64.

    second    sum of x x^T over samples (n, i, i): half the Hessian of a layer's squared error
    absolute  sum of |x| (n, i)
    largest   largest |x| (n, i)
    samples   how many x were added
    kernel    numbers of x that belong to one input channel
    """

    second: Tensor
    absolute: Tensor
    largest: Tensor
    samples: int = 0
    kernel: int = 1

    @classmethod
    def zeros(cls, n: int, i: int, device: torch.device, kernel: int = 1) -> InputMoments:
        """Moments of no inputs."""
        shape, options = (n, i), {"dtype": torch.float64, "device": device}
        return cls(
            torch.zeros(*shape, i, **options),  # type: ignore[call-overload]
            torch.zeros(shape, **options),  # type: ignore[call-overload]
            torch.zeros(shape, **options),  # type: ignore[call-overload]
            kernel=kernel,
        )

    def update(self, x_nri: Tensor) -> None:
        """Add samples."""
        x = x_nri.double()
        self.second += x.transpose(1, 2) @ x
        self.absolute += x.abs().sum(1)
        self.largest = torch.maximum(self.largest, x.abs().amax(1))
        self.samples += x.shape[1]

    def error(self, difference_oi: Tensor) -> float:
        """Sum over samples and outputs of (D x)^2 for a difference D of two weights."""
        difference = _by_inputs(difference_oi.double(), self.second)
        return float(((difference @ self.second) * difference).sum())

    @property
    def mean(self) -> Tensor:
        """Mean |x| of each input channel (n, i), the same over its kernel."""
        means = (self.absolute / self.samples).view(len(self.absolute), -1, self.kernel).mean(2)
        return means.repeat_interleave(self.kernel, 1)

    def largest_of_channels(self, values_ni: Tensor) -> Tensor:
        """The largest of non-negative values (n, i) over the kernel of each input channel."""
        channels = values_ni.view(len(values_ni), -1, self.kernel).amax(2)
        return channels.repeat_interleave(self.kernel, 1)


def _by_inputs(matrix_oi: Tensor, second_nii: Tensor) -> Tensor:
    """Rows by the inputs that they see, (n, o / n, i)."""
    return matrix_oi.view(len(second_nii), -1, matrix_oi.shape[1])


def gptq(
    weight_oi: Tensor,
    inputs: InputMoments,
    precision: Precision,
    *,
    damping: float = 0.01,
    order: bool = False,
) -> Tensor:
    """Values on the grid of `precision` that keep W x.

    Column by column, the error e_j = (w_j - q_j) / U_jj of rounding is made good by the columns
    after it, w_k -= e_j U_jk, with U the upper Cholesky factor of the inverse of H = sum x x^T
    (Frantar et al. 2023, algorithm 1).
    `damping` times the mean of diag(H) is added to the diagonal; inputs that are always zero get a
    1 there. Scales of groups are chosen when their first column is reached, other scales from
    `weight_oi`. With `order` columns of large diagonal come first, and all scales are chosen
    before (act-order with static groups, in the code of Frantar et al.).
    """
    H = inputs.second.clone()
    diagonal = H.diagonal(dim1=1, dim2=2)
    diagonal[diagonal == 0] = 1
    i = diagonal.shape[1]
    places = diagonal.argsort(dim=1, descending=True, stable=True) if order else None
    diagonal += damping * diagonal.mean(1, keepdim=True)
    if places is not None:
        H = H.take_along_dim(places[:, :, None], 1).take_along_dim(places[:, None, :], 2)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(H))
    U = torch.linalg.cholesky(inverse, upper=True)
    grid = Grid.of(weight_oi, precision)
    scale, zero = (_by_inputs(each, U).clone() for each in (grid.scale, grid.zero))
    W = _by_inputs(weight_oi.double(), U).clone()
    if places is not None:
        columns = places[:, None, :].expand(W.shape)
        scale, zero, W = (each.gather(2, columns) for each in (scale, zero, W))
    integers = torch.empty_like(W)
    late = None if places is not None else precision.group
    for start in range(0, i, COLUMNS):
        end = min(start + COLUMNS, i)
        errors = torch.empty_like(W[:, :, start:end])
        for k in range(start, end):
            if late is not None and k % late == 0:
                # Groups never straddle the columns that are updated at a time.
                group = W[:, :, k : k + late].reshape(-1, late).to(weight_oi.dtype)
                own = Grid.of(group, precision)
                scale[:, :, k : k + late] = _by_inputs(own.scale, U)
                zero[:, :, k : k + late] = _by_inputs(own.zero, U)
            column = Grid(scale[:, :, k], zero[:, :, k], grid.low, grid.high)
            integers[:, :, k] = column.integers(W[:, :, k])
            error = (W[:, :, k] - column.values(integers[:, :, k])) / U[:, k, k, None]
            W[:, :, k:end] -= error[:, :, None] * U[:, None, k, k:end]
            errors[:, :, k - start] = error
        W[:, :, end:] -= errors @ U[:, start:end, end:]
    values = Grid(scale, zero, grid.low, grid.high).values(integers)
    if places is not None:
        values = torch.empty_like(values).scatter(2, places[:, None, :].expand(W.shape), values)
    return values.view(weight_oi.shape)


def awq(weight_oi: Tensor, inputs: InputMoments, precision: Precision) -> Tensor:
    """Nearest values after input channels were scaled and large weights clipped.

    round(clip(W diag(s))) diag(1 / s), with `awq_scales` (Lin et al. 2024, eq. 4) and `clipped`
    (section 4.1).
    """
    s_ni = awq_scales(weight_oi, inputs, precision)
    s_oi = of_rows(s_ni, weight_oi)
    second = inputs.second / (s_ni[:, :, None] * s_ni[:, None, :])
    return clipped(weight_oi * s_oi, second, precision) / s_oi


def clipped(weight_oi: Tensor, second_nii: Tensor, precision: Precision) -> Tensor:
    """Nearest values after large weights were clipped where that errs least.

    At 1, 0.95, ..., 0.55 times their largest. The error of a block of weights is that of its part
    of W x, as in the code of Lin et al. 2024.
    """
    n, i = second_nii.shape[:2]
    size = block_size(i, precision)
    second_nbii = (
        second_nii.view(n, i // size, size, i // size, size)
        .diagonal(dim1=1, dim2=3)
        .permute(0, 3, 1, 2)
    )
    blocks_obi = weight_oi.view(-1, i // size, size)
    largest = blocks_obi.abs().amax(2, keepdim=True)
    if precision.granularity == "tensor":
        largest = largest.amax()
    best_obi, least = blocks_obi, torch.full((), float("inf"), device=weight_oi.device)
    for step in range(AWQ_CLIPS):
        bound = largest * (1 - step / AWQ_STEPS)
        matrix = blocks_obi.clamp(-bound, bound).view(weight_oi.shape)
        values_obi = Grid.of(matrix, precision).round(matrix).view(blocks_obi.shape)
        difference = (values_obi - blocks_obi).double().view(n, -1, i // size, size)
        products = torch.einsum("nobi,nbij->nobj", difference, second_nbii)
        error = (products * difference).sum(3).flatten(0, 1)[:, :, None]
        if precision.granularity == "tensor":
            error = error.sum()
        best_obi = torch.where(error < least, values_obi, best_obi)
        least = torch.minimum(error, least)
    return best_obi.reshape(weight_oi.shape)


def awq_scales(weight_oi: Tensor, inputs: InputMoments, precision: Precision) -> Tensor:
    """Scales s (n, i) by mean activation that keep W x best (Lin et al. 2024, eq. 5).

    Of s = mean|x|^a, a = 0, 1/20, ..., 19/20, divided by sqrt(max s min s). a = 0 is rounding to
    nearest, so the error on the calibration inputs is never above that.
    """
    mean = inputs.mean
    candidates = []
    for step in range(AWQ_STEPS):
        s = (mean ** (step / AWQ_STEPS)).clamp(min=AWQ_LEAST)
        candidates.append(s / (s.amax(1, keepdim=True) * s.amin(1, keepdim=True)).sqrt())

    def error(s_ni: Tensor) -> float:
        return inputs.error(round_scaled(weight_oi, s_ni, precision) - weight_oi)

    return min(candidates, key=error)


def round_scaled(weight_oi: Tensor, s_ni: Tensor, precision: Precision) -> Tensor:
    """round(W diag(s)) diag(1 / s), each row by the scales of the inputs that it sees."""
    s_oi = of_rows(s_ni, weight_oi)
    scaled = weight_oi * s_oi
    return Grid.of(scaled, precision).round(scaled) / s_oi


def of_rows(s_ni: Tensor, weight_oi: Tensor) -> Tensor:
    """Numbers of inputs for each row of the weight."""
    return s_ni.to(weight_oi.dtype).repeat_interleave(len(weight_oi) // len(s_ni), 0)


def smooth_scales(weight_oi: Tensor, inputs: InputMoments, strength: float) -> Tensor:
    """Scales s (n, i) that move the range of inputs into the weights.

    s_j = max|x_j|^strength / max|w_j|^(1 - strength) (Xiao et al. 2023, eq. 4); the layer computes
    (W diag(s)) (x / s). The weights of an input channel, its kernel, have one scale. A least value
    keeps channels of zeros from scales of zero.
    """
    least = torch.finfo(torch.float32).eps
    weights = _by_inputs(weight_oi.double().abs(), inputs.second).amax(1)
    weights, largest = map(inputs.largest_of_channels, (weights, inputs.largest))
    return (largest + least) ** strength / (weights + least) ** (1 - strength)


def hqq(weight_oi: Tensor, precision: Precision) -> Tensor:
    """Half-quadratic quantization, which needs no data (Badri & Shaji 2023).

    Formats with zero points: minimizes sum |W - (q - z) s|^0.7 over real z, by turns with an error
    that is shrunk towards zero; s is that of the range. Symmetric formats, which have no z: least
    squares of s and nearest q by turns. Zero points are kept in the dtype of the weights.
    """
    size = weight_oi.numel() if precision.granularity == "tensor" else weight_oi.shape[1]
    blocks = weight_oi.float().reshape(-1, block_size(size, precision))
    solve = _scales_of_hqq if precision.symmetric else _zeros_of_hqq
    return solve(blocks, *integer_range(precision), weight_oi.dtype).view(weight_oi.shape)


def _scales_of_hqq(blocks: Tensor, low: int, high: int, dtype: torch.dtype) -> Tensor:
    least = torch.finfo(torch.float32).eps
    scale = (blocks.abs().amax(1, keepdim=True) / -low).clamp_min(least)
    for _ in range(HQQ_STEPS):
        integers = (blocks / scale).round().clamp(low, high)
        products, squares = ((blocks * integers).sum(1), (integers * integers).sum(1))
        fitted = torch.where(squares > 0, products / squares, scale[:, 0])[:, None]
        fitted = fitted.clamp_min(least)
        step = ((fitted - scale).abs() / scale).max()
        scale = fitted
        if step < HQQ_TOLERANCE:
            break
    return (blocks / scale).round().clamp(low, high).to(dtype) * scale.to(dtype)


def _zeros_of_hqq(blocks: Tensor, low: int, high: int, dtype: torch.dtype) -> Tensor:
    smallest, largest = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    steps = float(high - low)
    # A block of one value is a zero point alone; its scale is any.
    inverse = (steps / (largest - smallest)).nan_to_num(posinf=1.0).clamp(max=2e4)
    zero, beta, best = -smallest * inverse, HQQ_BETA, float("inf")
    for _ in range(HQQ_STEPS):
        integers = (blocks * inverse + zero).round().clamp(0, steps)
        error = blocks - (integers - zero) / inverse
        shrunk = error.abs() - error.abs() ** (HQQ_NORM - 1) / beta
        error_kept = error.sign() * shrunk.relu()
        zero = (integers - (blocks - error_kept) * inverse).mean(1, keepdim=True)
        beta *= HQQ_GROWTH
        size = float(error.abs().mean())
        if size >= best:
            break
        best = size
    integers = (blocks * inverse + zero).round().clamp(0, steps)
    return (integers.to(dtype) - zero.to(dtype)) * (1 / inverse).to(dtype)
