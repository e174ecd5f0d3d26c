"""Model settings, parameter counts without torch, and the published grid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from study.models import (
    GPTNeoModel,
    ModelError,
    NanoGPTModel,
    PretrainedModel,
    build_model,
    parameter_count,
    save_checkpoint,
)


@pytest.mark.parametrize(
    "model",
    [
        GPTNeoModel(width=32, depth=1, heads=4, positions=64),
        GPTNeoModel(width=48, depth=3, heads=16, window=8, positions=40),
        NanoGPTModel(width=32, depth=2),
        NanoGPTModel(width=32, depth=2, bias=False),
        NanoGPTModel(width=24, depth=3, tied=False),
        NanoGPTModel(width=24, depth=1, tied=False, bias=False, init="kaiming"),
    ],
)
def test_the_count_is_that_of_the_built_model(model) -> None:
    built = build_model(model, classes=37, context=33, seed=0)
    assert parameter_count(model, classes=37, context=33) == sum(
        p.numel() for p in built.parameters()
    )


def test_published_sizes_run_from_3_4_to_205_million() -> None:
    """30 architectures of width 64 to 1024 and depth 1 to 12.

    The vocabulary has 50,257 tokens (Wu & Papyan 2024).
    """
    smallest = parameter_count(GPTNeoModel(width=64, depth=1), classes=50257, context=2048)
    largest = parameter_count(GPTNeoModel(width=1024, depth=12), classes=50257, context=2048)
    assert round(smallest / 1e6, 1) == 3.4
    assert round(largest / 1e6) == 205


def test_pretrained_models_are_counted_from_the_headers_of_their_files(tmp_path: Path) -> None:
    model = build_model(GPTNeoModel(width=32, depth=2, heads=4), classes=50, context=20, seed=0)
    save_checkpoint(model, tmp_path / "kept")
    config = PretrainedModel(path="kept")
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert parameter_count(config, classes=50, context=20, base=tmp_path) == expected
    assert parameter_count(PretrainedModel(path="hub:a/b"), classes=50, context=20) is None
    with pytest.raises(ModelError, match="no such folder"):
        parameter_count(PretrainedModel(path="missing"), classes=50, context=20, base=tmp_path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: GPTNeoModel(width=100, depth=1, heads=16),
            "width 100 is not a multiple of heads 16.*10, 20",
        ),
        (lambda: NanoGPTModel(width=30, depth=1, heads=4), "width 30 is not a multiple of heads 4"),
        (lambda: GPTNeoModel(width=0, depth=1), "greater than or equal to 1"),
        (lambda: GPTNeoModel(width=True, depth=1), "valid integer"),
        (
            lambda: NanoGPTModel.model_validate({"width": 32, "depth": 1, "init": "xavier"}),
            "kaiming",
        ),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(make, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make()


def test_a_context_beyond_the_positions_is_refused() -> None:
    model = GPTNeoModel(width=32, depth=1, heads=4, positions=64)
    assert parameter_count(model, classes=10, context=65) is not None
    for refused in (parameter_count, lambda *a, **k: build_model(*a, **k, seed=0)):
        with pytest.raises(
            ModelError, match=r"model.positions is 64.*data.context 66.*at least 65"
        ):
            refused(model, classes=10, context=66)


def test_counting_needs_no_torch() -> None:
    code = (
        "import sys, study.models, study.settings.schedule; sys.exit('torch' in sys.modules or "
        "'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
