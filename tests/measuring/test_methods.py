"""What methods recover of the loss that rounding costs, on trained language models."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT
from torch import Tensor
from torch.nn import functional as F

from study.config import CellConfig
from study.data import Dataset, load_data
from study.measuring.calibration import calibration
from study.models.base import FeatureModel
from study.precision import Calibration, parse_precision, quantize
from study.precision.options import PrecisionOptions
from study.training.finetune import finetune
from study.training.train import train

CPU = torch.device("cpu")
PLAYS = ROOT / "search_spaces" / "shakespeare.txt"
CHARACTERS: dict[str, Any] = {
    "data": {"kind": "text", "context": 64, "train_tokens": 64_000, "val_tokens": 10_000},
    "model": {"kind": "gpt_neo", "width": 64, "depth": 1, "heads": 4, "positions": 64},
    "train": {"epochs": 4, "lr": 6e-3, "batch_size": 8, "weight_decay": 0.1},
    "precision_options": {"qat": {"lr": 1e-3}},
}
SHAKESPEARE: dict[str, Any] = {
    "data": {
        "kind": "text",
        "source": str(PLAYS),
        "tokenizer": "bpe:768",
        "context": 128,
        "train_tokens": 1_000_000,
        "val_tokens": 40_000,
    },
    "model": {"kind": "gpt_neo", "width": 128, "depth": 2, "heads": 4},
    "train": {
        "epochs": 3,
        "lr": 2e-3,
        "batch_size": 8,
        "weight_decay": 0.1,
        "schedule": "linear",
    },
    "precision_options": {"qat": {"lr": 1e-3}},
}


@dataclass(frozen=True)
class Trained:
    """A trained model, with its data and the samples that methods see."""

    config: CellConfig
    data: Dataset
    model: FeatureModel
    calibration: Calibration

    @classmethod
    def of(cls, settings: dict[str, Any], folder: Path) -> Trained:
        config = CellConfig.model_validate(settings)
        data = load_data(config.data, base=folder, cache=folder)
        *_, last = train(config, data, CPU)
        model = deepcopy(last.model).eval()
        return cls(config, data, model, calibration(data, PrecisionOptions(), 0, CPU))

    @torch.no_grad()
    def loss(self, measured: FeatureModel) -> float:
        inputs, targets = self.data.val.batch(np.arange(len(self.data.val)))
        return float(F.cross_entropy(measured(inputs).flatten(0, 1), targets.flatten()))

    def loss_at(self, name: str) -> float:
        return self.loss(quantize(self.model, name, self.calibration))

    def recovered(self, method: str, name: str) -> float:
        """Which share of the loss that rounding to nearest costs a method saves."""
        best, nearest = self.loss(self.model), self.loss_at(name)
        share = (nearest - self.loss_at(f"{method}-{name}")) / (nearest - best)
        print(f"{method}-{name}: {share:.2f} of {nearest - best:.4f}")
        return share

    def tuned_loss(self, name: str) -> float:
        return self.loss(finetune(self.model, parse_precision(name), self.config, self.data, CPU))


@pytest.fixture(scope="session")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained.of(CHARACTERS, tmp_path_factory.mktemp("characters"))


@pytest.mark.parametrize(("method", "share"), [("gptq", 0.4), ("awq", 0.1), ("hqq", 0.1)])
def test_methods_recover_loss_at_three_bits(characters: Trained, method: str, share: float) -> None:
    assert characters.recovered(method, "int3") > share


def planted(model: FeatureModel, channels: int = 3, factor: float = 100) -> FeatureModel:
    """The same function, with a few channels behind norms that are much larger than others."""
    copy: Any = deepcopy(model)

    def plant(norm: Any, reader: Tensor) -> None:
        for each in (norm.weight, norm.bias):
            each[:channels] *= factor
        reader[:, :channels] /= factor

    with torch.no_grad():
        for block in copy.blocks:
            plant(block.norm1, block.attention.qkv.weight)
            plant(block.norm2, block.expand.weight)
    return copy


def test_smoothing_recovers_what_outlier_channels_cost(characters: Trained) -> None:
    model = planted(characters.model)
    outliers = Trained(characters.config, characters.data, model, characters.calibration)
    assert outliers.loss(model) == pytest.approx(characters.loss(characters.model), abs=1e-4)
    assert outliers.recovered("smooth", "int8-dynamic/body") > 0.3


def test_tuning_beats_gptq_at_two_bits(characters: Trained) -> None:
    assert characters.tuned_loss("qat-int2") < characters.loss_at("gptq-int2")


def loss_of_bigrams(data: Dataset) -> float:
    """Validation loss of counts of pairs, mixed with those of single tokens (Jelinek & Mercer)."""
    (x, y), (inputs, targets) = (
        (each.flatten().numpy() for each in split.batch(np.arange(len(split))))
        for split in (data.train, data.val)
    )
    single = np.bincount(y, minlength=data.classes) + 0.5
    pairs = np.zeros((data.classes, data.classes))
    np.add.at(pairs, (x, y), 1)
    weight = 100 * single / single.sum()
    share = (pairs[inputs, targets] + weight[targets]) / (pairs[inputs].sum(1) + weight.sum())
    return float(-np.log(share).mean())


@pytest.fixture(scope="session")
def shakespeare(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A 2 x 128 GPT-Neo on the plays, trained until it knows more than pairs of tokens.

    On the 64,000 tokens of the study it does not come as far (5.02 nats where pairs give 4.60), and
    with more epochs it overfits, so that coarse weights lower its validation loss.
    """
    if not PLAYS.exists():
        pytest.skip(f"{PLAYS} is absent: `make shakespeare` fetches the plays")
    return Trained.of(SHAKESPEARE, tmp_path_factory.mktemp("shakespeare"))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_model_of_the_plays_has_learnt(shakespeare: Trained) -> None:
    assert shakespeare.loss(shakespeare.model) < loss_of_bigrams(shakespeare.data)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("method", "name", "share"),
    [
        ("gptq", "int3", 0.4),
        ("awq", "int3", 0.1),
        ("hqq", "int3", 0.1),
        ("gptq", "int3/body", 0.4),
        ("awq", "int3/body", 0.1),
    ],
)
def test_methods_recover_loss_of_plays(
    shakespeare: Trained, method: str, name: str, share: float
) -> None:
    """Also where the tied embedding is rounded, which costs most of what `int3` loses.

    When this was written GPTQ saved 53%, AWQ 54% and HQQ 32% of 0.117 nats; of the 0.031 in the
    body alone 72%, 51% and -5%. HQQ knows no inputs: in the attention of the first block it fits
    the weights better and their products worse, so that it has no line of the body here. At `int2`
    they saved 50%, 59% and 46% of 0.871 nats, of 0.381 in the body 81%, 68% and 49%.
    """
    assert shakespeare.recovered(method, name) > share


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_tuning_beats_gptq_at_two_bits_on_plays(shakespeare: Trained) -> None:
    """By 0.39 nats when this was written."""
    assert shakespeare.tuned_loss("qat-int2") < shakespeare.loss_at("gptq-int2")
