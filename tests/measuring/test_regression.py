"""Columns of a regression and of classes in an order, from training to rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error, r2_score

from study.config import MeasureConfig
from study.data import Dataset, load_data
from study.data.regression_config import RegressionData
from study.measuring.collect import collect
from study.measuring.regression import NO_CLASSES
from study.metrics import RegressionMoments, TargetScores, regression_collapse
from study.models import build_model
from study.models.base import FeatureModel
from study.models.vision_config import MLP
from study.precision import quantize

CPU = torch.device("cpu")


def example(**settings: Any) -> tuple[Dataset, FeatureModel]:
    data = load_data(RegressionData(samples=90, **settings), base=Path(), cache=Path())
    of_vectors = data.predicts == "vectors"
    kind = MLP(width=9, depth=2, head="learned" if of_vectors else "cumulative_link")
    model = build_model(kind, classes=data.classes, input_shape=data.input_shape, seed=0)
    return data, model.eval()


def measured(model: FeatureModel, data: Dataset, **settings: Any) -> Any:
    models = {"fp32": model, "int4": quantize(model, "int4").eval()}
    config = MeasureConfig(layers="all", min_count=1, **settings)
    return collect(models, data, config, seed=0, device=CPU, reference="fp32")


def test_scores_are_those_of_scikit_learn() -> None:
    data, model = example(target_dim=3)
    values = measured(model, data)["fp32"].values
    for split, name in ((data.train, "train"), (data.val, "val")):
        x, y = split.batch(np.arange(len(split)))
        z = model(x).detach().double().numpy()
        error = mean_squared_error(y, z) * 3 / 2
        assert values[f"{name}_loss"] == pytest.approx(error, rel=1e-6)
        assert values[f"{name}_r2"] == pytest.approx(r2_score(y, z), rel=1e-6)
    assert values["generalization_gap"] == values["val_loss"] - values["train_loss"]


def test_every_layer_and_precision_has_its_own_collapse() -> None:
    data, model = example(target_dim=2)
    x, y = data.train.batch(np.arange(len(data.train)))
    for name, measurement in measured(model, data).items():
        moments = RegressionMoments(2, 9)
        current = model if name == "fp32" else quantize(model, "int4").eval()
        with torch.no_grad():
            moments.update(current.features(x), y)
        expected = regression_collapse(moments, current.head.weight)
        assert {key: measurement.values[key] for key in expected} == pytest.approx(
            expected, rel=1e-6
        )
        inner = measurement.layers["block1"]
        assert inner.values["nrc1"] > 0 and "no head of its own" in inner.reasons["nrc2"]
        assert ("logits_error" in measurement.values) == (name == "int4")
        assert (measurement.values.get("signal_to_noise") or 0) > 0 or name == "fp32"


def test_columns_of_classes_have_one_reason() -> None:
    data, model = example(target_dim=2)
    measurement = measured(model, data)["fp32"]
    for name in ("nc1_ratio", "nc2_etf_error", "nc3_cosine_mean", "nc4_agreement", "val_accuracy"):
        assert measurement.values[name] is None and measurement.reasons[name] == NO_CLASSES
    assert measurement.values["effective_rank"] > 1
    assert "forgetting" not in measurement.values  # which nobody asks of it


def test_scores_of_shares_add_up_and_a_constant_target_has_no_r2() -> None:
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(2, 30, 2, generator=generator)
    whole, first, rest = TargetScores(2), TargetScores(2), TargetScores(2)
    whole.update(z, y)
    first.update(z[:7], y[:7])
    rest.update(z[7:], y[7:])
    first.merge(rest)
    assert first.loss == pytest.approx(whole.loss, rel=1e-12)
    assert first.r2 == pytest.approx(whole.r2, rel=1e-10)
    whole.update(torch.full((5, 2), torch.inf), torch.zeros(5, 2))
    assert not np.isfinite(whole.loss)
    constant = TargetScores(1)
    constant.update(z[:, :1], torch.ones(30, 1))
    assert constant.r2 is None


def test_decisions_of_a_link_are_its_likeliest_classes() -> None:
    data, model = example(target_dim=1, bins=4)
    values = measured(model, data)["fp32"].values
    x, y = data.val.batch(np.arange(len(data.val)))
    with torch.no_grad():
        likeliest = model(x).argmax(1)
        h, train = (data.train.batch(np.arange(len(data.train)))[k] for k in (0, 1))
        h = model.features(h)
        means = torch.stack([h[train == c].double().mean(0) for c in range(4)])
        nearest = torch.cdist(model.features(x).double(), means).argmin(1)
    assert values["val_accuracy"] == (likeliest == y).double().mean().item()
    assert values["nc4_agreement"] == (likeliest == nearest).double().mean().item()
    log_p = model(x).detach().double().gather(1, y[:, None])
    assert values["val_loss"] == pytest.approx(-log_p.mean().item(), rel=1e-6)


def test_a_link_has_no_columns_of_rows_of_the_head() -> None:
    data, model = example(target_dim=1, bins=4)
    for name, measurement in measured(model, data).items():
        assert measurement.values["onc1"] == measurement.values["nc1_ratio"]
        for column in ("nc0_row_sum", "nc3_cosine_mean", "nc2_w_etf_error", "seli_w_distance"):
            assert measurement.values[column] is None
            assert measurement.reasons[column] == "the head has one row for all classes"
        assert "onc1" not in measurement.layers["block1"].values
        if name == "int4":
            assert measurement.values["logits_error"] > 0
            assert measurement.values["nc4_agreement_refmeans"] is not None
            assert measurement.values["nc3_cosine_mean_refmeans"] is None
