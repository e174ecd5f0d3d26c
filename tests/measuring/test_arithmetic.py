"""The arithmetic that models are measured in: `measure.compute`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from image_rows import ImageRows, image_dataset
from tiny_study import launch, tiny, write_study
from torch.nn.functional import cross_entropy

from study.config import MeasureConfig, load_study
from study.grid import expand
from study.launch import main as launch_main
from study.measure import main as measure
from study.measuring.arithmetic import arithmetic
from study.measuring.collect import collect
from study.measuring.passes import Passes
from study.metrics import ClassMoments, collapse_metrics
from study.models import ModelError, build_model
from study.models.base import FeatureModel
from study.models.vision_config import MLP
from study.precision import quantize
from study.settings.faults import StudyError
from study.settings.schema import plain
from study.store import Store

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
C, SHAPE = 4, (1, 8, 8)
DATA = image_dataset(C, 30, SHAPE)


def model() -> FeatureModel:
    return build_model(MLP(width=16, depth=2), classes=C, input_shape=SHAPE, seed=0).eval()


def columns(compute: Any, subject: FeatureModel) -> dict[str, Any]:
    settings = MeasureConfig(min_count=2, compute=compute)
    return collect({"": subject}, DATA, settings, seed=0, device=CPU)[""].values


def direct(subject: FeatureModel) -> dict[str, float]:
    """Columns of the model as it computes here."""
    train, val = DATA.train, DATA.val
    assert isinstance(train, ImageRows)
    assert isinstance(val, ImageRows)
    moments = ClassMoments(C, subject.head.in_features)
    moments.update(subject.features(train.images), train.labels)
    logits = subject(val.images).double()
    nc1 = collapse_metrics(moments, subject.head.weight, min_count=2)["nc1_ratio"]
    return {"val_loss": cross_entropy(logits, val.labels).item(), "nc1_ratio": nc1}


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_bf16_is_that_of_an_autocast_forward(precision: str) -> None:
    """A product rounds its factors and its result to 8 bits of mantissa, in three layers."""
    subject = quantize(model(), precision)
    half, single = columns("bf16", subject), columns("fp32", subject)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = direct(subject)
    for column, value in expected.items():
        assert half[column] == pytest.approx(value, rel=1e-6), column
        assert 0 < abs(half[column] / single[column] - 1) < 3 * 3 * 2**-8, column


@torch.no_grad()
def test_fp32_is_what_the_model_computes_by_itself() -> None:
    values = columns("fp32", model())
    for column, value in direct(model()).items():
        assert values[column] == pytest.approx(value, rel=1e-6), column


def flags() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_pytorch_is_left_as_it_was() -> None:
    """The permissions of a GPU, which PyTorch keeps without one, too."""
    before = flags()
    with arithmetic("tf32", CUDA):
        assert flags() == ("high", True)
        with arithmetic("fp32", CUDA):
            assert flags() == ("highest", False)
        assert flags() == ("high", True)
    for compute in ("fp32", "tf32", "bf16"):
        with pytest.raises(KeyError), arithmetic(compute, CPU if compute == "bf16" else CUDA):
            raise KeyError
        assert flags() == before
        assert not torch.is_autocast_enabled("cpu")


def test_products_in_tf32_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of decisions are those of float32 products, as logits in TF32 are not."""
    monkeypatch.setattr("study.measuring.arithmetic.obstacle", lambda compute, device: None)
    logits = torch.zeros(1, C)
    for compute in ("fp32", "tf32"):
        measure = MeasureConfig(compute=compute)
        passes = Passes(model(), DATA, measure, seed=0, device=CPU)
        assert passes._are_products(logits) == (compute == "fp32")


def test_tf32_is_refused_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="compute is tf32, which a cpu does not compute in: take"):
        Passes(model(), DATA, MeasureConfig(compute="tf32"), seed=0, device=CPU)
    request = ["model", "--data", "python-docs", "--tokenizer", "char", "--device", "cpu"]
    assert measure([*request, "--compute", "tf32"]) == 2
    assert "measure.compute is tf32" in capsys.readouterr().err
    study = tiny(measure={"compute": "tf32"}, resources={"device": "cpu"})
    path = str(write_study(tmp_path, study))
    for options in ((), ("--dry-run",)):
        assert launch_main([path, "--runs", str(tmp_path / "runs"), *options]) == 2
        said = capsys.readouterr().err
        assert "measure.compute: is tf32, which a cpu does not compute in. Take fp32" in said


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8-dynamic", "fp8-static", "kv8"])
def test_precisions_that_say_the_arithmetic_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    grid = {"precision": ["int8", precision]}
    with pytest.raises(StudyError) as raised:
        load_study(write_study(tmp_path, tiny(measure={"compute": "bf16"}, grid=grid)))
    (fault,) = raised.value.faults
    assert fault.path == "grid.precision[1]"
    assert f"{precision} says itself what is computed in" in fault.message
    assert measure(["model", "--precision", precision, "--compute", "bf16"]) == 2
    assert "take a precision of weights alone" in capsys.readouterr().err


def test_rows_say_the_arithmetic_and_old_keys_stay(tmp_path: Path) -> None:
    precisions = ["fp32", "int4", "rot-int4"]
    axes = {"epochs": [1], "precision": precisions, "measure.compute": ["fp32", "bf16"]}
    study = tiny(grid=axes, measure={"at": "last", "initial": "never"})
    assert launch(tmp_path, study) == 0
    rows = Store(tmp_path / "runs" / "tiny").read()
    assert rows.group_by("precision", "compute").len().height == 6
    for precision in precisions:
        single, half = (
            rows.filter(pl.col("precision") == precision, pl.col("compute") == compute)
            for compute in ("fp32", "bf16")
        )
        error = half["val_loss"].item() / single["val_loss"].item() - 1
        assert 0 < abs(error) < 1e-2
    cells = expand(load_study(write_study(tmp_path, study)))
    by_compute = {cell.config.measure.compute: cell for cell in cells}
    assert "compute" not in plain(by_compute["fp32"].config.measure)
    assert by_compute["fp32"].key != by_compute["bf16"].key
    assert len({cell.training_key for cell in cells}) == 1
