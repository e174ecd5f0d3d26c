"""Methods of calibration: by hand, against plain loops in float64, and against torchao."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from study.precision import known_precisions, parse_precision
from study.precision.calibrate import (
    InputMoments,
    awq,
    awq_scales,
    gptq,
    hqq,
    smooth_scales,
)
from study.precision.formats import round_weight
from study.precision.grids import Grid

INTEGERS = [
    p
    for p in known_precisions().values()
    if p.family == "int" and not (p.tuning or p.method or p.rotated or p.activation)
]


def layer(
    seed: int, o: int = 24, i: int = 64, samples: int = 200, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """A weight (o, i) and correlated inputs (1, samples, i) of unequal sizes."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(o, i, generator=generator) * 0.1
    mixing = torch.randn(i, i, generator=generator) / math.sqrt(i) + torch.eye(i)
    sizes = torch.rand(i, generator=generator) * 3 + 0.1
    inputs = (torch.randn(samples, i, generator=generator) @ mixing * sizes)[None]
    return weight.to(dtype), inputs.to(dtype)


def moments(inputs: Tensor) -> InputMoments:
    result = InputMoments.zeros(inputs.shape[0], inputs.shape[2], inputs.device)
    half = inputs.shape[1] // 2
    result.update(inputs[:, :half])
    result.update(inputs[:, half:])
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_grid_holds_the_values_of_every_integer_format(dtype: torch.dtype) -> None:
    weight = layer(0, 24, 128, dtype=dtype)[0]
    weight[3] = 0
    for precision in INTEGERS[::3]:
        for matrix in (weight, weight[:, :1].contiguous()):
            if precision.group is not None and matrix.shape[1] == 1:
                continue
            rounded = Grid.of(matrix, precision).round(matrix)
            assert rounded.dtype == dtype
            assert torch.equal(rounded, round_weight(matrix, precision)), precision


def test_moments_are_sums_over_samples() -> None:
    inputs = layer(1)[1].expand(2, -1, -1) * torch.tensor([1.0, 2.0])[:, None, None]
    result, x = moments(inputs), inputs.double().numpy()
    np.testing.assert_allclose(result.second, np.einsum("nri,nrj->nij", x, x), rtol=1e-12)
    np.testing.assert_allclose(result.absolute, np.abs(x).sum(1), rtol=1e-12)
    np.testing.assert_allclose(result.largest, np.abs(x).max(1))
    assert result.samples == 200
    difference = torch.randn(6, 64)
    outputs = np.einsum("nri,nai->nra", x, difference.double().numpy().reshape(2, 3, 64))
    assert result.error(difference) == pytest.approx((outputs**2).sum(), rel=1e-12)


def loop_of_gptq(
    weight: np.ndarray, x: np.ndarray, scale: np.ndarray, low: int, high: int, damping: float
) -> np.ndarray:
    """Optimal brain quantization in a fixed order (Frantar et al. 2023, eq. 2 and 3).

    Not by a Cholesky factor: the inverse Hessian of the weights that are left is made anew for
    every column.
    """
    W, o, i = weight.astype(np.float64).copy(), *weight.shape
    H = x.T @ x
    H = H + damping * np.diag(H).mean() * np.eye(i)
    values = np.zeros_like(W)
    for k in range(i):
        inverse = np.linalg.inv(H[k:, k:])
        for row in range(o):
            q = min(max(np.round(W[row, k] / scale[row, k]), low), high)
            values[row, k] = q * scale[row, k]
            error = (W[row, k] - values[row, k]) / inverse[0, 0]
            W[row, k:] -= error * inverse[0]
    return values


@pytest.mark.parametrize("name", ["int4", "int3", "int2", "int3-tensor", "int8"])
def test_gptq_equals_a_plain_loop(name: str) -> None:
    weight, inputs = layer(2, o=6, i=160)
    precision = parse_precision(name)
    grid = Grid.of(weight, precision)
    expected = loop_of_gptq(
        weight.numpy(), inputs[0].double().numpy(), grid.scale.numpy(), grid.low, grid.high, 0.01
    )
    values = gptq(weight, moments(inputs), precision)
    np.testing.assert_allclose(values, expected, atol=1e-5 * float(weight.abs().max()))


def test_gptq_in_another_order_is_gptq_of_permuted_columns() -> None:
    weight, inputs = layer(3, o=5, i=32)
    precision = parse_precision("int3")
    order = (inputs[0].double() ** 2).sum(0).argsort(descending=True)
    grid = Grid.of(weight, precision)
    expected = np.zeros(weight.shape)
    expected[:, order] = loop_of_gptq(
        weight[:, order].numpy(),
        inputs[0].double().numpy()[:, order],
        grid.scale[:, order].numpy(),
        grid.low,
        grid.high,
        0.05,
    )
    values = gptq(weight, moments(inputs), precision, damping=0.05, order=True)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_gptq_of_two_weights_by_hand() -> None:
    """int2 with scale 1 has the integers -2 to 1; x x^T = [[4, 2], [2, 4]], hardly damped.

    0.4 becomes 0; the weight after it makes good for 0.4 by 0.4 * 2 / 4, and 0.501 rounds to 1.
    -1.5 is a tie and becomes -2, an error of 0.5; 1.5 + 0.5 * 2 / 4 = 1.75 is clamped to 1.
    """
    weight = torch.tensor([[0.4, 0.301], [-1.5, 1.5]])
    inputs = torch.tensor([[[2.0, 1.0], [0.0, math.sqrt(3)]]])
    precision = parse_precision("int2-tensor")
    assert torch.equal(Grid.of(weight, precision).scale, torch.ones(2, 2))
    assert round_weight(weight, precision).tolist() == [[0, 0], [-2, 1]]
    assert gptq(weight, moments(inputs), precision, damping=1e-9).tolist() == [[0, 1], [-2, 1]]


def test_inputs_that_are_always_zero_round_to_nearest() -> None:
    weight, inputs = layer(4, o=5, i=32)
    inputs[:, :, 7] = 0
    precision = parse_precision("int3")
    values = gptq(weight, moments(inputs), precision)
    assert torch.equal(values[:, 7], round_weight(weight, precision)[:, 7])


def test_gptq_of_groups_of_channels_is_that_of_each_group() -> None:
    """A convolution of two groups: half of the rows see each kind of inputs."""
    precision = parse_precision("int3")
    (first, x), (second, y) = layer(5), layer(6)
    together = gptq(torch.cat([first, second]), moments(torch.cat([x, y])), precision)
    apart = [gptq(first, moments(x), precision), gptq(second, moments(y), precision)]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=0)


def torchao_without_assertions(module: str) -> Any:
    """A module of torchao whose assertion that the device is CUDA does not hold here."""
    spec = importlib.util.find_spec(f"torchao.prototype.{module}")
    assert spec is not None
    assert spec.origin is not None
    names = {"__name__": f"torchao.prototype.{module}"}
    code = Path(spec.origin).read_text(encoding="utf-8")
    code = code.replace("@register_quantize_module_handler(GPTQConfig)", "")
    exec(compile(code, spec.origin, "exec", optimize=1, dont_inherit=True), names)
    return SimpleNamespace(**names)


def test_gptq_equals_torchao(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, PerRow

    reference = torchao_without_assertions("gptq.api")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    weight, inputs = layer(7, o=12, i=192)
    config = reference.GPTQConfig(base_config=Int8WeightOnlyConfig(granularity=PerRow(), version=2))
    hessian = 2 * (inputs[0].T @ inputs[0]) / inputs.shape[1]
    expected = reference.gptq_quantize(hessian, weight.clone(), config).dequantize()
    values = gptq(weight, moments(inputs), parse_precision("int8"))
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)
    assert not torch.equal(values, round_weight(weight, parse_precision("int8")))


@pytest.mark.parametrize("name", ["int8", "int4-g32"])
def test_awq_equals_torchao(name: str) -> None:
    from torchao.prototype.awq.core import AWQObserver
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, PerRow

    weight, inputs = layer(8)
    config = (
        Int8WeightOnlyConfig(granularity=PerRow(), version=2)
        if name == "int8"
        else IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, f"int{4}"), granularity=PerGroup(32), version=2
        )
    )
    observer = AWQObserver(weight, None, config)
    for part in inputs[0].split(50):
        observer(part, part)
    s = awq_scales(weight, moments(inputs), parse_precision(name))
    torch.testing.assert_close(s[0].float(), observer.calculate_qparams(), rtol=1e-5, atol=0)
    assert s.max() > 1.1


@pytest.mark.parametrize("name", ["int3", "int2-asym", "int3-tensor", "int3-g32"])
def test_awq_equals_plain_loops_that_keep_the_inputs(name: str) -> None:
    """First over scales, then over clips of each row and group, or of the tensor."""
    weight, inputs = layer(9, o=4)
    x, precision = inputs[0].double(), parse_precision(name)
    scales = []
    for step in range(20):
        s = x.abs().mean(0) ** (step / 20)
        scales.append((s / (s.max() * s.min()).sqrt()).float())

    def error(s: Tensor) -> float:
        values = round_weight(weight * s, precision) / s
        return float((x @ (values - weight).double().T).square().sum())

    s = min(scales, key=error)
    scaled, read = weight * s, x / s.double()
    size = precision.group or weight.shape[1]
    rows = (
        [slice(0, 4)] if precision.granularity == "tensor" else [slice(o, o + 1) for o in range(4)]
    )
    expected = torch.zeros_like(weight)
    for row, start in itertools.product(rows, range(0, weight.shape[1], size)):
        part = scaled[row, start : start + size]
        found = []
        for step in range(10):
            bound = part.abs().max() * (1 - step / 20)
            values = round_weight(part.clamp(-bound, bound), precision)
            missed = read[:, start : start + size] @ (values - part).double().T
            found.append((float(missed.square().sum()), values))
        expected[row, start : start + size] = min(found, key=lambda each: each[0])[1]
    values = awq(weight, moments(inputs), precision)
    torch.testing.assert_close(values, expected / s, rtol=0, atol=1e-6)


def test_awq_scales_by_hand() -> None:
    """Mean inputs of 16 and 1 and the exponent 1 / 2 scale columns by 2 and 1 / 2.

    That gives [[3, 1], [-1, 2]], which integers of 2 bits hold with a zero point and scale 1.
    """
    weight = torch.tensor([[1.5, 2.0], [-0.5, 4.0]])
    seen = moments(torch.tensor([[[24.0, 1.0], [-8.0, -1.0]]]))
    precision = parse_precision("int2-asym")
    nearest = torch.tensor([[4 / 3, 2.0], [0.0, 4.5]])
    torch.testing.assert_close(round_weight(weight, precision), nearest)
    s = awq_scales(weight, seen, precision)
    torch.testing.assert_close(s, torch.tensor([[2.0, 0.5]]).double(), rtol=1e-12, atol=0)
    torch.testing.assert_close(awq(weight, seen, precision), weight, rtol=1e-6, atol=0)


def test_clipping_of_awq_by_hand() -> None:
    """Inputs of one size leave scales at 1; clipped at 3 / 4, both rows have the scale 1 / 2."""
    weight = torch.tensor([[-1.0, 0.5], [0.0, -1.0]])
    seen = moments(torch.tensor([[[1.0, 1.0], [1.0, -1.0]]]))
    precision = parse_precision("int2")
    nearest = torch.tensor([[-4 / 3, 2 / 3], [0.0, -4 / 3]])
    torch.testing.assert_close(round_weight(weight, precision), nearest)
    assert awq_scales(weight, seen, precision).tolist() == [[1, 1]]
    assert torch.equal(awq(weight, seen, precision), weight)


def test_smooth_scales_by_hand_and_of_torchao() -> None:
    from torchao.prototype.smoothquant.core import SmoothQuantObserver

    inputs = torch.tensor([[[4.0, 0.5], [-1.0, -1.0]]])
    weight = torch.tensor([[1.0, 4.0], [-0.5, 2.0]])
    s = smooth_scales(weight, moments(inputs), 0.5)
    torch.testing.assert_close(s, torch.tensor([[2.0, 0.5]]).double(), rtol=1e-6, atol=0)
    weight, inputs = layer(10)
    observer = SmoothQuantObserver(weight, alpha=0.7)
    observer(inputs[0])
    expected, _, _ = observer.calculate_qparams()
    s = smooth_scales(weight, moments(inputs), 0.7)
    torch.testing.assert_close(s[0].float(), expected, rtol=1e-5, atol=0)


def test_hqq_by_hand() -> None:
    """int2 begins with the scale 1 / 2, and both integers are 1; (1 + 0.6) / 2 fits them best."""
    values = hqq(torch.tensor([[1.0, 0.6], [0.0, 0.0]]), parse_precision("int2"))
    torch.testing.assert_close(values, torch.tensor([[0.8, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("name", ["int2", "int3-g32", "int4", "int8-g64"])
def test_hqq_of_symmetric_formats_equals_torchao(name: str) -> None:
    from torchao.quantization.quant_primitives import _choose_qparams_and_quantize_scale_only_hqq

    weight, precision = layer(11)[0], parse_precision(name)
    size = precision.group or weight.shape[1]
    half = 2 ** (precision.bits - 1)
    integers, scale = _choose_qparams_and_quantize_scale_only_hqq(
        weight, [1, size], -half, half - 1
    )
    expected = integers * scale.repeat_interleave(size, 1)
    torch.testing.assert_close(hqq(weight, precision), expected, rtol=0, atol=1e-5)
    squared = (hqq(weight, precision) - weight).square().sum()
    assert squared < (round_weight(weight, precision) - weight).square().sum()


@pytest.mark.parametrize("name", ["int2-asym", "int3-g32-asym", "int5-asym"])
def test_hqq_with_zero_points_equals_torchao(name: str) -> None:
    """But int4, whose zero points torchao rounds once before it begins."""
    from torchao.quantization.quant_primitives import _choose_qparams_and_quantize_affine_hqq

    weight, precision = layer(12)[0] + 0.05, parse_precision(name)
    size = precision.group or weight.shape[1]
    integers, scale, zero, _ = _choose_qparams_and_quantize_affine_hqq(
        weight, precision.bits, size, compute_dtype=torch.float32, device="cpu", raw_output=True
    )
    blocks = integers.float().reshape(-1, size)
    expected = ((blocks - zero.reshape(-1, 1)) * scale.reshape(-1, 1)).view(weight.shape)
    torch.testing.assert_close(hqq(weight, precision), expected, rtol=0, atol=1e-5)


def test_hqq_of_blocks_of_one_value_keeps_them() -> None:
    weight = torch.full((2, 32), 0.25)
    for name in ("int3-asym", "int3"):
        torch.testing.assert_close(hqq(weight, parse_precision(name)), weight)


@pytest.mark.parametrize("name", ["int4", "int3", "int2", "int3-g32", "int3-asym", "int4-g32-asym"])
@pytest.mark.parametrize("order", [False, True])
def test_gptq_never_errs_more_than_rounding_to_nearest(name: str, order: bool) -> None:
    """On the inputs it was calibrated with, on 20 random layers."""
    precision = parse_precision(name)
    for seed in range(20):
        weight, inputs = layer(seed)
        seen = moments(inputs)
        values = gptq(weight, seen, precision, order=order)
        rounded = round_weight(weight, precision)
        assert seen.error(values - weight) < seen.error(rounded - weight), seed
