"""Every name of the grammar runs on a language model and on a classifier, or is refused before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from study.models import NanoGPTModel, SimpleCNN, build_model
from study.models.base import FeatureModel
from study.precision import Precision, PrecisionError, known_precisions, parse_precision, quantize
from study.precision.apply import check_precision
from study.precision.calibration import Calibration

NAMES = [name for name, each in known_precisions().items() if each.tuning is None]
FEW = [name for name in NAMES if "int" not in name or name.endswith(("int3", "-int4-a4-dynamic"))]
CACHED = ["kv8", "kv4", "bf16-kv8", "int4-a4-dynamic-kv4", "fp8-static-kv8/body", "nvfp4-kv4/head"]
SCOPES = ("body", "head", "first", "attention", "mlp", "block1")
KINDS = ("int4-g32", "int8-dynamic", "gptq-int3", "rot-int4", "fp8-static", "ternary")
SCOPED = [
    f"{name}/{SCOPES[(place + shift) % len(SCOPES)]}"
    for place, name in enumerate(KINDS)
    for shift in (0, 1)
]
"""Each kind of name with two scopes, and each scope with two kinds."""


def language_model(width: int) -> tuple[FeatureModel, Tensor]:
    settings = NanoGPTModel(kind="nanogpt", width=width, depth=1, heads=2)
    model = build_model(settings, classes=24, input_shape=(8,), seed=0).eval()
    return model, torch.randint(0, 24, (4, 8), generator=torch.Generator().manual_seed(0))


def classifier() -> tuple[FeatureModel, Tensor]:
    settings = SimpleCNN(kind="simple_cnn", width=32, depth=2)
    model = build_model(settings, classes=4, input_shape=(32, 8, 8), seed=0).eval()
    return model, torch.randn(4, 32, 8, 8, generator=torch.Generator().manual_seed(0))


MODELS: dict[str, Any] = {
    "language model": language_model(32),
    "wide language model": language_model(128),  # its rows divide into all groups
    "classifier": classifier(),
}


def runs(kind: str, name: str) -> bool:
    """Whether a precision is measured; else it is refused, and by the check beforehand, too."""
    model, inputs = MODELS[kind]
    precision = parse_precision(name)
    calibration = Calibration(inputs=lambda: iter([inputs]))
    try:
        check_precision(model, precision, inputs)
    except PrecisionError as error:
        with pytest.raises(PrecisionError) as late:
            quantize(model, precision, calibration)
        assert str(late.value) == str(error)
        return False
    measured = quantize(model, precision, calibration)
    given = inputs.to(measured.head.weight.dtype) if inputs.is_floating_point() else inputs
    with torch.no_grad():
        expected, output = model(inputs), measured(given)
    assert output.shape == expected.shape
    assert bool(output.isfinite().all())
    assert name == "fp32" or not torch.equal(output, expected)
    return True


@pytest.mark.parametrize("kind", ["language model", "classifier"])
def test_names_of_each_shape_run(kind: str) -> None:
    refused = [name for name in [*FEW, *CACHED, *SCOPED] if not runs(kind, name)]
    if kind == "language model":
        assert refused == []
    else:
        own = ("/attention", "/mlp")
        assert all("rot-" in n or "kv" in n or n.endswith(own) for n in refused), refused


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["wide language model", "classifier"])
def test_every_name_runs(kind: str) -> None:
    """Of all formats and methods, each with either cache on the language model."""
    refused = []
    for name in NAMES:
        base: Precision = parse_precision(name)
        caches = ("", "-kv8", "-kv4") if kind != "classifier" and base.format != "fp32" else ("",)
        refused += [name + cache for cache in caches if not runs(kind, name + cache)]
    impossible = ("rot-", "-g64", "-g128")  # 288 weights of a kernel divide into groups of 32
    assert all(
        kind == "classifier" and any(part in name for part in impossible) for name in refused
    ), refused
