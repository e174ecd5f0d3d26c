"""Every registered kind of model and data, through all that is done with it.

A kind without an example here fails, so that no kind is forgotten.
"""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from pydantic import TypeAdapter

from study.config import CellConfig, MeasureConfig
from study.data import (
    DATA_KINDS,
    DataConfig,
    DataSettings,
    check_data,
    estimate,
    load_data,
)
from study.data.base import Dataset, sample_count
from study.measure import main as measure
from study.measuring.collect import collect
from study.models import (
    MODEL_KINDS,
    ModelConfig,
    ModelSettings,
    build_model,
    load_checkpoint,
    parameter_count,
    save_checkpoint,
)
from study.models.base import FeatureModel
from study.precision import quantize

MODELS: dict[str, dict[str, Any]] = {
    "gpt_neo": {"width": 8, "depth": 2, "heads": 2, "window": 4, "positions": 32},
    "nanogpt": {"width": 8, "depth": 1, "heads": 2},
    "pretrained": {"path": "origin"},
    "simple_cnn": {"width": 8, "depth": 2},
    "resnet18": {},
    "mobilenet_v3": {},
    "convnext": {"width": 8, "depth": 6},
    "mlp": {"width": 12, "depth": 2},
    "ufm": {"width": 4},
}
HEADS: dict[str, dict[str, Any]] = {
    "nanogpt/cosine": {"tied": False, "head": "cosine"},
    "nanogpt/fixed_etf": {"tied": False, "head": "fixed_etf", "width": 64},
    "mlp/cosine": {"head": "cosine", "temperature": 0.2},
    "ufm/cosine": {"head": "cosine"},
    "mlp/cumulative_link": {"head": "cumulative_link"},
    "ufm/cumulative_link": {"head": "cumulative_link"},
}
"""Heads of some kinds, which are sent with them."""
DATA: dict[str, dict[str, Any]] = {
    "text": {"context": 16, "train_tokens": 1600, "val_tokens": 800},
    "balanced": {"context": 16, "quota": 20, "min_class_count": 200},
    "stories": {"words_per_list": 2, "context": 16, "train_tokens": 1600, "val_tokens": 800},
    "images": {"quota": 12, "val_fraction": 0.05},
    "free": {"classes": 3, "quota": 12},
    "modular": {"p": 31, "train_fraction": 0.6},
    "regression": {"samples": 100, "target_dim": 3},
    "free_regression": {"samples": 50, "target_dim": 3},
}
READ = {"tokens": "stories", "images": "images", "samples": "free"}
"""The kind of data that a model is sent with, by what it reads."""
READER = {"tokens": "gpt_neo", "images": "mlp", "samples": "ufm", "vectors": "mlp"}
"""The kind of model that data are sent with, by what they give."""
CPU = torch.device("cpu")


def name_of(kind: type[ModelSettings] | type[DataSettings]) -> str:
    return str(kind.model_fields["kind"].default)


def model_settings(kind: str) -> ModelSettings:
    kind, _, head = kind.partition("/")
    own = HEADS[f"{kind}/{head}"] if head else {}
    return TypeAdapter(ModelConfig).validate_python({"kind": kind, **MODELS[kind], **own})


def data_settings(kind: str) -> DataSettings:
    return TypeAdapter(DataConfig).validate_python({"kind": kind, **DATA[kind]})


def build(settings: ModelSettings, data: Dataset, folder: Path) -> FeatureModel:
    return build_model(
        settings, classes=data.classes, input_shape=data.input_shape, seed=0, base=folder
    ).eval()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that nothing is written elsewhere."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_measured(model: FeatureModel, data: Dataset, settings: DataSettings, folder: Path) -> None:
    """`collect` and the command agree on every column, at two precisions."""
    models = {"fp32": model, "int8": quantize(model, "int8").eval()}
    measurements = collect(
        models,
        data,
        MeasureConfig(layers="all"),
        seed=settings.seed,
        device=CPU,
        reference="fp32",
    )
    save_checkpoint(model, folder / "kept")
    (folder / "data.yaml").write_text(yaml.safe_dump({"data": settings.model_dump()}))
    command = ["kept", "--data", "data.yaml", "--precision", "fp32,int8", "--layers", "all"]
    assert measure([*command, "--device", "cpu", "--out", "rows.parquet"]) == 0
    rows = pl.read_parquet("rows.parquet").rows_by_key(
        ["precision", "layer"], named=True, unique=True
    )
    expected = {
        (precision, layer): values.values
        for precision, measurement in measurements.items()
        for layer, values in measurement.by_layer()
    }
    assert rows.keys() == expected.keys()
    assert {layer for _, layer in rows} == {None, *model.layers}
    for key, values in expected.items():
        assert {column: rows[key][column] for column in values} == values
    assert rows["int8", None]["weight_error"] > 0
    if data.predicts == "classes":
        assert rows["fp32", None]["classes_measured"] > 1
    else:
        assert rows["fp32", None]["nrc1"] > 0 and rows["int8", None]["nrc2"] > 0
        assert rows["fp32", None]["nc1_ratio"] is None


@pytest.mark.parametrize(
    "kind",
    [
        *(name_of(kind) for kind in MODEL_KINDS),
        *(pytest.param(name, marks=pytest.mark.long) for name in HEADS),
    ],
)
def test_every_kind_of_model(kind: str, folder: Path) -> None:
    settings = model_settings(kind)
    data_kind = data_settings(READ[settings.reads or "tokens"])
    data = load_data(data_kind, base=folder, cache=folder / "cache")
    if kind == "pretrained":
        save_checkpoint(build(model_settings("gpt_neo"), data, folder), folder / "origin")
    model = build(settings, data, folder)
    counted = parameter_count(
        settings, classes=data.classes, input_shape=data.input_shape, base=folder
    )
    assert counted == sum(parameter.numel() for parameter in model.parameters())

    inputs, targets = data.train.batch(np.arange(3))
    features, logits = model.features(inputs), model(inputs)
    assert features.shape == (*targets.shape, model.head.in_features)
    assert logits.shape == (*targets.shape, data.classes)
    assert torch.equal(logits, model.scaled(model.head(features)))
    if readable := settings.readable():
        with pytest.raises(ValueError, match=f"reads {' or '.join(readable)}, not inputs of shape"):
            settings.build(classes=data.classes, input_shape=(1, 2), seed=0)

    save_checkpoint(model, folder / "saved")
    assert torch.equal(load_checkpoint(folder / "saved").eval()(inputs), logits)
    is_measured(model, data, data_kind, folder)


@pytest.mark.parametrize("kind", [name_of(kind) for kind in DATA_KINDS])
def test_every_kind_of_data(kind: str, folder: Path) -> None:
    settings = data_settings(kind)
    cache = folder / "runs" / ".cache"
    check_data(settings, base=folder)
    data = load_data(settings, base=folder, cache=cache)
    size = estimate(settings, base=folder, cache=cache)
    assert size is not None
    assert (size.train_rows, size.classes) == (len(data.train), data.classes)
    assert size.input_shape == data.input_shape
    assert (size.train_samples, size.val_samples) == (data.train.samples, data.val.samples)
    assert load_data(settings, base=folder, cache=cache).fingerprint == data.fingerprint

    for split in (data.train, data.val):
        inputs, targets = split.batch(np.arange(len(split)))
        if settings.gives != "samples":
            assert inputs.shape[1:] == data.input_shape
        assert sample_count(targets) == split.samples
        assert targets.is_floating_point() == (data.predicts == "vectors")
    assert settings.predicts == data.predicts
    if data.predicts == "classes":
        assert data.class_counts.sum() == data.train.samples
        assert len(data.class_names) == len(data.class_counts) == data.classes
    else:
        assert targets.shape[1] == data.classes
        assert not len(data.class_names) and not len(data.class_counts)
    assert settings.has_floor == ("entropy_floor" in data.facts)
    assert settings.known_shape in (None, data.input_shape)
    assert not settings.has_even_classes or len(set(data.class_counts) - {0}) == 1
    assert settings.ood_sets == tuple(data.ood)
    assert settings.hub_source is None

    model = build(model_settings(READER[settings.gives]), data, folder)
    is_measured(model, data, settings, folder)


@pytest.mark.parametrize("kind", [*MODEL_KINDS, *DATA_KINDS], ids=name_of)
def test_import_paths_lead_somewhere(kind: Any) -> None:
    for field in ("builder", "body", "loader"):
        if path := getattr(kind, field, None):
            assert callable(resolve_name(path))


def test_models_are_refused_data_that_they_cannot_read() -> None:
    train = {"epochs": 1}
    for model in MODEL_KINDS:
        for data in DATA_KINDS:
            kind = data_settings(name_of(data))
            loss = "mse" if kind.predicts == "vectors" else "cross_entropy"
            values = {
                "model": {"kind": name_of(model), **MODELS[name_of(model)]},
                "data": {"kind": name_of(data), **DATA[name_of(data)]},
                "train": {**train, "loss": loss},
            }
            if model.reads is None or data.gives in model.readable():
                CellConfig.model_validate(values)
            else:
                with pytest.raises(ValueError, match=f"reads {' or '.join(model.readable())}"):
                    CellConfig.model_validate(values)
