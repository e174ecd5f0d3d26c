"""Selection of rows and trained scales of EfQAT, by hand and by finite differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from token_rows import cell, dataset
from torch import Tensor, nn

from study.config import CellConfig, Resources
from study.grid import Cell
from study.models import build_model
from study.models.base import FeatureModel
from study.precision import parse_precision, quantize
from study.precision.formats import round_weight
from study.precision.options import EfqatOptions, PrecisionOptions
from study.training.efqat import PartialRounding, TrainedGrid, selected_rows
from study.training.finetune import finetune, tune

CPU = torch.device("cpu")
ROWS = [torch.tensor([1.0, 5.0, 0.1, 3.5]), torch.tensor([4.0, 0.2]), torch.tensor([2.0])]
SIZES = [40, 10, 30]


@pytest.mark.parametrize(
    ("select", "share", "expected"),
    [
        ("rows", 0.5, ["0101", "10", "1"]),
        ("rows", 0.01, ["0100", "10", "1"]),
        ("network", 0.4, ["0101", "10", "0"]),  # three of seven rows
        ("network", 0.01, ["0100", "00", "0"]),
        ("layers", 0.1, ["1111", "00", "0"]),  # means 2.4, 2.1 and 2
        ("layers", 0.51, ["1111", "11", "0"]),
        ("layers", 0.63, ["1111", "11", "1"]),
    ],
)
def test_rows_are_selected_by_hand(select: Any, share: float, expected: list[str]) -> None:
    options = EfqatOptions(select=select, share=share)
    chosen = selected_rows(ROWS, SIZES, options)
    assert ["".join(str(int(row)) for row in rows) for rows in chosen] == expected


def options_of(**efqat: Any) -> CellConfig:
    options = {"qat": {"epochs": 1, "lr": 1e-2}, "efqat": efqat}
    return CellConfig.model_validate(
        cell(epochs=1, weight_decay=0.1).model_dump() | {"precision_options": options}
    )


def model_of(config: CellConfig) -> FeatureModel:
    return build_model(config.model, classes=23, input_shape=(16,), seed=0)


@pytest.mark.parametrize("select", ["network", "layers"])
def test_what_is_not_selected_stays_bit_for_bit(select: str) -> None:
    config = options_of(share=0.3, select=select)
    model = model_of(config)
    tuned = tune(model, parse_precision("efqat-int4"), config, dataset(), CPU).model
    rounding = PartialRounding(model, parse_precision("int4"), config.precision_options.efqat)
    assert sum(len(rows) for _, rows, _ in rounding.frozen) > 0
    for weight, rows, kept in rounding.frozen:
        after = tuned.get_parameter(weight.name)
        trained = [row for row in range(len(after)) if row not in rows.tolist()]
        assert torch.equal(after[rows], kept)
        if trained and select == "network":
            assert (after[trained] != weight.parameter[trained]).any()


def test_rows_are_chosen_again_every_few_steps() -> None:
    """Weight decay shrinks the trained rows until others are larger."""
    layer = nn.Linear(4, 4, bias=False)
    layer.weight.data = torch.tensor([1.0, 0.9, 0.8, 0.7])[:, None].repeat(1, 4)
    options = EfqatOptions(share=0.25, every=2)
    rounding = PartialRounding(layer, parse_precision("int8"), options)
    seen = []
    for _ in range(6):
        with torch.no_grad():
            layer.weight *= 0.9
        rounding.after_update()
        seen.append([round(float(row.mean()), 4) for row in layer.weight])
    assert seen[0] == [0.9, 0.9, 0.8, 0.7]
    assert seen[1] == [0.81, 0.9, 0.8, 0.7]  # then the second row is the largest
    assert seen[3] == [0.81, 0.729, 0.8, 0.7]  # the first again
    assert seen[5] == [0.6561, 0.729, 0.8, 0.7]


NAMES = ["int4", "int3-asym", "int4-tensor", "int2-g32"]


@pytest.mark.parametrize("name", NAMES)
def test_trained_scales_begin_as_rounding_to_nearest(name: str) -> None:
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0)) + 0.2
    precision = parse_precision(name)
    torch.testing.assert_close(
        TrainedGrid(weight, precision)(weight), round_weight(weight, precision)
    )


@pytest.mark.parametrize("name", ["int3", "int3-asym"])
def test_gradients_of_scales_and_zero_points_are_those_of_the_surrogate(name: str) -> None:
    """Rounding adds what it moved, held fixed: differences of that in float64."""
    torch.manual_seed(0)
    weight = torch.randn(3, 8)
    grid = TrainedGrid(weight, parse_precision(name))
    with torch.no_grad():
        grid.scale.mul_(0.6)  # so that some weights are clamped
        grid.zero.add_(0.2 if name.endswith("asym") else 0.0)
    w = weight.clone().requires_grad_()
    grid(w).pow(3).sum().backward()
    s0, z0, w0 = (x.detach().double() for x in (grid.scale, grid.zero, weight))
    zero_moved = z0.round() - z0
    z1 = z0.round()[:, None]
    real = w0 / s0[:, None] + z1
    integers = ((w0 / s0[:, None]).round() + z1).clamp(grid.low, grid.high)
    moved = integers - real.clamp(grid.low, grid.high)

    def loss(s: Tensor, z: Tensor, w: Tensor) -> float:
        zero = (z + zero_moved)[:, None]
        q = (w / s[:, None] + zero).clamp(grid.low, grid.high) + moved
        return float((((q - zero) * s[:, None]) ** 3).sum())

    def slopes(number: int) -> np.ndarray:
        point = [s0, z0, w0]
        values = np.zeros(tuple(point[number].shape))
        for index in np.ndindex(values.shape):
            shift = torch.zeros_like(point[number])
            shift[index] = 1e-6
            ahead = [x + shift if k == number else x for k, x in enumerate(point)]
            behind = [x - shift if k == number else x for k, x in enumerate(point)]
            values[index] = (loss(*ahead) - loss(*behind)) / 2e-6
        return values

    share = 1 / (8 * grid.high) ** 0.5
    assert grid.scale.grad is not None
    assert w.grad is not None
    np.testing.assert_allclose(grid.scale.grad, share * slopes(0), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(w.grad, slopes(2), rtol=2e-3, atol=1e-4)
    assert (w.grad == 0).any()
    if name.endswith("asym"):
        assert grid.zero.grad is not None
        np.testing.assert_allclose(grid.zero.grad, share * slopes(1), rtol=2e-3, atol=1e-4)
    else:
        assert not grid.zero.requires_grad


@pytest.mark.parametrize("name", ["efqat-int4", "efqat-int3-asym"])
def test_trained_scales_are_those_of_the_measured_weights(name: str) -> None:
    config = options_of(share=0.5, scales="trained", every=1)
    model = model_of(config)
    tuned = tune(model, parse_precision(name), config, dataset(), CPU)
    assert tuned.rounded
    follows = finetune(model, parse_precision(name), options_of(share=0.5), dataset(), CPU)
    bits = parse_precision(name).bits
    for weight in ("embedding.weight", "blocks.0.expand.weight"):
        values = tuned.model.get_parameter(weight)
        assert all(len(row.unique()) <= 2**bits for row in values)
        nearest = quantize(model, parse_precision(name).untuned).get_parameter(weight)
        assert not torch.equal(values, nearest)
        assert not torch.equal(values, follows.get_parameter(weight))
    measured = finetune(model, parse_precision(name), config, dataset(), CPU)
    assert torch.equal(tuned.model.head.weight, measured.head.weight)


def test_defaults_keep_the_keys_that_cells_had() -> None:
    def key(**efqat: Any) -> str:
        config = options_of(**efqat).model_copy(update={"precision": "efqat-int4"})
        return Cell("study", config, Resources(), "all", Path()).key

    defaults = {"select": "rows", "every": None, "scales": "follow"}
    assert key(share=0.25) == key(share=0.25, **defaults) == key()
    other = {key(select="network"), key(every=3), key(scales="trained"), key(share=0.5), key()}
    assert len(other) == 5
    assert PrecisionOptions().efqat == EfqatOptions(share=0.25)
