"""Rows of attacked samples beside those of clean ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from image_rows import image_dataset
from token_rows import dataset as token_dataset
from torch import nn
from torch.nn import functional as F

from study.config import MeasureConfig
from study.data.base import Dataset
from study.measuring.attacked import AttackedSums
from study.measuring.collect import Meter
from study.measuring.columns import CLEAN, Measurement
from study.measuring.crew import Alone
from study.measuring.passes import Passes
from study.metrics import ClassMoments, NearestCentre
from study.models import ModelError, build_model
from study.models.base import FeatureModel
from study.models.transformer_config import GPTNeoModel
from study.models.vision_config import MLP, SimpleCNN
from study.precision import at_precision, parse_precision

CPU = torch.device("cpu")
CLASSES, SHAPE = 4, (2, 8, 8)


def trained(model: FeatureModel, data: Dataset, steps: int = 40) -> FeatureModel:
    """The model after some steps on all rows, so that there is something to lose."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    inputs, targets = data.train.batch(np.arange(len(data.train)))
    for _ in range(steps):
        logits = model.train()(inputs)
        F.cross_entropy(logits.flatten(0, -2), targets.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def images() -> tuple[FeatureModel, Dataset]:
    data = image_dataset(CLASSES, 12, SHAPE)
    data = replace(data, val=image_dataset(CLASSES, 6, SHAPE).train)
    settings = MLP(kind="mlp", width=32, depth=2)
    return trained(build_model(settings, classes=CLASSES, input_shape=SHAPE, seed=0), data), data


@pytest.fixture(scope="module")
def texts() -> tuple[FeatureModel, Dataset]:
    data = token_dataset(rows=24, classes=7)
    settings = GPTNeoModel(kind="gpt_neo", width=16, depth=1, heads=2, positions=32)
    return trained(build_model(settings, classes=7, context=16, seed=0), data, steps=80), data


def measure_of(**attack: Any) -> MeasureConfig:
    return MeasureConfig.model_validate({"min_count": 2, "attack": attack or None})


def measured(
    model: FeatureModel, data: Dataset, measure: MeasureConfig, precision: str = "fp32"
) -> Measurement:
    passes = Passes(model, data, measure, seed=0, device=CPU)
    meter = Meter(Alone(passes), data, measure)
    reference = meter.measure(reference=True)
    if precision == "fp32":
        return reference
    with passes.at(parse_precision(precision)):
        return meter.measure()


def test_clean_columns_stay_what_they_are_and_attacked_ones_have_a_row(
    images: tuple[FeatureModel, Dataset],
) -> None:
    plain = measured(*images, measure_of())
    both = measured(*images, measure_of(kind="pgd", eps=0.2, steps=3))
    assert both.values == plain.values and both.reasons == plain.reasons
    first, attacked = both.rows()
    assert list(plain.rows()) == [first] and "attack" not in first
    assert (attacked["layer"], attacked["attack"]) == (None, "pgd-linf-0.2")
    assert attacked.keys() - first.keys() >= {"attack", "leap_share", "attack_success"}
    reasons = both.attacks["pgd-linf-0.2"].reasons
    values = both.attacks["pgd-linf-0.2"].values
    assert {name for name, value in values.items() if value is None} == reasons.keys()
    assert reasons["nc1_ratio"] == reasons["nc3_cosine_mean"] == CLEAN
    assert values["val_accuracy"] < plain.values["val_accuracy"]
    assert values["classes_measured"] == CLASSES


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_row_of_a_fast_gradient_equals_a_direct_computation(
    images: tuple[FeatureModel, Dataset], norm: str
) -> None:
    model, data = images
    eps = 0.15 if norm == "linf" else 1.5
    attacks = measured(model, data, measure_of(kind="fgsm", norm=norm, eps=eps)).attacks
    values = attacks[f"fgsm-{norm}-{eps}"].values
    assert data.input_range is not None
    low, high = data.input_range

    def attacked(split: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, y = split.batch(np.arange(len(split)))
        x.requires_grad_()
        before = F.cross_entropy(model(x).double(), y, reduction="none")
        (slope,) = torch.autograd.grad(before.sum(), x)
        slope = slope * (high - low)
        if norm == "l2":
            lengths = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            moved = x + eps * slope / lengths * (high - low)
        else:
            moved = x + eps * slope.sign() * (high - low)
        # What is out of the range is moved no further out.
        moved = torch.maximum(torch.minimum(moved, x.maximum(high)), x.minimum(low)).detach()
        with torch.no_grad():
            after = F.cross_entropy(model(moved).double(), y, reduction="none")
            chosen = torch.where((after > before).view(-1, 1, 1, 1), moved, x)
            return model.features(x), model.features(chosen), y

    with torch.no_grad():
        h_train = model.features(data.train.batch(np.arange(len(data.train)))[0]).double()
    y_train = data.train.batch(np.arange(len(data.train)))[1]
    means = torch.stack([h_train[y_train == c].mean(0) for c in range(CLASSES)])
    spread = (means - means.mean(0)).square().sum(1).mean()
    clean, h, y = attacked(data.val)
    logits = model.logits(h)
    h, clean = h.double(), clean.double()
    expected = {
        "val_loss": F.cross_entropy(logits.double(), y).item(),
        "val_accuracy": (logits.argmax(1) == y).double().mean().item(),
        "ncc_accuracy": (torch.cdist(h, means).argmin(1) == y).double().mean().item(),
        "within_val_about_train": ((h - means[y]).square().sum(1).mean() / spread).item(),
        "leap_distance": ((h - clean).square().sum(1).mean() / spread).item(),
        "train_accuracy": (model.logits(attacked(data.train)[1]).argmax(1) == y_train)
        .double()
        .mean()
        .item(),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert values["generalization_gap"] == values["val_loss"] - values["train_loss"]


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_an_attack_does_not_depend_on_the_scale_of_logits(kind: str) -> None:
    """Between two classes no scale turns a gradient; float32 alone hides large margins."""
    data = image_dataset(2, 12, SHAPE)
    settings = MLP(kind="mlp", width=32, depth=1)
    model = trained(build_model(settings, classes=2, input_shape=SHAPE, seed=0), data)
    rows = []
    for _ in range(2):
        values = measured(model, data, measure_of(kind=kind, eps=0.3, steps=3))
        rows.append(values.attacks[f"{kind}-linf-0.3"].values)
        with torch.no_grad():
            for parameter in model.head.parameters():
                parameter.mul_(2**10)
    same = ("val_accuracy", "attack_success", "leap_distance", "leap_arrival", "attack_radius")
    assert rows[0]["attack_success"] > 0.5
    assert rows[1]["val_loss"] > 100 * rows[0]["val_loss"]
    assert {name: rows[1][name] for name in same} == pytest.approx(
        {name: rows[0][name] for name in same}, rel=1e-6
    )


@pytest.mark.parametrize("kind", ["images", "tokens"])
def test_shares_of_the_samples_add_up(
    kind: str, images: tuple[FeatureModel, Dataset], texts: tuple[FeatureModel, Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("study.measuring.samples.BATCH_SAMPLES", 20)
    model, data = images if kind == "images" else texts
    measure = measure_of(kind="pgd", norm="l2", eps=0.1, steps=2)

    def sums(share: tuple[int, int]) -> AttackedSums:
        passes = Passes(model, data, measure, seed=0, device=CPU, share=share)
        m = ClassMoments(data.classes, model.head.in_features)
        inputs, targets = data.train.batch(np.arange(len(data.train)))
        with torch.no_grad():
            m.update(model.features(inputs).flatten(0, -2), targets.flatten())
        return passes.attacked(NearestCentre(m, 2), None)

    whole, parts = sums((0, 1)), sums((0, 2))
    parts.merge(sums((1, 2)))
    for one, two in ((whole.train, parts.train), (whole.val, parts.val)):
        assert one.scores.samples == two.scores.samples > 0
        assert one.scores.loss == pytest.approx(two.scores.loss, rel=1e-12)
        assert one.scores.accuracy == two.scores.accuracy
        assert int(one.leaps.changed) == int(two.leaps.changed)
        assert float(one.leaps.distance) == pytest.approx(float(two.leaps.distance), rel=1e-12)
        assert torch.equal(one.agreements["own"].own, two.agreements["own"].own)


PRECISIONS = [
    *(("images", name) for name in ("bf16", "fp16", "int8", "int2", "int8-dynamic")),
    *(("images", name) for name in ("int4-a4-dynamic", "fp8-dynamic", "smooth-int8-dynamic")),
    *(("tokens", name) for name in ("int8-dynamic", "kv8", "rot-int8-dynamic")),
]


@pytest.mark.parametrize(("kind", "precision"), PRECISIONS)
def test_every_precision_is_attacked_through_its_own_arithmetic(
    kind: str,
    precision: str,
    images: tuple[FeatureModel, Dataset],
    texts: tuple[FeatureModel, Dataset],
) -> None:
    """Rounding has no gradient: one that is blocked would leave the loss where it is."""
    model, data = images if kind == "images" else texts
    steep = measured(model, data, measure_of(kind="pgd", eps=0.2, steps=5))
    rounded = measured(model, data, measure_of(kind="pgd", eps=0.2, steps=5), precision)
    gains = [
        each.attacks["pgd-linf-0.2"].values["val_loss"] - each.values["val_loss"]
        for each in (steep, rounded)
    ]
    assert gains[0] > 0.3
    assert gains[1] > 0.5 * gains[0]
    values = rounded.attacks["pgd-linf-0.2"].values
    assert 0.9 < values["attack_radius"] <= 1 + 1e-6
    assert values["leap_distance"] > 0


def test_a_model_is_as_it_was_after_an_attack_at_another_precision(
    images: tuple[FeatureModel, Dataset],
) -> None:
    model, data = images
    x, _ = data.val.batch(np.arange(4))
    with torch.no_grad():
        before = model(x)
    measured(model, data, measure_of(kind="pgd", eps=0.2, steps=2), "int8-dynamic")
    with torch.no_grad():
        assert torch.equal(model(x), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batch_norm_keeps_its_statistics_under_attack() -> None:
    data = image_dataset(CLASSES, 4, SHAPE)
    settings = SimpleCNN(kind="simple_cnn", width=8, depth=2)
    model = build_model(settings, classes=CLASSES, input_shape=SHAPE, seed=0).eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    measured(model, data, measure_of(kind="pgd", eps=0.1, steps=2))
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_the_gradient_of_an_integer_product_is_that_of_its_weight() -> None:
    settings = MLP(kind="mlp", width=16, depth=1)
    model = build_model(settings, classes=CLASSES, input_shape=SHAPE, seed=0).eval()
    x = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    with at_precision(model, parse_precision("int8-dynamic")):
        layers = [m for m in model.modules() if isinstance(m, nn.Linear) and hasattr(m, "packed")]
        weights = [layer.weight.detach() for layer in layers]
        assert len(weights) == 2
        with torch.no_grad():
            z = model(x)
        inputs = x.clone().requires_grad_()
        out = model(inputs)
        assert torch.equal(out, z)
        (gradient,) = torch.autograd.grad(out.sum(), inputs)
        alive = model.features(x) > 0
        through = (alive * weights[1].sum(0)) @ weights[0]
    torch.testing.assert_close(gradient.flatten(1), through, rtol=1e-5, atol=1e-6)


def test_inputs_without_a_range_are_not_attacked(images: tuple[FeatureModel, Dataset]) -> None:
    model, data = images
    data = replace(data, input_range=None)
    with pytest.raises(ModelError, match="without a known range"):
        measured(model, data, measure_of(kind="pgd", eps=0.1))
