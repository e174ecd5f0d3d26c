"""Geometric complexity against loops of autograd and a closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import launch
from torch import Tensor

from study.data import load_data
from study.data.config import ImagesData
from study.measuring.samples import measured_rows
from study.metrics.complexity import squared_jacobians
from study.models import MLP, load_checkpoint
from study.models.vision_config import SimpleCNN
from study.precision import quantize
from study.store import RunPaths, Store

STUDY: dict[str, Any] = {
    "name": "complexity",
    "data": {"kind": "images", "quota": 10, "seed": 2},
    "model": {"kind": "mlp", "width": 10, "depth": 2},
    "train": {"lr": 0.01, "batch_size": 32},
    "measure": {"at": "last", "initial": "never", "layers": "all", "complexity_samples": 7},
    "grid": {"epochs": [2], "precision": ["fp32", "int4", "int8-dynamic"], "seed": [0]},
    "keep": "last",
}


def by_loops(model: Any, inputs: Tensor) -> Tensor:
    """Squared Frobenius norms of the Jacobian of each row alone."""
    norms = []
    for row in inputs:
        jacobian = torch.autograd.functional.jacobian(lambda x: model.features(x[None])[0], row)
        norms.append((jacobian.double() ** 2).sum())
    return torch.stack(norms)


@pytest.mark.parametrize("settings", [MLP(width=6, depth=2), SimpleCNN(width=4, depth=1)], ids=str)
def test_norms_are_those_of_the_jacobian_of_each_row(settings: Any) -> None:
    model = settings.build(classes=3, input_shape=(1, 8, 8), seed=0).double().eval()
    inputs = torch.randn(
        3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    norms = squared_jacobians(model.features, inputs)
    assert torch.allclose(norms, by_loops(model, inputs), rtol=1e-10)
    assert norms.std() > 0


def test_of_a_linear_map_it_is_the_norm_of_its_matrix() -> None:
    weight = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    norms = squared_jacobians(lambda x: x.flatten(1) @ weight.T, torch.ones(3, 1, 3, 3).double())
    assert torch.allclose(norms, weight.square().sum().expand(3), rtol=1e-12)


def test_rows_have_the_mean_at_every_precision(tmp_path: Path) -> None:
    assert launch(tmp_path, STUDY) == 0
    run = tmp_path / "runs" / "complexity"
    rows = Store(run).read().filter(epoch=2)
    inner = rows.filter(rows["layer"].is_not_null())
    assert inner["geometric_complexity"].null_count() == len(inner) > 0
    config = ImagesData(**STUDY["data"])
    data = load_data(config, base=run, cache=run)
    inputs, _ = data.train.batch(measured_rows(data.train, 7, config.seed))
    assert len(inputs) == 7
    model = load_checkpoint(RunPaths(run).checkpoint(rows["training"][0], epoch=2)).eval()
    head = rows.filter(rows["layer"].is_null())
    values = dict(head.select("precision", "geometric_complexity").rows())
    for precision in ("fp32", "int4"):
        at = quantize(model, precision).eval() if precision != "fp32" else model
        assert values[precision] == pytest.approx(float(by_loops(at, inputs).mean()), rel=1e-5)
    # Rounding of inputs passes derivatives straight through, so it changes little.
    assert values["int8-dynamic"] == pytest.approx(values["fp32"], rel=0.1)
    assert values["int8-dynamic"] != values["fp32"]
    assert set(rows["undefined"].drop_nulls().str.contains("geometric_complexity")) == {False}


def test_tokens_have_no_derivative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = {
        **STUDY,
        "data": {"kind": "text"},
        "model": {"kind": "nanogpt", "width": 8, "depth": 1, "heads": 2},
    }
    assert launch(tmp_path, study, "--dry-run") == 2
    assert "data.kind text gives tokens" in " ".join(capsys.readouterr().err.split())
