"""Heads that are fixed or of cosines, of language models and of image classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metrics_brute_force import metrics
from token_rows import cell, dataset
from torch.nn import functional as F

from study.config import study_from
from study.grid import expand, trainings
from study.launching.checks import training_faults
from study.launching.data_sizes import DataSizes
from study.measuring.collect import collect
from study.models import (
    MLP,
    GPTNeoModel,
    NanoGPTModel,
    build_model,
    load_checkpoint,
    save_checkpoint,
)
from study.models.base import FeatureModel
from study.models.heads import CosineHead, rows_of
from study.precision import PrecisionError, quantize
from study.settings.faults import StudyError
from study.settings.schema import plain
from study.training.losses import Loss, head_loss
from study.training.train import train

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"kind": "nanogpt", "width": 24, "depth": 1, "heads": 2, "tied": False}
HEADS: dict[str, dict[str, Any]] = {
    "fixed_etf": {"head": "fixed_etf"},
    "cosine": {"head": "cosine"},
    "cosine-fixed": {"head": "cosine", "temperature": 0.05},
}
STILL = {"fixed_etf": {"head.weight"}, "cosine": set(), "cosine-fixed": {"head.scale"}}
"""What a training leaves as it was."""


def model_of(name: str) -> FeatureModel:
    settings = NanoGPTModel.model_validate(SMALL | HEADS[name])
    return build_model(settings, classes=23, context=17, seed=4).eval()


@pytest.mark.parametrize(("name", "scale"), [("cosine", 10), ("cosine-fixed", 20)])
def test_logits_are_cosines_over_the_temperature(name: str, scale: float) -> None:
    model = model_of(name)
    x = torch.randint(23, (3, 16), generator=torch.Generator().manual_seed(0))
    normed = []
    model.get_submodule("norm").register_forward_hook(lambda _, __, out: normed.append(out))
    model.features(x)
    h, w = (part.detach().double().numpy() for part in (normed[0], model.head.weight))
    lengths = np.linalg.norm(h, axis=2)[..., None] * np.linalg.norm(w, axis=1)
    np.testing.assert_allclose(model(x).detach(), scale * (h @ w.T) / lengths, atol=1e-5)
    assert model.head.bias is None


def test_gradients_reach_rows_and_temperature() -> None:
    """Of the loss in closed form, against autograd of the formula."""
    generator = torch.Generator().manual_seed(0)
    head = CosineHead(6, 5, None).double()
    h = F.normalize(torch.randn(9, 6, dtype=torch.float64, generator=generator))
    parameters = list(head.parameters())
    y = torch.arange(9) % 5
    logits = head.scale * h @ (head.weight / head.weight.norm(dim=1, keepdim=True)).T
    expected = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), parameters)
    found = torch.autograd.grad(head_loss(h, head, y, Loss()).loss, parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", HEADS)
def test_training_and_what_is_measured_of_it(name: str, tmp_path: Path) -> None:
    """A fixed head stays; angles are those of the rows that multiply; checkpoints keep them."""
    config = cell(model=SMALL | HEADS[name], epochs=6, lr=1e-2, penalty={"nc3": 0.1})
    data = dataset()
    *_, last = train(config, data, CPU)
    model = last.model
    start = build_model(config.model, classes=23, context=17, seed=5)
    still = {
        n
        for (n, p), q in zip(model.named_parameters(), start.parameters(), strict=True)
        if torch.equal(p, q)
    }
    assert still == STILL[name]
    rows = rows_of(model.head).detach()
    if name == "fixed_etf":
        torch.testing.assert_close(rows @ rows.T, (torch.eye(23) * 23 - 1) / 22, rtol=0, atol=1e-5)
    values = collect({"fp32": model}, data, config.measure, seed=0, device=CPU)["fp32"].values
    inputs, targets = data.train.batch(np.arange(11))
    h = model.features(inputs).detach().flatten(0, 1).double().numpy()
    expected = metrics(
        h, targets.flatten().numpy(), rows.double().numpy(), config.measure.min_count
    )
    for column in ("nc3_cosine_mean", "nc3_dot_mean", "nc3_distance", "nc2_w_equinorm"):
        assert values[column] == pytest.approx(expected[column], rel=1e-4, abs=1e-6)
    save_checkpoint(model, tmp_path / "kept")
    loaded = load_checkpoint(tmp_path / "kept").eval()
    assert torch.equal(loaded(inputs), model(inputs))
    flags = [p.requires_grad for p in model.parameters()]
    assert [p.requires_grad for p in loaded.parameters()] == flags


@pytest.mark.parametrize("name", HEADS)
def test_precisions_of_the_head_and_of_the_body(name: str) -> None:
    model, x = model_of(name), torch.randint(23, (2, 16))
    head, body = quantize(model, "int4/head"), quantize(model, "int4/body")
    assert torch.equal(head.features(x), model.features(x))
    assert torch.equal(rows_of(body.head), rows_of(model.head))
    assert not torch.equal(body.features(x), model.features(x))
    assert not torch.equal(rows_of(head.head), rows_of(model.head))
    if name != "fixed_etf":
        norms = rows_of(head.head).norm(dim=1)
        torch.testing.assert_close(norms, rows_of(model.head).norm(dim=1))
        with pytest.raises(PrecisionError, match="take 'int8'"):
            quantize(model, "int8-dynamic")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SMALL | {"tied": True, "head": "cosine"}, "set tied to false"),
        (SMALL | {"tied": True, "head": "fixed_etf"}, "set tied to false"),
        (SMALL | {"temperature": 0.1}, "leave it out, or set head to cosine"),
        ({"kind": "gpt_neo", "width": 16, "depth": 1, "head": "cosine"}, "take kind nanogpt"),
        (SMALL | {"head": "cosine", "temperature": 0}, "greater than 0"),
    ],
)
def test_heads_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cell(model=settings)


def test_a_frame_that_does_not_fit_is_told_before_a_training(tmp_path: Path) -> None:
    """Of text, whose classes come from the data."""
    content = {
        "name": "narrow",
        "data": {"kind": "text", "source": "python-docs", "tokenizer": "char", "context": 16,
                 "train_tokens": 2000, "val_tokens": 500},
        "model": SMALL | {"head": "fixed_etf"},
        "train": {"epochs": 1},
        "grid": {"seed": [0]},
    }  # fmt: skip
    study = study_from(content, folder=tmp_path, source="test")
    faults = training_faults(
        trainings(expand(study)), DataSizes(tmp_path / "cache"), here=True, serial=True
    )
    assert any("make it wider, or learn the head" in str(fault) for fault in faults)


def test_learned_heads_keep_their_keys_and_settings() -> None:
    for settings in (NanoGPTModel(width=8, depth=1), GPTNeoModel(width=16, depth=1)):
        assert not {"head", "temperature"} & plain(settings).keys()
    assert plain(MLP(width=8, depth=1))["head"] == "learned"
    assert "temperature" not in plain(MLP(width=8, depth=1))


@pytest.mark.parametrize(
    ("kind", "head", "train", "message"),
    [
        ("mlp", "cosine", {"penalty": {"feature_norm": 0.1}}, "penalty.feature_norm acts on the"),
        ("ufm", "cosine", {"penalty": {"feature_norm": -1}}, "penalty.feature_norm acts on the"),
        ("mlp", "cosine", {"decay": {"features": 0.1}}, "decay.features acts on the lengths of"),
        ("mlp", "fixed_etf", {"decay": {"head": 0.1}}, "decay.head acts on a head that is trained"),
        ("ufm", "cosine", {"decay": {"features": 0.1}}, None),
        ("mlp", "fixed_etf", {"decay": {"head": 0.0}, "penalty": {"feature_norm": 1}}, None),
        ("mlp", "learned", {"decay": {"head": 0.1}, "penalty": {"feature_norm": 1}}, None),
    ],
)
def test_what_a_head_leaves_without_effect_is_refused(
    kind: str, head: str, train: dict[str, Any], message: str | None
) -> None:
    model = {"kind": kind, "width": 16, "head": head} | ({"depth": 1} if kind == "mlp" else {})
    data = {"kind": "images", "source": "digits"} if kind == "mlp" else {"kind": "free"}
    content = {"data": data, "model": model, "train": {"epochs": 1, **train}, "grid": {"seed": [0]}}
    try:
        study_from({"name": "heads", **content}, folder=Path(), source="test")
        faults = []
    except StudyError as error:
        faults = list(error.faults)
    if message is None:
        assert not faults
    else:
        (fault,) = faults
        assert fault.path == "train"
        assert message in fault.message
