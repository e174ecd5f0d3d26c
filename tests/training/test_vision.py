"""Image classifiers trained, measured and quantized.

The start of the terminal phase; studies of images end to end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from image_rows import ImageRows, image_dataset, random_rows
from pydantic import ValidationError
from sklearn.datasets import load_digits
from tiny_study import failures, launch, rows, starts, training_steps
from torch import nn

from study.config import CellConfig
from study.data import DataError, check_data, estimate, load_data
from study.data.base import Dataset
from study.data.config import ImagesData
from study.data.images import Images
from study.measuring.collect import collect
from study.metrics import ClassMoments, auroc, fpr95, ood_orthogonality
from study.models.base import FeatureModel
from study.precision import quantization_record, quantize
from study.precision.names import parse_precision
from study.store import Store
from study.training.finetune import finetune
from study.training.train import train

CPU = torch.device("cpu")
SMALL: list[dict[str, Any]] = [
    {"kind": "simple_cnn", "width": 112, "depth": 2},
    {"kind": "simple_cnn", "width": 112, "depth": 1, "head": "fixed_etf"},
    {"kind": "resnet18"},
    {"kind": "mobilenet_v3", "variant": "small"},
    {"kind": "convnext", "variant": "nano"},
    {"kind": "mlp", "width": 112, "depth": 2},
]
SLOW = ("resnet18", "mobilenet_v3")
"""Kinds of which a step and a measurement take seconds."""
LARGE: list[dict[str, Any]] = [
    {"kind": "mobilenet_v3", "variant": "large"},
    {"kind": "convnext", "variant": "tiny"},
    {"kind": "convnext", "variant": "small"},
    {"kind": "convnext", "variant": "base"},
]


def name(model: Any) -> str:
    return (
        "-".join(str(value) for value in model.values()) if isinstance(model, dict) else str(model)
    )


def cell(
    model: dict[str, Any], data: dict[str, Any] | None = None, **train_settings: Any
) -> CellConfig:
    """A cell of an image study; `image_dataset` stands in for its data."""
    settings = {
        "optimizer": "sgd",
        "lr": 0.02,
        "weight_decay": 5e-4,
        "epochs": 1,
        "batch_size": 200,
        **train_settings,
    }
    measure = {"min_count": 1, "layers": "all"}
    return CellConfig.model_validate(
        {"data": data or {"kind": "images"}, "model": model, "train": settings, "measure": measure}
    )


def trains_and_measures(model: dict[str, Any], classes: int) -> None:
    config, data = cell(model), image_dataset(classes, each=1, shape=(3, 16, 16), ood=3)
    weights, columns = [], []
    for checkpoint in train(config, data, CPU):
        models = {"fp32": checkpoint.model, "int8": quantize(checkpoint.model, "int8").eval()}
        columns.append(collect(models, data, config.measure, seed=0, device=CPU))
        weights.append(
            {key: value.detach().clone() for key, value in checkpoint.model.named_parameters()}
        )
    still = [
        key
        for key, value in weights[0].items()
        if value.ndim > 1 and torch.equal(value, weights[1][key])
    ]
    still = [
        key for key in still if not key.endswith("layer_scale")
    ]  # 1e-6 each: float32 may swallow a step
    assert still == (["head.weight"] if model.get("head") == "fixed_etf" else [])
    for measured in columns[1].values():
        assert measured.values["classes_measured"] == classes
        assert measured.values["train_loss"] > 0
        assert 0 <= measured.values["nc5_ood_orthogonality"] <= 1
        assert measured.values["nc2_etf_error"] is not None
        assert list(measured.layers) == [f"block{n}" for n in range(1, len(measured.layers) + 1)]
        assert all(layer.values["nc2_equinorm"] is not None for layer in measured.layers.values())


@pytest.mark.parametrize("classes", [10, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("model", [model for model in SMALL if model["kind"] not in SLOW], ids=name)
def test_a_step_and_a_measurement(model: dict[str, Any], classes: int) -> None:
    trains_and_measures(model, classes)


def test_a_step_and_a_measurement_of_a_resnet() -> None:
    trains_and_measures({"kind": "resnet18"}, classes=10)


@pytest.mark.long
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("model", [*SMALL[2:4], *LARGE], ids=name)
def test_a_step_and_a_measurement_of_large_models(model: dict[str, Any], classes: int) -> None:
    trains_and_measures(model, classes)


def built(model: dict[str, Any], data: Dataset) -> FeatureModel:
    first, *_ = train(cell(model), data, CPU)
    return first.model


@pytest.mark.parametrize("precision", ["int8", "int4", "int4-tensor", "int3-asym", "fp8"])
@pytest.mark.parametrize("model", [SMALL[0], SMALL[3], SMALL[4]], ids=name)
def test_convolutions_are_quantized(model: dict[str, Any], precision: str) -> None:
    """Every channel of every kernel has at most 2^bits values.

    Depthwise ones too, and something is lost.
    """
    original = built(model, image_dataset(10, each=1)).eval()
    rounded = quantize(original, precision)
    kernels = [key for key, module in original.named_modules() if isinstance(module, nn.Conv2d)]
    assert len(kernels) >= 2
    bits = parse_precision(precision).bits
    for key in kernels:
        before, after = (each.get_parameter(f"{key}.weight") for each in (original, rounded))
        assert not torch.equal(before, after)
        assert max(len(torch.unique(channel)) for channel in after) <= 2**bits
    record = quantization_record(original, rounded, parse_precision(precision))
    assert float(record["quantized_share"]) > 0.9
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(original(x), rounded(x))


def test_casts_of_images_and_groups_that_do_not_fit() -> None:
    from study.precision import PrecisionError

    data = image_dataset(10, each=2)
    model = built(SMALL[0], data).eval()
    measurement = collect(
        {"bf16": quantize(model, "bf16").eval()}, data, cell(SMALL[0]).measure, seed=0, device=CPU
    )
    assert measurement["bf16"].values["train_loss"] > 0
    with pytest.raises(PrecisionError, match=r"blocks.0.0.weight.*27 weights per output channel"):
        quantize(model, "int4-g32")


def test_fine_tuning_leaves_a_fixed_head_as_it_is() -> None:
    data, model = image_dataset(10, each=2), SMALL[1]
    config = cell(model)
    *_, last = train(config, data, CPU)
    tuned = finetune(last.model, parse_precision("qat-int4"), config, data, CPU)
    rounded = quantize(last.model, "int4")
    assert torch.equal(tuned.head.weight, rounded.head.weight)
    kernels = [each.get_parameter("blocks.0.0.weight") for each in (tuned, rounded)]
    assert not torch.equal(*kernels)


def test_vectors_are_not_decayed() -> None:
    """Without a gradient, decay alone moves weights.

    Matrices and kernels shrink; norms, biases and scales stay.
    """
    from study.models import build_model
    from study.training.optimizer import make_optimizer

    config = cell(SMALL[4], weight_decay=0.5)
    model = build_model(config.model, classes=10, input_shape=(3, 32, 32), seed=0)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, config.train).step()
    for key, value in model.named_parameters():
        matrix = key.endswith("weight") and value.ndim > 1
        assert torch.equal(value, before[key]) is not (matrix and bool(before[key].any())), key


def accuracy(model: nn.Module, data: Dataset) -> float:
    inputs, targets = data.train.batch(np.arange(len(data.train)))
    with torch.no_grad():
        return float((model(inputs).argmax(1) == targets).double().mean())


def test_the_terminal_phase_starts_at_the_first_epoch_without_error() -> None:
    """The zero-error epoch, against the accuracy of each epoch's model.

    In evaluation mode on the whole training split.
    """
    data = image_dataset(10, each=20, shape=(1, 8, 8))
    config = cell({"kind": "simple_cnn", "width": 16, "depth": 2}, epochs=30, batch_size=32, lr=0.2)
    seen = [
        (each.epoch, accuracy(each.model, data), each.zero_error_epoch)
        for each in train(config, data, CPU)
    ]
    first = next(epoch for epoch, share, _ in seen if share == 1)
    assert 1 < first < 30
    assert [zero for _, _, zero in seen] == [None] * first + [first] * (31 - first)


def test_a_training_with_errors_has_no_terminal_phase() -> None:
    data = image_dataset(10, each=5, shape=(1, 8, 8))
    assert isinstance(data.train, ImageRows)
    data.train.images[1] = data.train.images[0]  # two images alike with different labels
    config = cell({"kind": "simple_cnn", "width": 16, "depth": 2}, epochs=8, batch_size=32, lr=0.2)
    *_, last = train(config, data, CPU)
    assert last.zero_error_epoch is None


class Killed(BaseException):
    """Ends a training at a place of the test's choosing."""


def test_a_killed_training_keeps_norms_and_the_start_of_the_terminal_phase(tmp_path: Path) -> None:
    data = image_dataset(10, each=20, shape=(1, 8, 8))
    config = cell({"kind": "simple_cnn", "width": 16, "depth": 2}, epochs=30, batch_size=32, lr=0.2)
    *_, whole = train(config, data, CPU, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        for checkpoint in train(config, data, CPU, folder=tmp_path / "broken"):
            if checkpoint.epoch == 28:
                raise Killed
    *_, resumed = train(config, data, CPU, folder=tmp_path / "broken")
    assert resumed.zero_error_epoch == whole.zero_error_epoch is not None
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


def test_other_data_are_measured_by_their_mean_feature() -> None:
    data = image_dataset(10, each=3, ood=7)
    config = cell(SMALL[0])
    model = built(SMALL[0], data).eval()
    measurement = collect({"a": model}, data, config.measure, seed=0, device=CPU)["a"].values
    inputs, labels = data.train.batch(np.arange(30))
    m, other = ClassMoments(10, 112), ClassMoments(1, 112)
    with torch.no_grad():
        m.update(model.features(inputs), labels)
        other.update(
            model.features(random_rows(1, 7, (3, 32, 32), seed=3).images),
            torch.zeros(7, dtype=torch.int64),
        )
    expected = ood_orthogonality(m, other, min_count=1)["nc5_ood_orthogonality"]
    assert measurement["nc5_ood_orthogonality"] == pytest.approx(expected, rel=1e-9)
    largest = []
    for split in (data.val, data.ood["noise"]):
        images, _ = split.batch(np.arange(len(split)))
        with torch.no_grad():
            largest.append(model.logits(model.features(images)).amax(1).double().numpy())
    assert measurement["ood_auroc_maxlogit"] == auroc(*largest)
    assert measurement["ood_fpr95_maxlogit"] == fpr95(*largest)
    without = collect({"a": model}, image_dataset(10, each=3), config.measure, seed=0, device=CPU)[
        "a"
    ].values
    assert not [name for name in without if "ood" in name]


def ood_images(tmp_path: Path, **settings: Any) -> torch.Tensor:
    data = load_data(ImagesData(**settings), base=tmp_path, cache=tmp_path / "cache")
    (split,) = data.ood.values()
    images, _ = split.batch(np.arange(len(split)))
    return images


def grey_statistics(data: Dataset) -> tuple[float, float]:
    """Mean and deviation of the one channel of the training images."""
    assert isinstance(data.train, Images)
    return float(data.train.mean), float(data.train.deviation)


def test_photographs_stand_beside_digits(tmp_path: Path) -> None:
    """8 x 8 patches in grey, scaled to the digits' range of 0 to 16.

    They are standardised as digits are.
    """
    from sklearn.datasets import load_sample_images

    patches = ood_images(tmp_path, ood="photos")
    assert patches.shape == (2 * (427 // 8) * (640 // 8), 1, 8, 8)
    data = load_data(ImagesData(), base=tmp_path, cache=tmp_path)
    photo = load_sample_images().images[0][8:16, 16:24].astype(np.float64).mean(axis=2) * 16 / 255
    mean, deviation = grey_statistics(data)
    error = np.abs(patches[80 + 2, 0].numpy() - (np.rint(photo) - mean) / deviation)
    assert error.max() < 1 / deviation + 1e-5  # a grey level
    plain = load_data(ImagesData(), base=tmp_path, cache=tmp_path)
    assert (
        load_data(ImagesData(ood="photos"), base=tmp_path, cache=tmp_path).fingerprint
        != plain.fingerprint
    )


def test_other_images_are_brought_to_shape(tmp_path: Path) -> None:
    """Digits as other data of themselves are the same images, whatever way they take."""
    digits = load_digits().images
    content = digits.astype(np.uint8)
    np.savez(tmp_path / "same.npz", x_train=content, y_train=load_digits().target)
    patches = ood_images(tmp_path, ood="./same.npz")
    data = load_data(ImagesData(), base=tmp_path, cache=tmp_path)
    mean, deviation = grey_statistics(data)
    np.testing.assert_allclose(patches[:, 0].numpy(), (digits - mean) / deviation, atol=1e-5)


def test_noise_stands_beside_images(tmp_path: Path) -> None:
    """It has the range of the digits, and the moments of a channel where it is Gaussian."""
    sets = ["uniform_noise", "gaussian_noise"]
    data = load_data(ImagesData(ood=sets, seed=4), base=tmp_path, cache=tmp_path)
    again = load_data(ImagesData(ood=sets, seed=4), base=tmp_path, cache=tmp_path)
    other = load_data(ImagesData(ood=sets, seed=5), base=tmp_path, cache=tmp_path)
    assert again.fingerprint == data.fingerprint != other.fingerprint
    assert list(data.ood) == sets
    uniform, gaussian = (split.content.images for split in data.ood.values())  # type: ignore[attr-defined]
    assert uniform.shape == gaussian.shape == (len(data.train), *data.input_shape)
    counts = np.bincount(uniform.ravel())
    assert len(counts) == 17 and counts.min() > 0.9 * counts.mean()
    clipped = np.rint(np.random.default_rng(0).normal(*grey_statistics(data), 10**6)).clip(0, 16)
    assert gaussian.mean() == pytest.approx(clipped.mean(), rel=0.02)
    assert gaussian.std() == pytest.approx(clipped.std(), rel=0.02)


@pytest.mark.parametrize(
    ("ood", "said"),
    [
        ("nothing", "'nothing' is no known source"),
        (["photos", "nothing", "photos"], "no known source.*'photos' names a set that is listed"),
        (["./a/b/", "a/b"], "'a/b' names a set that is listed already"),
        (["./a/svhn.zip", "./b/SVHN.npz"], "columns that end in _svhn: rename"),
        (["hub:ylecun/mnist", "mnist"], "columns that end in _mnist"),
        ("..", "no letter or digit"),
        ("digits", "'digits' is what is trained on"),
        ([], "at least 1 item"),
    ],
)
def test_sets_that_cannot_be_are_refused(ood: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ImagesData(ood=ood)


def test_a_set_that_is_trained_on_is_known_by_its_place(tmp_path: Path) -> None:
    for source, ood in (("cifar10", "hub:uoft-cs/cifar10"), ("./a/../b/", "b/.")):
        with pytest.raises(ValidationError, match="is what is trained on"):
            ImagesData(source=source, ood=["photos", ood])
    with pytest.raises(DataError, match=r"^data\.ood: .*/x.*; data\.ood: .*/y"):
        check_data(ImagesData(ood=["./x", "photos", "./y"]), base=tmp_path)
    assert ImagesData(ood=["photos"]) == ImagesData(ood="photos")


STUDY: dict[str, Any] = {
    "name": "images",
    "data": {
        "kind": "images",
        "quota": 30,
        "imbalance": "step",
        "imbalance_ratio": 3,
        "ood": ["photos", "uniform_noise"],
    },
    "model": {"kind": "simple_cnn", "width": 16, "depth": 2},
    "train": {"lr": 0.05, "optimizer": "sgd", "batch_size": 16, "epochs": 2},
    "measure": {"min_count": 5, "layers": "all", "agreement_samples": 200},
    "grid": {"precision": ["fp32", "int8"], "seed": [0]},
}


def test_a_study_of_images_measures_and_reuses_its_checkpoints(tmp_path: Path) -> None:
    assert launch(tmp_path, STUDY) == 0
    run = tmp_path / "runs" / "images"
    before, begun, steps = rows(run), starts(run), training_steps(run)
    assert len(before) == 2 * 3 * (1 + 2)  # precisions x epochs x (features and two blocks)
    head = before.filter(pl.col("layer").is_null())
    assert head["minority_head_cos"].is_between(-1, 1).all()
    assert head["nc5_ood_orthogonality"].is_between(0, 1).all()
    for name in ("ood_auroc_msp", "ood_fpr95_neco", "nc5_ood_orthogonality"):
        parts = head[f"{name}_photos"] + head[f"{name}_uniform_noise"]
        assert np.allclose(parts / 2, head[name]) and head[name].is_between(0, 1).all()
    assert "ood_auroc_msp_photos" in Store(run).metrics()
    assert {"zero_error_epoch", "imbalance_ratio", "ood", "head", "minority_classes"} <= set(
        before.columns
    )
    assert (
        launch(tmp_path, {**STUDY, "grid": {"precision": ["fp32", "int8", "int4"], "seed": [0]}})
        == 0
    )
    after = rows(run)
    assert training_steps(run) == steps  # measured from kept checkpoints
    assert sum(starts(run).values()) == sum(begun.values()) + 1
    assert after.filter(pl.col("precision") != "int4").select(before.columns).equals(before)
    assert failures(run) == {}


def test_a_study_of_free_features_runs(tmp_path: Path) -> None:
    study = {
        "name": "free",
        "data": {"kind": "free", "classes": 4, "quota": 5},
        "model": {"kind": "ufm", "width": 8},
        "train": {
            "optimizer": "sgd",
            "lr": 1,
            "batch_size": 20,
            "weight_decay": 5e-3,
            "epochs": 30,
        },
        "measure": {"at": "last", "min_count": 1},
        "grid": {"train.loss": ["cross_entropy", "mse"], "precision": ["fp32", "int4/head"]},
    }
    assert launch(tmp_path, study) == 0
    frame = rows(tmp_path / "runs" / "free")
    ends = frame.filter((pl.col("epoch") == 30) & (pl.col("precision") == "fp32"))
    assert (ends["nc1_ratio"] < frame.filter(pl.col("epoch") == 0)["nc1_ratio"].min()).all()


def test_plans_of_images_count_what_is_there(tmp_path: Path) -> None:
    config = ImagesData(**STUDY["data"])
    known, data = (
        estimate(config, base=tmp_path, cache=tmp_path),
        load_data(config, base=tmp_path, cache=tmp_path),
    )
    assert known is not None
    assert (
        (known.train_rows, known.input_shape)
        == (len(data.train), data.input_shape)
        == (200, (1, 8, 8))
    )
