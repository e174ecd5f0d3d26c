"""Fine-tuning under fake quantization, on real English prose.

The documentation that CPython ships.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import study.training.finetune
from study.config import CellConfig, study_from
from study.data import Dataset, load_data
from study.data.base import Split
from study.grid import expand
from study.measuring.checkpoint import measure_checkpoint
from study.models.base import FeatureModel
from study.precision import (
    Precision,
    PrecisionError,
    parse_precision,
    quantization_record,
    quantize,
)
from study.precision.layers import covered_weights
from study.training.finetune import finetune
from study.training.rounding import Rounding
from study.training.train import Checkpoint, Diverged, Progress, TrainingError, train

CPU = torch.device("cpu")
LAST: dict[str, Any] = {
    "train_loss_running": 1.0,
    "train_accuracy_running": 0.5,
    "zero_error_epoch": None,
    "last": True,
}
SETTINGS = {
    "data": {"kind": "text", "context": 64, "train_tokens": 100_000},
    "model": {"kind": "gpt_neo", "width": 32, "depth": 2, "heads": 4, "positions": 64},
    "train": {"epochs": 3, "lr": 4e-3, "batch_size": 8, "weight_decay": 0.1},
    "precision_options": {"qat": {"epochs": 1, "lr": 1e-3}, "efqat": {"share": 0.25}},
}


@dataclass(frozen=True)
class Trained:
    config: CellConfig
    data: Dataset
    model: FeatureModel

    def finetuned(self, name: str) -> FeatureModel:
        return finetune(self.model, parse_precision(name), self.config, self.data, CPU)

    def val_loss(self, model: nn.Module) -> float:
        rows = np.arange(min(len(self.data.val), 300))
        with torch.no_grad():
            inputs, targets = self.data.val.batch(rows)
            return float(F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()))


def trained(settings: dict[str, object], cache: Path) -> Trained:
    config = CellConfig.model_validate(settings)
    data = load_data(config.data, base=cache, cache=cache)
    *_, last = train(config, data, CPU)
    return Trained(config, data, deepcopy(last.model))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A checkpoint of a third of the data, with a fine-tuning on a few rows of them."""
    settings = SETTINGS | {"data": {"kind": "text", "context": 64, "train_tokens": 30_000}}
    point = trained(settings, tmp_path_factory.mktemp("tokens"))
    return Trained(point.config, _rows(point.data, 150), point.model)


def _rows(data: Dataset, count: int) -> Dataset:
    class First:
        samples = count * 63

        def __init__(self, split: Split) -> None:
            self.batch = split.batch

        def __len__(self) -> int:
            return count

    values = {field: getattr(data, field) for field in data.__dataclass_fields__}
    return Dataset(**(values | {"train": First(data.train), "val": First(data.val)}))


def _qat_beats_rounding(point: Trained, precisions: tuple[str, ...]) -> None:
    control = point.finetuned("ft-fp32")
    assert point.val_loss(control) < point.val_loss(point.model)
    for precision in precisions:
        tuned = point.val_loss(point.finetuned(f"qat-{precision}"))
        of_checkpoint = point.val_loss(quantize(point.model, precision))
        of_control = point.val_loss(quantize(control, precision))
        assert tuned < min(of_checkpoint, of_control) - 0.01, (
            precision,
            tuned,
            of_checkpoint,
            of_control,
        )


@pytest.mark.long
def test_qat_beats_quantization_of_the_checkpoint_and_of_its_control(
    tmp_path: Path,
) -> None:
    _qat_beats_rounding(trained(SETTINGS, tmp_path), ("int3", "int2"))


def test_qat_beats_rounding_at_two_bits(short: Trained) -> None:
    _qat_beats_rounding(short, ("int2",))


def test_a_finetuned_model_is_baked_tied_and_deterministic(short: Trained) -> None:
    before = {name: tensor.clone() for name, tensor in short.model.state_dict().items()}
    first, second = short.finetuned("qat-int3"), short.finetuned("qat-int3")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
        assert torch.equal(short.model.state_dict()[name], before[name])
    assert first.state_dict().keys() == before.keys()
    assert first.head.weight is first.embedding.weight
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
    for weight in covered_weights(first, parse_precision("int3")):
        assert all(len(row.unique()) <= 8 for row in weight.matrices[0])
    for name in ["norm.weight", "position.weight"]:
        assert not torch.equal(first.get_parameter(name), short.model.get_parameter(name))
    record = quantization_record(short.model, first, parse_precision("qat-int3"))
    assert record["bits_per_weight"] == pytest.approx(3 + 32 / 32, abs=0.4)
    assert record["tied_embedding_changed"] is True


def test_the_control_is_plain_training_from_the_checkpoint(short: Trained) -> None:
    config = short.config.model_copy(
        update={
            "train": short.config.train.model_copy(
                update={"epochs": 1, "lr": 1e-3, "weight_decay": 0.1}
            )
        }
    )
    model = deepcopy(short.model)
    for _ in train(config, short.data, CPU, model=model):
        pass
    tuned = short.finetuned("ft-fp32")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tuned.state_dict()[name])


def test_epochs_and_rate_are_those_of_the_options(short: Trained) -> None:
    reports: list[Progress] = []
    settings = SETTINGS | {"precision_options": {"qat": {"epochs": 2, "lr": 1e-4}}}
    config = CellConfig.model_validate(settings)
    finetune(short.model, parse_precision("ft-fp32"), config, short.data, CPU, beat=reports.append)
    assert {(report.epochs, report.steps) for report in reports} == {(2, 38)}


@pytest.mark.parametrize("name", ["efqat-int4", "efqat-int2-g32-asym", "efqat-int4-tensor"])
def test_frozen_rows_of_efqat_are_unchanged_bit_for_bit(
    short: Trained, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent: list[FeatureModel] = []

    def capture(model: FeatureModel, precision: Precision) -> FeatureModel:
        latent.append(deepcopy(model))
        return quantize(model, precision)

    monkeypatch.setattr(study.training.finetune, "quantize", capture)
    precision = parse_precision(name)
    baked = short.finetuned(name)
    rounded = quantize(short.model, precision.untuned)
    names = [weight.name for weight in covered_weights(short.model, precision)]
    assert len(names) == 9
    for weight in names:
        before, after = (m.get_parameter(weight).detach().numpy() for m in (short.model, latent[0]))
        magnitude = np.abs(before).mean(axis=1)
        count = len(before) - int(0.75 * len(before))
        trained_rows = np.argsort(-magnitude, kind="stable")[:count]
        frozen_rows = np.setdiff1d(np.arange(len(before)), trained_rows)
        assert magnitude[frozen_rows].max() <= magnitude[trained_rows].min()
        assert (before[frozen_rows].view(np.int32) == after[frozen_rows].view(np.int32)).all()
        assert (before[trained_rows] != after[trained_rows]).any(axis=1).all()
        if precision.granularity != "tensor":  # one scale for all rows moves with the trained ones
            assert torch.equal(
                baked.get_parameter(weight)[frozen_rows], rounded.get_parameter(weight)[frozen_rows]
            )
    assert latent[0].head.weight is latent[0].embedding.weight
    assert not torch.equal(
        latent[0].get_parameter("norm.weight"), short.model.get_parameter("norm.weight")
    )


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 16, 3)
        self.depthwise = nn.Conv2d(16, 16, 3, groups=16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.depthwise(self.stem(x).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize("name", ["int4", "int3-asym", "int2-tensor", "int8/body"])
def test_fake_quantization_computes_what_quantize_bakes_and_passes_its_gradient_through(
    name: str,
) -> None:
    torch.manual_seed(0)
    model, x = Convolutional(), torch.randn(5, 4, 8, 8)
    precision = parse_precision(name)
    reference = quantize(model, precision).requires_grad_(True)
    reference(x).square().sum().backward()
    rounding = Rounding(model, precision)
    originals = [weight.parameter.detach().clone() for weight in rounding.weights]
    output = rounding.call(model, x)
    assert torch.equal(output, quantize(model, precision)(x))
    assert torch.equal(output, reference(x))
    output.square().sum().backward()
    for weight, original in zip(rounding.weights, originals, strict=True):
        # every entry, those at the clamp included: a straight-through estimator cuts nothing off
        assert torch.equal(weight.parameter.grad, reference.get_parameter(weight.name).grad)
        assert weight.places[0].module.get_parameter("weight") is weight.parameter
        assert torch.equal(weight.parameter, original)
    assert sorted(model.state_dict()) == sorted(reference.state_dict())


def test_what_cannot_be_finetuned_is_an_error(short: Trained) -> None:
    with pytest.raises(PrecisionError, match="int4 needs no fine-tuning"):
        short.finetuned("int4")
    with pytest.raises(
        PrecisionError, match=r"qat-int4-g128 cannot take embedding\.weight .*take qat-int4-g32"
    ):
        short.finetuned("qat-int4-g128")


def test_tuned_cells_are_measured_beside_the_others(short: Trained) -> None:
    """Rows of all precisions of a checkpoint, against the models that they are of.

    One that fails takes no other along.
    """
    names = ["fp32", "int3", "ft-fp32", "qat-int3", "efqat-int3"]
    before = {name: tensor.clone() for name, tensor in short.model.state_dict().items()}
    results = measured(short, names)
    assert all(
        torch.equal(short.model.state_dict()[name], tensor) for name, tensor in before.items()
    )
    for name, bits in zip(
        names, (32, 4, 32, 4, 4), strict=True
    ):  # 3, and a scale of 32 bits for each 32 weights or more
        (row,) = results[name]
        precision = parse_precision(name)
        model = short.finetuned(name) if precision.tuning else quantize(short.model, name)
        record = quantization_record(short.model, model, precision)
        assert {key: row[key] for key in record} == record
        assert row["bits_per_weight"] == pytest.approx(bits, abs=0.4)
        inputs, targets = short.data.val.batch(np.arange(len(short.data.val)))
        with torch.no_grad():
            loss = F.cross_entropy(model(inputs).flatten(0, 1).double(), targets.flatten())
        assert row["val_loss"] == pytest.approx(float(loss), rel=1e-5)
        assert (
            (row.get("mean_drift") is None) == (row.get("logits_error") is None) == (name == "fp32")
        )
    assert results["ft-fp32"][0]["weight_error"] > 0 == results["fp32"][0]["weight_error"]


def measured(short: Trained, names: list[str], **train: object) -> dict[str, Any]:
    """What `measure_checkpoint` finds, by precision."""
    content = short.config.model_dump()
    content["train"] |= train
    content["measure"] |= {"at": "last", "min_count": 2}
    study = study_from(
        {"name": "tuned", **content, "grid": {"precision": names}}, folder=Path(), source="test"
    )
    cells = expand(study)
    checkpoint = Checkpoint(epoch=3, step=1, tokens=1, model=short.model.eval(), **LAST)
    results = measure_checkpoint(checkpoint, cells, short.data, CPU)
    return {cell.config.precision: results[cell.key] for cell in cells}


def test_a_precision_that_cannot_be_trained_takes_no_other_along(short: Trained) -> None:
    results = measured(short, ["fp32", "int8", "qat-int3"], precision="fp16")
    assert isinstance(results["qat-int3"], TrainingError)
    assert len(results["fp32"]) == len(results["int8"]) == 1


def test_a_fine_tuning_that_diverges_names_its_own_learning_rate(short: Trained) -> None:
    options = short.config.precision_options
    wild = options.model_copy(update={"qat": options.qat.model_copy(update={"lr": 1e20})})
    config = short.config.model_copy(update={"precision_options": wild})
    with pytest.raises(Diverged, match=r"qat-int3: .*precision_options\.qat\.lr"):
        finetune(short.model, parse_precision("qat-int3"), config, short.data, CPU)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_qat_wins_by_more_after_a_longer_training(seed: int, tmp_path: Path) -> None:
    settings = SETTINGS | {
        "seed": seed,
        "data": {"kind": "text", "context": 64, "train_tokens": 200_000},
        "model": {"kind": "gpt_neo", "width": 64, "depth": 2, "heads": 4, "positions": 64},
        "train": {"epochs": 3, "lr": 2e-3, "batch_size": 16},
    }
    point = trained(settings, tmp_path)
    control = point.finetuned("ft-fp32")
    print(
        f"seed {seed}: checkpoint {point.val_loss(point.model):.4f}, ft-fp32 "
        f"{point.val_loss(control):.4f}"
    )
    for bits in ("int3", "int2"):
        tuned = point.val_loss(point.finetuned(f"qat-{bits}"))
        others = [point.val_loss(quantize(model, bits)) for model in (point.model, control)]
        print(
            f"{bits}: qat {tuned:.4f}, of the checkpoint {others[0]:.4f}, of ft-fp32 "
            f"{others[1]:.4f}"
        )
        assert tuned < min(others) - 0.05
