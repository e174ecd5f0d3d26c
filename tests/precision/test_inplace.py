"""A model at one precision after another, in place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.models import GPTNeoModel, build_model
from study.models.base import FeatureModel
from study.precision import (
    PrecisionError,
    at_precision,
    known_precisions,
    parse_precision,
    quantization_record,
    quantize,
)

CLASSES, CONTEXT = 64, 9


def one_of_each() -> list[str]:
    """A precision of each format, for weights alone and with inputs rounded at run time."""
    chosen: dict[Any, str] = {}
    for name in known_precisions():
        precision = parse_precision(name)
        calibrated = precision.static or precision.rotated or precision.method is not None
        if precision.tuning is None and not calibrated and (precision.group or 0) <= 64:
            chosen.setdefault((precision.format, precision.activation), name)
    return [*chosen.values(), "int4-g32-asym", "int8/body", "int8/head", "int8-kv8"]


def tiny() -> FeatureModel:
    config = GPTNeoModel(width=64, depth=1, heads=2)
    return build_model(config, classes=CLASSES, context=CONTEXT, seed=0).eval()


@pytest.fixture(scope="module")
def model() -> FeatureModel:
    return tiny()


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, CLASSES, (3, CONTEXT - 1), generator=generator)


def description(model: nn.Module) -> list[Any]:
    """Everything that a precision may change, but for the values of tensors."""
    return [
        (
            path,
            type(module),
            sorted(vars(module)),
            list(module._buffers),
            list(module._modules),
            len(module._forward_hooks) + len(module._forward_pre_hooks),
            [(name, id(parameter)) for name, parameter in module._parameters.items()],
        )
        for path, module in model.named_modules()
    ]


@pytest.mark.parametrize("name", one_of_each())
@torch.no_grad()
def test_a_precision_in_place_is_that_of_a_copy_and_leaves_nothing_behind(
    name: str, model: FeatureModel, tokens: Tensor
) -> None:
    precision, before = parse_precision(name), description(model)
    values = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    copy = quantize(model, precision)
    expected, record = copy(tokens), quantization_record(model, copy, precision)
    with at_precision(model, precision) as here:
        assert torch.equal(model(tokens), expected)
        assert here == record
        assert model.head.weight is model.embedding.weight
        assert all(
            torch.equal(tensor, copy.state_dict()[key])
            for key, tensor in model.state_dict().items()
        )
    assert description(model) == before
    for key, tensor in model.state_dict().items():
        assert tensor.dtype == values[key].dtype
        assert torch.equal(tensor, values[key])


def test_a_precision_that_fails_half_way_is_undone() -> None:
    model = tiny()
    with torch.no_grad():
        model.head.weight[0, 0] = 3e38  # beyond what int8's scale can hold after the body was done
        model.get_parameter("blocks.0.expand.weight")[0, 0] = torch.inf
    before = description(model)
    values = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for name in ("fp16", "int8"):
        with (
            pytest.raises(PrecisionError, match="not finite"),
            at_precision(model, parse_precision(name)),
        ):
            raise AssertionError("it has no such precision")
    assert description(model) == before
    assert all(torch.equal(tensor, values[key]) for key, tensor in model.state_dict().items())


def test_hooks_registered_around_a_precision_can_be_removed(
    model: FeatureModel, tokens: Tensor
) -> None:
    seen: list[str] = []
    outside = model.head.register_forward_hook(lambda *_: seen.append("outside"))
    with at_precision(model, parse_precision("int8")):
        model.head.register_forward_hook(lambda *_: seen.append("inside"))
        model(tokens)
    model(tokens)
    outside.remove()
    model(tokens)
    assert seen == ["outside", "inside", "outside"]


def test_fine_tuned_weights_are_taken_and_given_back(model: FeatureModel, tokens: Tensor) -> None:
    tuned = tiny()
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.01)
    precision, before = parse_precision("qat-int4"), model(tokens)
    with at_precision(model, precision, tuned=tuned) as record:
        assert torch.equal(model(tokens), quantize(tuned, "int4")(tokens))
    expected = quantization_record(model, quantize(tuned, "int4"), precision)
    assert record == expected
    assert torch.equal(model(tokens), before)
