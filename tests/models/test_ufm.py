"""The unconstrained-features model.

Gradient descent reaches what is proven about its minima.

Closed forms: a simplex frame with cosines -1/(C-1) for cross-entropy (Zhu et al. 2021, theorem
3.1), label smoothing and focal loss (Zhou et al. 2022, theorem 1) and squared error with bias
(Zhou et al. 2022b, theorem 3.1); an orthogonal frame for squared error without bias (Tirer &
Bruna 2022, theorem 3.1), whose minimum is also known for imbalanced classes; a simplex frame under
norm constraints in place of decay (Yaras et al. 2022, theorem 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from study.config import CellConfig
from study.data import estimate, load_data
from study.data.config import FreeData
from study.measuring.collect import collect
from study.measuring.columns import Measurement
from study.models import ModelError, build_model
from study.models.base import FeatureModel
from study.models.heads import simplex_frame
from study.training.train import train

CPU = torch.device("cpu")
C, N_PER_CLASS, WIDTH, DECAY = 5, 12, 16, 5e-3
BALANCED = {"kind": "free", "classes": C, "quota": N_PER_CLASS}


def descend(
    tmp_path: Any,
    data: dict[str, Any],
    model: dict[str, Any],
    loss: str,
    decay: float = DECAY,
    epochs: int = 400,
    dials: dict[str, float] | None = None,
    **others: Any,
) -> tuple[FeatureModel, Measurement]:
    """Gradient descent with momentum on whole batches; the last model and its columns.

    `others` are settings of the training that stand in place of these.
    """
    settings = {
        "data": data,
        "model": {"kind": "ufm", "width": WIDTH, **model},
        "train": {
            "optimizer": "sgd", "lr": 1.0, "momentum": 0.9, "batch_size": 10_000,
            "weight_decay": decay, "epochs": epochs, "loss": loss,
            "decay": dials or {}, **others,
        },
        "measure": {"at": "last", "min_count": 1},
    }  # fmt: skip
    config = CellConfig.model_validate(settings)
    loaded = load_data(config.data, base=tmp_path, cache=tmp_path)
    *_, last = train(config, loaded, CPU)
    measured = collect({"fp32": last.model}, loaded, config.measure, seed=0, device=CPU)["fp32"]
    return last.model, measured


@pytest.mark.parametrize(
    ("loss", "model", "cosine"),
    [
        ("cross_entropy", {}, -1 / (C - 1)),
        ("cross_entropy", {"bias": False}, -1 / (C - 1)),
        ("cross_entropy", {"head": "fixed_etf"}, -1 / (C - 1)),
        ("label_smoothing", {}, -1 / (C - 1)),
        ("focal", {}, -1 / (C - 1)),
        ("mse", {}, -1 / (C - 1)),
        ("mse", {"bias": False}, 0.0),
    ],
)
def test_collapse_is_reached(
    tmp_path: Any, loss: str, model: dict[str, Any], cosine: float
) -> None:
    _, reached = descend(tmp_path, BALANCED, model, loss)
    values = reached.values
    assert values["nc1_ratio"] < 1e-4
    assert values["nc2_etf_error"] < 1e-2
    assert values["nc3_dual_error"] < 1e-2
    assert values["nc4_agreement"] == values["nc4_agreement_train"] == values["train_accuracy"] == 1
    assert values["nc2_uncentred_cos_mean"] == pytest.approx(cosine, abs=1e-3)
    assert values["nc2_uncentred_cos_std"] < 1e-3
    assert "minority_head_cos" not in values


def test_squared_error_reaches_the_known_minimum(tmp_path: Any) -> None:
    """The singular values sqrt(n) of Y shrink by N decay at the minimum.

    min ||W H - Y||^2 / 2N + decay (||W||^2 + ||H||^2) / 2 has ||W||^2 = ||H||^2 = their sum (the
    nuclear norm; Zhou et al. 2022b, theorem 3.1).
    """
    model, _ = descend(tmp_path, BALANCED, {"bias": False}, "mse")
    shrunk = N_PER_CLASS**0.5 - C * N_PER_CLASS * DECAY
    assert model.head.weight.square().sum().item() == pytest.approx(C * shrunk, rel=1e-4)
    table = model.get_parameter("table.weight")
    assert table.square().sum().item() == pytest.approx(C * shrunk, rel=1e-4)
    products = table @ model.head.weight.T
    own = products[torch.arange(C * N_PER_CLASS), torch.arange(C).repeat_interleave(N_PER_CLASS)]
    np.testing.assert_allclose(own.detach(), shrunk / N_PER_CLASS**0.5, rtol=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_norm_constraint_reaches_the_frame_without_decay(
    tmp_path: Any, temperature: float
) -> None:
    """Features and rows of unit length (Yaras et al. 2022, theorem 1).

    The least loss is log(1 + (C - 1) exp(-C / ((C - 1) temperature))), that of a simplex frame.
    """
    head = {"head": "cosine", "temperature": temperature}
    _, reached = descend(tmp_path, BALANCED, head, "cross_entropy", decay=0.0)
    values = reached.values
    least = np.log1p((C - 1) * np.exp(-C / ((C - 1) * temperature)))
    assert values["train_loss"] == pytest.approx(least, rel=1e-4)
    assert values["nc1_ratio"] < 1e-4 and values["nc0_row_sum"] < 1e-6
    assert values["nc2_etf_error"] < 1e-2 and values["nc3_dual_error"] < 1e-2
    assert values["nc3_cosine_mean"] == pytest.approx(1, abs=1e-4)


COUPLED: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "lr": 0.03},
    "signum": {"optimizer": "signum", "lr": 0.03},
    "nesterov": {"optimizer": "sgd", "nesterov": True},
}
DECOUPLED: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "lr": 0.03, "decay": 1.0},
    "signumw": {"optimizer": "signumw", "lr": 0.03, "decay": 1.0},
    "lion": {"optimizer": "lion", "lr": 0.03, "decay": 1.0},
    "muon": {"optimizer": "muon", "lr": 0.03, "decay": 1.0},
}


def quick_is(name: str, names: dict[str, dict[str, Any]]) -> list[Any]:
    """Parameters of a test: one of `names`, the others among long tests."""
    return [pytest.param(each, marks=() if each == name else pytest.mark.long) for each in names]


@pytest.mark.parametrize(
    ("loss", "model", "cosine"),
    [("cross_entropy", {}, -1 / (C - 1)), ("mse", {"bias": False}, 0.0)],
)
@pytest.mark.parametrize("optimizer", quick_is("adam", COUPLED))
def test_coupled_decay_reaches_the_minimum_whatever_the_rule(
    tmp_path: Any, optimizer: str, loss: str, model: dict[str, Any], cosine: float
) -> None:
    """A fixed point of theirs is one of the loss with its decay, a simplex or orthogonal frame.

    Rows of a simplex frame sum to zero. Of C orthogonal rows of one norm the sum of squares is
    C norm^2, so that nc0_row_sum = 1 / C.
    """
    _, reached = descend(tmp_path, BALANCED, model, loss, **COUPLED[optimizer])
    values = reached.values
    assert values["nc1_ratio"] < 1e-4
    assert values["nc2_etf_error"] < 1e-2
    assert values["nc3_dual_error"] < 1e-2
    assert values["nc2_uncentred_cos_mean"] == pytest.approx(cosine, abs=2e-3)
    row_sum = 0.0 if loss == "cross_entropy" else 1 / C
    assert values["nc0_row_sum"] == pytest.approx(row_sum, abs=1e-4)


@pytest.mark.parametrize("optimizer", quick_is("adamw", DECOUPLED))
def test_decoupled_decay_leaves_the_sum_of_rows(tmp_path: Any, optimizer: str) -> None:
    """A hundred times what coupled decay leaves, though decay is strong and features collapse.

    The sum of rows has no gradient from the softmax, but signs of gradients do not add up to zero
    (Zhao et al. 2026).
    """
    _, coupled = descend(tmp_path, BALANCED, {}, "cross_entropy", **COUPLED["adam"])
    _, reached = descend(tmp_path, BALANCED, {}, "cross_entropy", **DECOUPLED[optimizer])
    assert reached.values["train_accuracy"] == 1
    assert reached.values["nc1_ratio"] < 0.01
    assert reached.values["nc0_row_sum"] > 0.01
    assert reached.values["nc0_row_sum"] > 100 * coupled.values["nc0_row_sum"]


def test_features_and_head_of_other_decay_reach_their_own_minimum(tmp_path: Any) -> None:
    """Only the product of two decays shrinks singular values, their ratio divides what is left.

    With decays a of the head and b of the features, the singular values of Y shrink by
    N sqrt(a b), ||W||^2 is their sum times sqrt(b / a), ||H||^2 times sqrt(a / b) (Zhou et al.
    2022b, theorem 3.1).
    """
    a, b = 1e-2, 2.5e-3
    dials = {"body": 7.0, "head": a, "features": b}
    model, _ = descend(tmp_path, BALANCED, {"bias": False}, "mse", dials=dials)
    total = C * (N_PER_CLASS**0.5 - C * N_PER_CLASS * (a * b) ** 0.5)
    head, table = model.head.weight, model.get_parameter("table.weight")
    assert head.square().sum().item() == pytest.approx(total * (b / a) ** 0.5, rel=1e-3)
    assert table.square().sum().item() == pytest.approx(total * (a / b) ** 0.5, rel=1e-3)


def imbalanced(ratio: float) -> dict[str, Any]:
    return {
        "kind": "free",
        "classes": 6,
        "quota": 100,
        "imbalance": "step",
        "imbalance_ratio": ratio,
    }


@pytest.mark.long
@pytest.mark.parametrize(("ratio", "merged"), [(5, False), (50, True)])
def test_minority_rows_of_squared_error_vanish_beyond_the_threshold(
    tmp_path: Any, ratio: int, merged: bool
) -> None:
    """Row c has squared norm max(0, sqrt(n_c) - N decay).

    It is zero, so merged, where n_c <= (N decay)^2 (Dang et al. 2023, theorem 4). 2023, theorem 4).
    """
    model, reached = descend(
        tmp_path, imbalanced(ratio), {"bias": False}, "mse", decay=1e-2, epochs=700
    )
    sizes = np.repeat([100, 100 // ratio], 3)
    expected = np.maximum(0, np.sqrt(sizes) - sizes.sum() * 1e-2)
    assert bool(expected[-1] == 0) is merged
    np.testing.assert_allclose(model.head.weight.square().sum(1).detach(), expected, atol=1e-3)
    assert reached.values["minority_classes"] == 3
    if merged:
        assert reached.values["minority_head_cos"] > 0.999
        assert reached.values["minority_means_cos"] > 0.999
    else:
        # orthogonal rows of squared length a (majority), b: closed form of the centred cosine among
        # the minority
        a, b = expected[0], expected[-1]
        centre = 3 * (a + b) / 36
        assert reached.values["minority_head_cos"] == pytest.approx(
            (centre - b / 3) / (b + centre - b / 3), abs=1e-3
        )


@pytest.mark.long
def test_minority_rows_of_cross_entropy_merge_beyond_the_threshold(tmp_path: Any) -> None:
    """Rows of the minority coincide beyond a finite ratio of imbalance.

    This is theorem 5 of Fang et al. 2021.
    """
    _, below = descend(tmp_path, imbalanced(5), {}, "cross_entropy", decay=1e-2)
    _, beyond = descend(tmp_path, imbalanced(50), {}, "cross_entropy", decay=1e-2, epochs=700)
    assert below.values["minority_head_cos"] < 0.5
    assert below.values["train_accuracy"] == 1
    assert beyond.values["minority_head_cos"] > 0.999


@pytest.mark.parametrize(("classes", "width"), [(2, 1), (5, 4), (10, 64), (100, 99)])
def test_the_simplex_frame(classes: int, width: int) -> None:
    frame = simplex_frame(classes, width).double().numpy()
    expected = (np.eye(classes) * classes - 1) / (classes - 1)
    np.testing.assert_allclose(frame @ frame.T, expected, atol=1e-6)


def test_a_fixed_head_stays_and_must_fit() -> None:
    data = load_data(FreeData(classes=6, quota=3), base=None, cache=None)
    config = CellConfig.model_validate(
        {
            "data": {"kind": "free", "classes": 6, "quota": 3},
            "model": {"kind": "ufm", "width": 5, "head": "fixed_etf"},
            "train": {"optimizer": "sgd", "lr": 1.0, "epochs": 3, "weight_decay": 0.1},
        }
    )
    heads = [checkpoint.model.head.weight.clone() for checkpoint in train(config, data, CPU)]
    assert all(torch.equal(head, heads[0]) for head in heads[1:])
    narrow = config.model.model_copy(update={"width": 4})
    with pytest.raises(ModelError, match="6 classes needs at least 5 features, the model has 4"):
        build_model(narrow, classes=6, input_shape=(18,), seed=0)


def test_free_data_are_numbers_and_classes() -> None:
    config = FreeData(classes=4, quota=10, imbalance="exponential", imbalance_ratio=8)
    data = load_data(config, base=None, cache=None)
    assert data.class_counts.tolist() == [10, 5, 2, 1]  # 10 * 8^(-k/3): 10, 5, 2.5 (to even), 1.25
    inputs, targets = data.train.batch(np.array([0, 9, 10, 17]))
    assert (inputs.tolist(), targets.tolist()) == ([0, 9, 10, 17], [0, 0, 1, 3])
    known = estimate(config, base=None, cache=None)
    assert (
        (known.train_rows, known.classes, known.input_shape)
        == (18, 4, data.input_shape)
        == (18, 4, (18,))
    )


def test_models_and_data_must_fit() -> None:
    train_settings = {"lr": 1, "epochs": 1}
    pairs = [
        (
            {"kind": "ufm", "width": 4},
            {"kind": "images"},
            "ufm reads samples, but data.kind images gives images",
        ),
        (
            {"kind": "resnet18"},
            {"kind": "free"},
            "resnet18 reads images, but data.kind free gives samples",
        ),
        ({"kind": "gpt_neo", "width": 16, "depth": 1}, {"kind": "images"}, "reads tokens"),
    ]
    for model, data, message in pairs:
        with pytest.raises(ValueError, match=message):
            CellConfig.model_validate({"model": model, "data": data, "train": train_settings})
    model = CellConfig.model_validate(
        {"model": pairs[0][0], "data": {"kind": "free"}, "train": train_settings}
    ).model
    with pytest.raises(ModelError, match=r"ufm reads samples, not inputs of shape \(3, 32, 32\)"):
        build_model(model, classes=10, input_shape=(3, 32, 32), seed=0)
    free = build_model(model, classes=10, input_shape=(7,), seed=0)
    with pytest.raises(ModelError, match="sample number"):
        free.features(torch.zeros(2, 4))
