"""The columns of a row against direct computations on the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from image_rows import random_rows
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import MeasureConfig
from study.data.base import IGNORE, Dataset, Groups, Ints, Split
from study.measuring.collect import Meter, collect, parts_of_layers
from study.measuring.crew import Alone
from study.measuring.passes import Passes
from study.measuring.samples import batches, measured_rows
from study.metrics import (
    ClassMoments,
    Gaussian,
    NearestCentre,
    collapse_metrics,
    geodesic_deviation,
    held_out_collapse,
    imbalance_geometry,
    ray_share,
    reference_drift,
)
from study.metrics.scores import HeldOutScores, Scores
from study.models.base import FeatureModel
from study.precision import Precision, Record, at_precision, parse_precision
from study.store import HEAD_INPUT

V, T, D = 7, 12, 5
CPU = torch.device("cpu")


class Tokens:
    """Rows of tokens in memory; every third target is no sample."""

    def __init__(self, rows: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(0, V, (rows, T + 1), generator=generator)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def samples(self) -> int:
        return len(self) * T * 2 // 3

    def batch(self, rows: Ints) -> tuple[Tensor, Tensor]:
        chunks = self.tokens[torch.from_numpy(rows)]
        targets = chunks[:, 1:].clone()
        targets[:, ::3] = IGNORE
        return chunks[:, :-1], targets


class Model(FeatureModel):
    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Embedding(V, D, _weight=torch.randn(V, D, generator=generator))
        self.block = nn.Linear(D, D)
        self.head = nn.Linear(D, V)
        with torch.no_grad():
            for parameter in [*self.block.parameters(), *self.head.parameters()]:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.eval()

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {"block1": self.block}

    def features(self, x: Tensor) -> Tensor:
        mixed = self.block(self.embedding(x)).cumsum(
            dim=1
        )  # depends on the past, as a language model does
        return torch.tanh(mixed / 3)


def dataset(rows: int = 40) -> Dataset:
    train, val = Tokens(rows, 1), Tokens(9, 2)
    return Dataset(
        train, val, V, (T,), "", np.zeros(V, dtype=np.int64), [str(c) for c in range(V)], {}
    )


def samples(model: Model, split: Split, rows: Ints | None = None) -> tuple[Tensor, Tensor]:
    inputs, targets = split.batch(np.arange(len(split)) if rows is None else rows)
    positions = targets.reshape(-1) != IGNORE
    with torch.no_grad():
        return model.features(inputs).reshape(-1, D)[positions], targets.reshape(-1)[positions]


def moments(model: Model, split: Split, rows: Ints | None = None) -> ClassMoments:
    m = ClassMoments(V, D, scatter=True)
    m.update(*samples(model, split, rows))
    return m


def test_columns_equal_direct_computation() -> None:
    data, model, other = dataset(), Model(0), Model(3)
    measure = MeasureConfig(min_count=10)
    measurement = collect(
        {"ref": model, "other": other}, data, measure, seed=0, device=CPU, reference="ref"
    )["other"]
    expected = collapse_metrics(moments(other, data.train), other.head.weight, min_count=10)
    for column, value in expected.items():
        assert measurement.values[column] == (
            value if value is None else pytest.approx(value, rel=1e-12)
        ), column
    h, y = samples(other, data.val)
    logits = F.linear(h.double(), other.head.weight.double(), other.head.bias.double())
    decided = logits.argmax(1)
    assert measurement.values["val_loss"] == pytest.approx(
        F.cross_entropy(logits, y).item(), rel=1e-6
    )
    assert measurement.values["perplexity"] == pytest.approx(
        F.cross_entropy(logits, y).exp().item(), rel=1e-6
    )
    assert measurement.values["val_accuracy"] == pytest.approx(accuracy_score(y, decided))
    assert measurement.values["val_top5_accuracy"] == pytest.approx(
        top_k_accuracy_score(y, logits.detach().numpy(), k=5, labels=range(V))
    )
    h_train, y_train = samples(other, data.train)
    train_logits = F.linear(h_train.double(), other.head.weight.double(), other.head.bias.double())
    train_loss = F.cross_entropy(train_logits, y_train).item()
    assert measurement.values["train_loss"] == pytest.approx(train_loss, rel=1e-6)
    assert measurement.values["generalization_gap"] == pytest.approx(
        measurement.values["val_loss"] - train_loss, abs=1e-6
    )
    means = torch.stack([h_train[y_train == c].double().mean(0) for c in range(V)])
    nearest = torch.cdist(h.double(), means).argmin(1)
    assert measurement.values["nc4_agreement"] == pytest.approx(accuracy_score(decided, nearest))
    assert measurement.values["ncc_accuracy"] == pytest.approx(accuracy_score(y, nearest))
    assert measurement.values["nc4_unmeasured_share"] == 0
    nearest_train = torch.cdist(h_train.double(), means).argmin(1)
    own = accuracy_score(y_train, nearest_train)
    assert measurement.values["ncc_accuracy_train"] == pytest.approx(own)
    held_out = held_out_collapse(moments(other, data.train), moments(other, data.val))
    for column, value in held_out.items():
        assert measurement.values[column] == pytest.approx(value, rel=1e-12), column
    assert None not in held_out.values()


def test_reference_means_columns_equal_direct_computation() -> None:
    data, model, other = dataset(), Model(0), Model(3)
    measurement = collect(
        {"ref": model, "other": other}, data, MeasureConfig(), seed=0, device=CPU, reference="ref"
    )
    reference, own = moments(model, data.train), moments(other, data.train)
    drift = reference_drift(own, reference, other.head.weight)
    h, y = samples(other, data.val)
    agreement = NearestCentre(reference).agreement(h, y, other.head.weight, other.head.bias)
    values = measurement["other"].values
    assert values["mean_drift"] == pytest.approx(drift["mean_drift"], rel=1e-12)
    assert values["nc3_cosine_mean_refmeans"] == pytest.approx(
        drift["nc3_cosine_mean_refmeans"], rel=1e-12
    )
    assert values["nc4_agreement_refmeans"] == agreement.nc4_agreement
    assert values["ncc_accuracy_refmeans"] == agreement.ncc_accuracy
    z, z_ref = other.head(h), model.head(samples(model, data.val)[0])
    assert values["logits_error"] == pytest.approx(
        ((z - z_ref).norm() / z_ref.norm()).item(), rel=1e-5
    )
    assert "mean_drift" not in measurement["ref"].values
    assert "signal_to_noise" not in measurement["ref"].values


def decibels(signal: Tensor, noise: Tensor) -> float:
    return 20 * math.log10(float(signal.norm() / noise.norm()))


@pytest.mark.parametrize("samples_compared", [13, 100_000])
def test_signal_to_noise_equals_direct_computation(samples_compared: int) -> None:
    """At the head's input and in inner layers, over the first samples alone."""
    data, model, other = dataset(), Model(0), Model(3)
    measure = MeasureConfig(layers="all", agreement_samples=samples_compared)
    measured = collect(
        {"ref": model, "other": other, "same": model},
        data,
        measure,
        seed=0,
        device=CPU,
        reference="ref",
    )
    h, h_ref = (samples(each, data.val)[0][:samples_compared] for each in (other, model))
    assert measured["other"].values["signal_to_noise"] == pytest.approx(
        decibels(h_ref, h - h_ref), rel=1e-5
    )
    inputs, targets = data.val.batch(np.arange(len(data.val)))
    places = targets.reshape(-1) != IGNORE
    for name, layer in measured["other"].layers.items():
        after, before = (outputs_of(each, name, inputs) for each in (other, model))
        after, before = (h[places][:samples_compared] for h in (after, before))
        assert layer.values["signal_to_noise"] == pytest.approx(
            decibels(before, after - before), rel=1e-5
        )
    assert measured["same"].values["signal_to_noise"] is None
    assert "without noise" in measured["same"].reasons["signal_to_noise"]


def outputs_of(model: Model, layer: str, inputs: Tensor) -> Tensor:
    kept: list[Tensor] = []
    hook = model.layers[layer].register_forward_hook(lambda _m, _a, y: kept.append(y))
    with torch.no_grad():
        model.features(inputs)
    hook.remove()
    return kept[0].flatten(0, 1)


def test_a_model_measures_the_same_alone_and_in_company() -> None:
    data, model = dataset(), Model(0)
    alone = collect({"a": model}, data, MeasureConfig(), seed=0, device=CPU)["a"]
    company = collect(
        {"a": model, "b": Model(3), "c": Model(4)}, data, MeasureConfig(), seed=0, device=CPU
    )["a"]
    assert alone.values == company.values


def test_every_model_reads_every_sample_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    batch = Tokens.batch

    def counted(split: Tokens, rows: Ints) -> tuple[Tensor, Tensor]:
        read.extend((len(split), row) for row in rows.tolist())
        return batch(split, rows)

    monkeypatch.setattr(Tokens, "batch", counted)
    data, measure = dataset(), MeasureConfig(agreement_samples=30)
    collect(
        {"a": Model(0), "b": Model(3), "c": Model(4)},
        data,
        measure,
        seed=0,
        device=CPU,
        reference="a",
    )
    assert sorted(read) == sorted(
        3 * ([(40, row) for row in range(40)] + [(9, row) for row in range(9)])
    )


def test_a_model_sees_a_bounded_part_of_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and rows with few samples would need far more memory than their samples.

    The numbers stay the same.
    """
    data, seen, features = dataset(), [], Model.features

    def watched(model: Model, x: Tensor) -> Tensor:
        seen.append(len(x))
        return features(model, x)

    monkeypatch.setattr(Model, "features", watched)
    whole = collect({"a": Model(0)}, data, MeasureConfig(layers="all"), seed=0, device=CPU)["a"]
    assert max(seen) == 40
    seen.clear()
    monkeypatch.setattr("study.measuring.samples.TOKENS", 7 * T + 3)
    parts = collect({"a": Model(0)}, data, MeasureConfig(layers="all"), seed=0, device=CPU)["a"]
    assert max(seen) == 7
    for one, other in ((parts, whole), (parts.layers["block1"], whole.layers["block1"])):
        for column, value in other.values.items():
            assert one.values[column] == (
                value if value is None else pytest.approx(value, rel=1e-6)
            ), column


def test_images_are_shown_by_their_size() -> None:
    """As many of 8 x 8 pixels as are read, few of 32 x 32 in three colours.

    Each has 48 times the values.
    """
    images = random_rows(2, 200, (3, 32, 32), seed=0)
    sizes = [len(batch.inputs) for batch in batches(images, np.arange(400), CPU, "pass", None)]
    assert sizes == [170, 170, 60]
    digits = random_rows(2, 200, (1, 8, 8), seed=0)
    assert [len(batch.inputs) for batch in batches(digits, np.arange(400), CPU, "pass", None)] == [
        400
    ]


def test_inner_layers_have_rows_of_their_own() -> None:
    data, model = dataset(), Model(0)
    measurement = collect({"a": model}, data, MeasureConfig(layers="all"), seed=0, device=CPU)["a"]
    assert (
        measurement.values
        == collect({"a": model}, data, MeasureConfig(), seed=0, device=CPU)["a"].values
    )
    m = ClassMoments(V, D, scatter=True)
    inputs, targets = data.train.batch(np.arange(len(data.train)))
    positions = targets.reshape(-1) != IGNORE
    with torch.no_grad():
        h = model.block(model.embedding(inputs)).reshape(-1, D)[positions]
    m.update(h, targets.reshape(-1)[positions])
    expected = collapse_metrics(m, model.head.weight)
    layer = measurement.layers["block1"]
    for column in ("nc1_ratio", "nc1_pinv", "nc2_etf_error", "gnc2_log_distance_std"):
        assert layer.values[column] == pytest.approx(expected[column], rel=1e-12)
    assert layer.values["nc3_cosine_mean"] is None
    assert "inner layer" in layer.reasons["nc3_cosine_mean"]


def test_geometry_of_imbalance_and_rays_are_those_of_the_measured_samples() -> None:
    """Sizes are those of the training split, not of the part of it that is measured."""
    data, model = dataset(), Model(0)
    data = replace(data, class_counts=np.arange(1, V + 1) * 10)
    measure = MeasureConfig(min_count=4, agreement_samples=100, train_tokens=250)
    values = collect({"a": model}, data, measure, seed=0, device=CPU)["a"].values
    counts, m = (
        torch.from_numpy(data.class_counts),
        moments(model, data.train, measured_rows(data.train, 250, 0)),
    )
    expected = imbalance_geometry(m, model.head.weight, counts, min_count=4)
    kept = samples(model, data.train, measured_rows(data.train, 100, 0))
    expected |= ray_share(*kept, min_count=4)
    assert None not in expected.values()
    assert len(expected) == 4
    for column, value in expected.items():
        assert values[column] == pytest.approx(value, rel=1e-10), column


class Deep(Model):
    """Three layers of as many features, of which the last is not the head's input."""

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {"embedding": self.embedding, "block1": self.block}


def test_the_path_of_features_leads_through_the_layers() -> None:
    data, model = dataset(), Deep(0)
    measurement = collect({"a": model}, data, MeasureConfig(layers="all"), seed=0, device=CPU)["a"]
    inputs, targets = data.train.batch(np.arange(len(data.train)))
    places = targets.reshape(-1) != IGNORE
    labels = targets.reshape(-1)[places]

    def gaussian(h: Tensor) -> Gaussian:
        m = ClassMoments(V, D, scatter=True)
        m.update(h.reshape(-1, D)[places], labels)
        result = Gaussian.of(m)
        assert isinstance(result, Gaussian)
        return result

    with torch.no_grad():
        first = model.embedding(inputs)
        path = [gaussian(first), gaussian(model.block(first)), gaussian(model.features(inputs))]
    layers = measurement.layers
    expected = geodesic_deviation(*path)["geodesic_deviation"]
    assert layers["block1"].values["geodesic_deviation"] == pytest.approx(expected, rel=1e-6)
    assert "begins" in layers["embedding"].reasons["geodesic_deviation"]
    assert "geodesic_deviation" not in measurement.values


def test_covariances_beyond_a_limit_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.measuring.collect.COVARIANCE_BYTES", 2 * 8 * D * D - 1)
    measure = MeasureConfig(layers="all")
    layers = collect({"a": Deep(0)}, dataset(), measure, seed=0, device=CPU)["a"].layers
    assert "2 layers of 5 features" in layers["block1"].reasons["geodesic_deviation"]


def test_a_measured_subset_is_seeded_nested_and_no_larger_than_asked() -> None:
    split = Tokens(40, 1)
    small, large = measured_rows(split, 50, 0), measured_rows(split, 100, 0)
    assert len(small) * split.samples // len(split) <= 50
    assert set(small) < set(large)
    assert np.array_equal(small, measured_rows(split, 50, 0))
    assert not np.array_equal(large, measured_rows(split, 100, 1))
    assert np.array_equal(measured_rows(split, None, 0), np.arange(40))


def test_training_subset_is_what_moments_see() -> None:
    data, model = dataset(), Model(0)
    measure = MeasureConfig(train_tokens=100, min_count=1)
    measurement = collect({"a": model}, data, measure, seed=5, device=CPU)["a"]
    expected = moments(model, data.train, measured_rows(data.train, 100, 5))
    assert measurement.values["samples_measured"] == int(expected.counts.sum()) <= 100


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="training mode"):
        collect({"a": Model(0).train()}, dataset(), MeasureConfig(), seed=0, device=CPU)


def _calibration_error(confidence: np.ndarray, hit: np.ndarray) -> float:
    """Guo et al. 2017, eq. 3, as a loop over 15 bins (lower, upper]."""
    error = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return error


@pytest.mark.parametrize(
    "split", [lambda n: [n], lambda n: [1, n - 1], lambda n: [n // 3, n // 3, n - 2 * (n // 3)]]
)
def test_scores_add_up_to_the_plain_definitions(split: Callable[[int], list[int]]) -> None:
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(500, 9, generator=generator)
    y = torch.randint(0, 9, (500,), generator=generator)
    scores, both = Scores(), HeldOutScores()
    for z_part, y_part in zip(z.split(split(500)), y.split(split(500)), strict=True):
        scores.update(z_part, y_part)
        both.update(z_part, y_part)
    p = torch.softmax(z.double(), 1).numpy()
    assert scores.loss == both.loss == pytest.approx(-np.log(p[np.arange(500), y]).mean(), rel=1e-6)
    assert scores.accuracy == both.accuracy == accuracy_score(y, p.argmax(1))
    assert both.top5_accuracy == pytest.approx(top_k_accuracy_score(y, p, k=5))
    expected = _calibration_error(p.max(1), p.argmax(1) == y.numpy())
    assert both.calibration_error == pytest.approx(expected, rel=1e-5)
    entropy = -np.mean([sum(q * np.log(q) for q in row) for row in p])
    assert scores.entropy == both.entropy == pytest.approx(entropy, rel=1e-6)
    assert both.perplexity == pytest.approx(np.exp(-np.log(p[np.arange(500), y]).mean()), rel=1e-6)


def test_equal_logits_predict_the_lowest_index() -> None:
    scores = Scores()
    scores.update(
        torch.tensor([[1.0, 2.0, 2.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]), torch.tensor([1, 2, 0])
    )
    assert scores.accuracy == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no samples"):
        _ = Scores().loss


def test_entropy_at_its_ends() -> None:
    """0 of certain predictions, also of logits that float32 holds no difference of; log V."""
    certain, uniform, parts = Scores(), Scores(), Scores()
    certain.update(torch.tensor([[3e38, -3e38, 0.0], [300.0, 0.0, -9.0]]), torch.tensor([0, 1]))
    uniform.update(torch.full((2, 7), 5.0), torch.tensor([3, 6]))
    assert certain.entropy == 0
    assert uniform.entropy == pytest.approx(np.log(7), rel=1e-6)
    for part in (certain, uniform):
        parts.merge(part)
    assert parts.entropy == pytest.approx(np.log(7) / 2, rel=1e-6)


def test_logits_that_overflow_leave_no_score_behind() -> None:
    """An argmax among infinities is no decision."""
    model = Model(0)
    with torch.no_grad():
        model.head.weight.mul_(3e38)
    measurement = collect({"model": model}, dataset(), MeasureConfig(), seed=0, device=CPU)["model"]
    for column in (
        "val_loss",
        "val_accuracy",
        "val_top5_accuracy",
        "val_calibration_error",
        "prediction_entropy",
        "prediction_entropy_train",
        "train_accuracy",
    ):
        assert measurement.values[column] is None
        assert "not finite" in measurement.reasons[column]


class Two:
    """A crew of two that share the batches, in this process."""

    def __init__(self, first: Passes, second: Passes) -> None:
        self.both = (first, second)

    def all(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        return [getattr(each, method)(*arguments, **options) for each in self.both]

    def one(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.both[0], method)(*arguments, **options)

    def at(self, precision: Precision) -> AbstractContextManager[Record]:
        return self.both[0].at(precision)


@pytest.mark.parametrize(
    ("layers", "at_once", "compared"), [("last", 60, 200), ("all", 60, 200), ("all", 16, 29)]
)
def test_two_shares_of_the_batches_add_up_to_one(
    layers: Any, at_once: int, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the samples whose features are compared end amid the second batch of a share."""
    monkeypatch.setattr("study.measuring.samples.BATCH_SAMPLES", at_once)
    rows = {"train": np.arange(40) % 3 - 1, "val": np.arange(9) % 2}
    data = replace(dataset(), groups=Groups(("a", "b"), of_rows=rows))
    measure, model = MeasureConfig(layers=layers, agreement_samples=compared), Model(0)

    def passes(share: tuple[int, int]) -> Passes:
        return Passes(model, data, measure, seed=0, device=CPU, share=share)

    one = Meter(Alone(passes((0, 1))), data, measure)
    two = Meter(Two(passes((0, 2)), passes((1, 2))), data, measure)
    for name in ("fp32", "int4"):
        with at_precision(model, parse_precision(name)):
            expected, shared = (m.measure(reference=name == "fp32") for m in (one, two))
        assert shared.reasons == expected.reasons
        for (_, a), (_, b) in zip(shared.by_layer(), expected.by_layer(), strict=True):
            for column, value in b.values.items():
                close = value is None or pytest.approx(value, rel=1e-10, abs=1e-12)
                assert a.values[column] == (value if value is None else close), column


def test_layers_are_measured_in_parts_where_their_moments_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The numbers stay the same, bit for bit, and no pass computes more than it needs."""
    data, measure = dataset(), MeasureConfig(layers="all")
    together = collect({"a": Model(0)}, data, measure, seed=0, device=CPU)["a"]
    monkeypatch.setattr("study.measuring.collect.LAYER_BYTES", 1)
    heads: list[bool] = []
    features = Model.features

    def watched(model: Model, x: Tensor) -> Tensor:
        heads.append(False)
        result = features(model, x)
        heads[-1] = True
        return result

    monkeypatch.setattr(Model, "features", watched)
    parts = collect({"a": Model(0)}, data, measure, seed=0, device=CPU)["a"]
    assert parts.values == together.values
    assert parts.layers["block1"].values == together.layers["block1"].values
    assert heads == [False, False, True, True]  # block1: training, validation; then the head


def test_parts_of_layers() -> None:
    names = [f"block{number}" for number in range(1, 6)]
    assert parts_of_layers(names, 100, 10) == [(*names, HEAD_INPUT)]
    assert parts_of_layers(names, 65_536, 512) == [
        ("block1", "block2"),
        ("block3", "block4"),
        ("block5",),
        (HEAD_INPUT,),
    ]
