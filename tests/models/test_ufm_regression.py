"""The unconstrained-features model of a regression and of classes in an order.

Gradient descent reaches what is proven about its minima: of a regression a closed form
(Andriopoulos et al. 2024, theorem 4.1), of a cumulative link that features lie on a line in the
order of the classes (Ma, Obuchi & Tanaka 2025).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.config import CellConfig
from study.data import load_data
from study.data.base import Dataset
from study.measuring.collect import collect
from study.measuring.columns import Measurement
from study.models.base import FeatureModel
from study.training.train import train

CPU = torch.device("cpu")
SAMPLES, TARGETS, WIDTH = 40, 3, 8


def descend(
    folder: Path, data: dict[str, Any], training: dict[str, Any]
) -> tuple[FeatureModel, Dataset, Measurement]:
    """Gradient descent with momentum on whole batches; the last model and its columns."""
    settings = {
        "data": data,
        "model": {"kind": "ufm", "width": WIDTH},
        "train": {"optimizer": "sgd", "momentum": 0.9, "batch_size": 10_000, **training},
        "measure": {"at": "last", "min_count": 1},
    }
    config = CellConfig.model_validate(settings)
    loaded = load_data(config.data, base=folder, cache=folder)
    *_, last = train(config, loaded, CPU)
    columns = collect({"fp32": last.model}, loaded, config.measure, seed=0, device=CPU)["fp32"]
    return last.model, loaded, columns


def regress(folder: Path, head: float, features: float, epochs: int) -> tuple[Any, ...]:
    """W, b, H (N, d), Y (N, n) at the minimum, the coefficients lambda_W and lambda_H, columns.

    The objective is ||W H + b - Y||^2 / 2N + lambda_H ||H||^2 / 2N + lambda_W ||W||^2 / 2.
    """
    data = {"kind": "free_regression", "samples": SAMPLES, "target_dim": TARGETS}
    decay = {"head": head, "features": features, "bias": 0.0}
    training = {"lr": 1.0, "epochs": epochs, "loss": "mse", "decay": decay}
    model, loaded, columns = descend(folder, data, training)
    _, targets = loaded.train.batch(np.arange(SAMPLES))
    parameters = (model.head.weight, model.head.bias, model.get_parameter("table.weight"))
    W, b, H = (each.detach().double().numpy() for each in parameters)
    return W, b, H, targets.double().numpy(), head, SAMPLES * features, columns


@pytest.mark.parametrize(
    ("head", "features", "epochs"),
    [(4e-3, 4e-3, 600), pytest.param(1e-2, 2e-3, 2000, marks=pytest.mark.long)],
)
def test_regression_reaches_the_closed_form(
    tmp_path: Path, head: float, features: float, epochs: int
) -> None:
    W, b, H, Y, lambda_W, lambda_H, columns = regress(tmp_path, head, features, epochs)
    values, axes = np.linalg.eigh(np.cov(Y.T, bias=True))
    c = lambda_W * lambda_H
    assert 0 < c < values[0]  # no target is given up
    shrunk = axes @ np.diag(np.sqrt(values) - np.sqrt(c)) @ axes.T
    inverse_root = axes @ np.diag(values**-0.5) @ axes.T
    gram = np.sqrt(lambda_H / lambda_W) * shrunk
    np.testing.assert_allclose(W @ W.T, gram, atol=1e-4 * float(np.linalg.norm(gram)))
    np.testing.assert_allclose(b, Y.mean(axis=0), atol=1e-5)
    fitted = (Y - Y.mean(axis=0)) @ inverse_root @ shrunk
    np.testing.assert_allclose(H @ W.T, fitted, atol=1e-4 * np.abs(fitted).max())
    np.testing.assert_allclose(
        H, np.sqrt(lambda_W / lambda_H) * (Y - Y.mean(axis=0)) @ inverse_root @ W, atol=1e-4
    )
    assert columns.values["train_loss"] == pytest.approx(TARGETS * c / 2, rel=1e-4)
    for name in ("nrc1", "nrc2", "nrc3", "nrc1_variance", "nrc2_variance"):
        assert columns.values[name] < 1e-4**2, name
    # The covariance takes NRC3 into account: a frame of equal orthogonal rows is not near.
    assert ((gram / np.linalg.norm(gram) - np.eye(3) / 3**0.5) ** 2).sum() > 1e-2


def test_without_decay_nothing_collapses(tmp_path: Path) -> None:
    """Of zero penalties every minimiser fits, and features stay where they began (theorem 4.3)."""
    *_, columns = regress(tmp_path, 0.0, 0.0, 600)
    values = columns.values
    assert values["train_loss"] < 1e-6 and values["val_r2"] > 0.999
    assert values["nrc1"] > 0.1 and values["nrc2"] > 0.1 and values["nrc3"] > 1e-3


def test_ordered_classes_reach_a_line_in_their_order(tmp_path: Path) -> None:
    data = {"kind": "free", "classes": 5, "quota": 8}
    training = {"lr": 1.0, "epochs": 500, "loss": "cumulative_link", "weight_decay": 2e-3}
    model, _, columns = descend(tmp_path, data, training)
    values = columns.values
    assert model.head.weight.shape == (1, WIDTH)
    for name in ("onc1", "onc2"):
        assert values[name] < 1e-4, name
    assert values["onc3"] == values["onc3_thresholds"] == 0
    assert values["train_accuracy"] == values["val_accuracy"] == values["nc4_agreement"] == 1
    unlike = descend(tmp_path, data, {**training, "epochs": 1, "lr": 1e-6})[2].values
    assert unlike["onc1"] > 1 and unlike["onc2"] > 0.1 and unlike["onc3_thresholds"] > 0
