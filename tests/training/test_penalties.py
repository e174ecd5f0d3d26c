"""Penalties, against loops over their definitions and against minima that are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import entr, softmax
from token_rows import cell, dataset

from study.config import CellConfig
from study.data import load_data
from study.measuring.collect import collect
from study.metrics import ClassMoments, collapse_metrics
from study.models import build_model
from study.models.base import FeatureModel
from study.precision import parse_precision
from study.settings.penalty import PenaltyConfig
from study.training.finetune import finetune
from study.training.loss_log import read_losses
from study.training.losses import CHUNK_ELEMENTS
from study.training.penalties import OF_MEANS, Penalties
from study.training.rounding import Rounding
from study.training.train import Diverged, train

CPU = torch.device("cpu")
C, N_PER_CLASS, DIM = 4, 3, 4
NAMES = tuple(PenaltyConfig.model_fields)
Y = np.arange(C).repeat(N_PER_CLASS)


def model_of(classes: int = C, dim: int = DIM) -> FeatureModel:
    """A head of random rows and biases in float64."""
    config = CellConfig.model_validate(
        {
            "data": {"kind": "free", "classes": classes},
            "model": {"kind": "ufm", "width": dim},
            "train": {"epochs": 1},
        }
    )
    return build_model(config.model, classes=classes, input_shape=(8,), seed=3).double()


def features(seed: int = 0, samples: int = len(Y)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, DIM, generator=generator, dtype=torch.float64) + 0.5


def by_loops(name: str, h: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
    """The definition of a penalty; means are those of `h`."""
    classes = sorted(set(y))
    means = {c: h[y == c].mean(axis=0) for c in classes}
    centre = np.mean([means[c] for c in classes], axis=0)
    centred = [means[c] - centre for c in classes]
    norms = [np.sqrt(m @ m) for m in centred]
    match name:
        case "nc1":
            within = sum((x - means[c]) @ (x - means[c]) for x, c in zip(h, y, strict=True))
            total = sum((x - centre) @ (x - centre) for x in h)
            return 2 * within / (within + total)
        case "nc2":
            variation = np.std(norms) / np.mean(norms)
            return variation**2 / (1 + variation**2)
        case "nc3":
            pairs = zip(classes, centred, norms, strict=True)
            return 1 - np.mean([w[c] @ m / n / np.sqrt(w[c] @ w[c]) for c, m, n in pairs])
        case "uniformity":
            units = [m / n for m, n in zip(centred, norms, strict=True)]
            kernel = [np.exp(-2 * (u - v) @ (u - v)) for u, v in combinations(units, 2)]
            return np.log(np.mean(kernel))
        case "feature_norm":
            return np.mean([np.log(1 + x @ x / len(x)) for x in h])
    return np.mean([entr(softmax(w @ x + b)).sum() for x in h])


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_of_the_first_pass(name: str) -> None:
    """Against loops and their central differences: means are those of the pass itself."""
    model, h = model_of(), features().requires_grad_()
    w, b = (p.detach().numpy() for p in (model.head.weight, model.head.bias))
    value = Penalties(PenaltyConfig(**{name: -1.5}), model)(h, torch.from_numpy(Y))
    value.backward()
    start = h.detach().numpy()
    assert value.item() == pytest.approx(-1.5 * by_loops(name, start, Y, w, b), rel=1e-12)
    step, gradient = 1e-6, np.zeros_like(start)
    for place in np.ndindex(start.shape):
        shift = np.zeros_like(start)
        shift[place] = step
        ends = [by_loops(name, start + s * shift, Y, w, b) for s in (1, -1)]
        gradient[place] = -1.5 * (ends[0] - ends[1]) / (2 * step)
    assert h.grad is not None
    np.testing.assert_allclose(h.grad, gradient, rtol=1e-6, atol=1e-8)
    rows = model.head.weight.grad
    assert (rows is not None) is (name in ("nc3", "entropy"))
    if rows is not None:
        place = (2, 1)
        ends = []
        for sign in (1, -1):
            moved = w.copy()
            moved[place] += sign * step
            ends.append(by_loops(name, start, Y, moved, b))
        assert rows[place].item() == pytest.approx(-1.5 * (ends[0] - ends[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_later_passes_by_finite_differences(name: str) -> None:
    """What is remembered is a constant, which the means of the pass move by what they move.

    Some classes do not occur in the pass.
    """
    model, y, base = model_of(), torch.tensor([3, 0, 0, 3, 1]), features(2, 5)
    settings = PenaltyConfig(**{name: 0.7})

    def penalties() -> Penalties:
        made = Penalties(settings, model)
        made(features(1), torch.from_numpy(Y))
        return made

    def value(h: torch.Tensor) -> torch.Tensor:
        """As the pass at `base` remembers it, at other features."""
        at, own = penalties(), torch.stack([h[y == c].mean(0) for c in (0, 1, 3)])
        if at.means is None:
            return at(h, y)
        kept = at.means.update(base, y, model.head.weight)
        change = own - torch.stack([base[y == c].mean(0) for c in (0, 1, 3)])
        centred = kept.means - kept.centre + change - change.sum(0) / C
        return 0.7 * OF_MEANS[name](replace(kept, features=h, centred=centred))

    h = base.clone().requires_grad_()
    assert torch.autograd.gradcheck(value, [h], atol=1e-7)
    expected = torch.autograd.grad(value(h), h)[0]
    torch.testing.assert_close(torch.autograd.grad(penalties()(h, y), h)[0], expected)


def test_earlier_samples_weigh_as_sixteen() -> None:
    """All of them alike until there are so many, and the passes in between by what is left."""
    penalties = Penalties(PenaltyConfig(nc1=1.0), model_of())
    generator = np.random.default_rng(0)
    mean, weight = np.zeros(DIM), 0.0
    for samples in (5, 9, 1, 7, 40, 2):
        own = generator.normal(size=(samples, DIM))
        mean = (weight * mean + own.sum(axis=0)) / (weight + samples)
        weight = min(weight + samples, 16)
        h = np.concatenate([own, generator.normal(size=(1, DIM))])
        y = torch.tensor([2] * samples + [3])
        penalties(torch.from_numpy(h), y)
        assert penalties.means is not None
        np.testing.assert_allclose(penalties.means.means[2], mean, rtol=1e-12)
    assert penalties.means is not None
    assert penalties.means.seen.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(penalties.means.centre(), penalties.means.means[2:].mean(0))


def test_penalties_follow_their_metrics() -> None:
    h, model = features(), model_of()
    moments = ClassMoments(C, DIM, CPU)
    moments.update(h.float(), torch.from_numpy(Y))
    columns = collapse_metrics(moments, model.head.weight.detach().float(), min_count=1)
    value = {
        name: Penalties(PenaltyConfig(**{name: 1.0}), model)(h, torch.from_numpy(Y)).item()
        for name in NAMES
    }
    ratio, variation, cosine = (
        columns[name] for name in ("nc1_ratio", "nc2_equinorm", "nc3_cosine_mean")
    )
    assert ratio is not None and variation is not None and cosine is not None
    assert value["nc1"] == pytest.approx(2 * ratio / (1 + 2 * ratio), rel=1e-5)
    assert value["nc2"] == pytest.approx(variation**2 / (1 + variation**2), rel=1e-4)
    assert value["nc3"] == pytest.approx(1 - cosine, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_penalties_of_means_do_not_depend_on_the_scale_of_features(scale: float) -> None:
    coefficients = PenaltyConfig(nc1=0.3, nc2=-2.0, nc3=0.5, uniformity=-0.1)
    plain, scaled = (
        Penalties(coefficients, model_of())(h, torch.from_numpy(Y)).item()
        for h in (features(), scale * features())
    )
    assert scaled == pytest.approx(plain, rel=1e-10)


CENTRED = torch.tensor([-1.0, 0.0, 1.0])[:, None] * torch.ones(DIM)


@pytest.mark.parametrize("h", [torch.zeros(3, DIM), torch.ones(3, DIM), CENTRED])
def test_features_without_a_class_of_their_own_give_small_gradients(h: torch.Tensor) -> None:
    """Of one class, all alike, or one of them at the centre: there is no direction to go."""
    model = model_of().float()
    for y in (torch.tensor([1, 1, 1]), torch.tensor([0, 1, 2])):
        penalties = Penalties(PenaltyConfig(**dict.fromkeys(NAMES, 1.0)), model)
        own = h.clone().requires_grad_()
        value = penalties(own, y)
        value.backward()
        assert value.isfinite() and own.grad is not None and own.grad.abs().max() < 10


def test_class_means_that_are_all_alike_have_equal_norms() -> None:
    model = model_of().float()
    for y in (torch.tensor([1, 1, 1]), torch.tensor([0, 1, 2])):
        assert Penalties(PenaltyConfig(nc2=1.0), model)(torch.ones(3, DIM), y).item() == 0


def test_entropy_in_chunks_is_that_of_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a cap, and with rows that are put back before the gradient is taken."""
    model = model_of()
    model.logit_scale, model.logit_cap = 1.5, 2.0
    values, gradients = [], []
    for elements in (CHUNK_ELEMENTS, 3 * C):
        monkeypatch.setattr("study.training.penalties.CHUNK_ELEMENTS", elements)
        h = features().requires_grad_()
        value = Penalties(PenaltyConfig(entropy=2.0), model)(h, torch.from_numpy(Y))
        gradients.append(torch.autograd.grad(value, [h, model.head.weight]))
        values.append(value.item())
    p = softmax(model(torch.arange(8)).detach().numpy(), axis=1)
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    h = model.features(torch.arange(8)).detach()
    value = Penalties(PenaltyConfig(entropy=2.0), model)(h, torch.zeros(8, dtype=torch.int64))
    assert value.item() == pytest.approx(2 * entr(p).sum(axis=1).mean(), rel=1e-12)


def final_tensors(config: CellConfig, folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    *_, last = train(config, dataset(**changes), CPU, folder=folder)
    return last.model.state_dict()


def test_coefficients_of_zero_are_no_penalty(tmp_path: Path) -> None:
    """Bit for bit, and a state from before there were penalties is resumed."""
    zeros = cell(penalty=dict.fromkeys(NAMES, 0.0))
    plain = final_tensors(cell(), tmp_path / "plain")
    for name, tensor in final_tensors(zeros, tmp_path / "zeros").items():
        assert torch.equal(tensor, plain[name]), name
    (first, second) = (tmp_path / name / "loss_log.jsonl" for name in ("plain", "zeros"))
    assert first.read_bytes() == second.read_bytes()
    assert b"penalty" not in first.read_bytes()
    assert final_tensors(zeros, tmp_path / "plain").keys() == plain.keys()


def test_passes_of_a_step_weigh_by_their_samples(tmp_path: Path) -> None:
    """11 rows in steps of 4, in passes of 2; only the last token is a sample."""
    penalty = {"feature_norm": 0.4, "entropy": -0.3}
    sizes_of: dict[str, dict[str, Any]] = {
        "whole": {"batch_size": 4},
        "parts": {"batch_size": 2, "accumulation": 2},
    }
    for last_only in (False, True):
        whole, parts = (
            final_tensors(
                cell(penalty=penalty, **sizes), tmp_path / f"{name}{last_only}", last_only=last_only
            )
            for name, sizes in sizes_of.items()
        )
        for name, tensor in whole.items():
            torch.testing.assert_close(tensor, parts[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_log_has_what_penalties_added(precision: str, tmp_path: Path) -> None:
    """Of rounded weights, where a training rounds them; the loss is without it."""
    config = cell(
        penalty={"nc3": 0.5, "entropy": -0.2, "uniformity": 0.1},
        precision=precision,
        quantize="int4",
        epochs=1,
        batch_size=11,
    )
    data = dataset()
    list(train(config, data, CPU, folder=tmp_path))
    row = read_losses(tmp_path / "loss_log.jsonl")[0]
    model = build_model(config.model, classes=23, context=17, seed=5)
    rounding = Rounding(model, parse_precision("int4"))

    def loops(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        h = model.features(inputs).flatten(0, 1).detach().double().numpy()
        w, y = model.head.weight.detach().double().numpy(), targets.flatten().numpy()
        values = {name: by_loops(name, h, y, w, np.zeros(len(w))) for name in NAMES}
        return 0.5 * values["nc3"] - 0.2 * values["entropy"] + 0.1 * values["uniformity"]

    order = np.random.default_rng([config.train.shuffle_seed, 0]).permutation(11)
    expected = rounding.call(loops, *data.train.batch(order))
    exact = 1e-4 if precision == "fp32" else 0.05
    assert row["penalty"] == pytest.approx(expected, rel=exact)
    assert row["loss"] == pytest.approx(np.log(23), rel=0.05)


def test_fine_tuning_has_the_penalties_of_the_training() -> None:
    config, data = cell(penalty={"nc1": 5.0}, epochs=2, lr=3e-3), dataset()
    *_, last = train(config, data, CPU)
    plain = config.train.model_copy(update={"penalty": PenaltyConfig()})
    without = config.model_copy(update={"train": plain})
    model = last.model.eval()
    tuned, other = (
        finetune(model, parse_precision("ft-fp32"), each, data, CPU) for each in (config, without)
    )
    ratios = [
        collect({"a": each}, data, config.measure, seed=0, device=CPU)["a"].values["nc1_ratio"]
        for each in (tuned, other)
    ]
    assert ratios[0] is not None and ratios[1] is not None and ratios[0] < ratios[1]


def test_a_penalty_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"the penalty of step 1 .* is inf .* of train\.penalty"):
        list(train(cell(penalty={"feature_norm": 1e300}), dataset(), CPU, folder=tmp_path))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"penalty": {"nc5": 1.0}}, "nc5"),
        ({"penalty": {"nc1": float("inf")}}, "finite"),
        ({"penalty": {"nc1": "much"}}, "number"),
        ({"penalty": {"entropy": 0.1}, "loss": "mse"}, "scores that are none"),
    ],
)
def test_bad_penalties_are_refused(train: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cell(**train)


# Minima of the unconstrained-features model: mean loss + decay / 2 (||W||^2 + ||H||^2) + x P.

UFM_C, UFM_N, WIDTH, DECAY = 5, 12, 16, 5e-3


def reached(
    tmp_path: Path, penalty: dict[str, float], loss: str = "cross_entropy", **model: Any
) -> tuple[FeatureModel, dict[str, float]]:
    """Gradient descent with momentum on whole batches; the last model and its columns."""
    config = CellConfig.model_validate(
        {
            "data": {"kind": "free", "classes": UFM_C, "quota": UFM_N},
            "model": {"kind": "ufm", "width": WIDTH, **model},
            "train": {
                "optimizer": "sgd", "lr": 1.0, "batch_size": 10_000, "epochs": 500,
                "weight_decay": DECAY, "loss": loss, "penalty": penalty,
            },
            "measure": {"at": "last", "min_count": 1},
        }
    )  # fmt: skip
    data = load_data(config.data, base=tmp_path, cache=tmp_path)
    *_, last = train(config, data, CPU)
    columns = collect({"a": last.model}, data, config.measure, seed=0, device=CPU)["a"].values
    return last.model, {name: v for name, v in columns.items() if v is not None}


@pytest.mark.parametrize(
    "name",
    ["uniformity", *(pytest.param(name, marks=pytest.mark.long) for name in ("nc1", "nc2", "nc3"))],
)
def test_penalties_leave_a_minimum_that_has_collapsed_where_it_is(
    name: str, tmp_path: Path
) -> None:
    """The simplex frame has the least of each, so the norms of the plain minimum remain.

    On it the objective is f(a b) + decay / 2 (C a^2 + N b^2), rows of length a, features of b.
    """
    model, columns = reached(tmp_path, {name: 0.3}, bias=False)

    def objective(lengths: np.ndarray) -> float:
        a, b = lengths
        z = a * b * UFM_C / (UFM_C - 1)
        loss = np.log1p((UFM_C - 1) * np.exp(-z))
        return loss + DECAY / 2 * (UFM_C * a**2 + UFM_C * UFM_N * b**2)

    a, b = minimize(objective, [1.0, 1.0], tol=1e-12).x
    assert columns["nc1_ratio"] < 1e-4 and columns["nc2_etf_error"] < 1e-2
    np.testing.assert_allclose(model.head.weight.detach().norm(dim=1), a, rtol=2e-3)
    table = model.get_parameter("table.weight").detach()
    np.testing.assert_allclose(table.norm(dim=1), b, rtol=2e-3)


@pytest.mark.parametrize("x", [0.3, -0.3])
@pytest.mark.parametrize("name", ["feature_norm", "entropy"])
def test_lengths_at_a_fixed_frame(name: str, x: float, tmp_path: Path) -> None:
    """Features b w_c before the frame of unit rows: a minimum over one length."""
    model, columns = reached(tmp_path, {name: x}, head="fixed_etf")

    def objective(length: np.ndarray) -> float:
        logits = np.full(UFM_C, -length[0] / (UFM_C - 1))
        logits[0] = length[0]
        p = softmax(logits)
        penalty = {"feature_norm": np.log1p(length[0] ** 2 / WIDTH), "entropy": entr(p).sum()}[name]
        decay = DECAY / 2 * UFM_C * UFM_N * length[0] ** 2
        return -np.log(p[0]) + decay + x * penalty

    (b,) = minimize(objective, [1.0], tol=1e-12).x
    table = model.get_parameter("table.weight").detach()
    np.testing.assert_allclose(table.norm(dim=1), b, rtol=1e-3)
    assert columns["nc1_ratio"] < 1e-4


def lengths_beside_a_fixed_frame(penalty: Any) -> np.ndarray:
    """b, s of features b w_c + s v, v of unit length and orthogonal to all rows of the frame."""

    def objective(lengths: np.ndarray) -> float:
        b, s = lengths
        loss = np.log1p((UFM_C - 1) * np.exp(-b * UFM_C / (UFM_C - 1)))
        return loss + DECAY / 2 * UFM_C * UFM_N * (b**2 + s**2) + penalty(b, s)

    ends = [minimize(objective, start, tol=1e-12) for start in ([1.0, 0.5], [-1.0, 0.5])]
    best: np.ndarray = min(ends, key=lambda end: end.fun).x
    return best


@pytest.mark.parametrize("x", [0.3, -0.3])
def test_variance_in_the_null_space_of_a_fixed_frame(x: float, tmp_path: Path) -> None:
    """v varies within classes: nc1 is 2 s^2 / (2 s^2 + b^2), so that s = 0 where x > 0."""
    _, columns = reached(tmp_path, {"nc1": x}, head="fixed_etf")
    b, s = lengths_beside_a_fixed_frame(lambda b, s: x * 2 * s**2 / (2 * s**2 + b**2))
    assert columns["nc1_ratio"] == pytest.approx(s**2 / b**2, rel=1e-2, abs=1e-4)
    assert (columns["nc1_ratio"] > 0.1) is (x < 0)


@pytest.mark.parametrize(("x", "cosine"), [(1.0, 1), (-1.0, -1)])
def test_angles_with_a_fixed_frame(x: float, cosine: int, tmp_path: Path) -> None:
    """v is that of a class: nc3 is 1 - b / sqrt(b^2 + s^2)."""
    _, columns = reached(tmp_path, {"nc3": x}, head="fixed_etf")
    b, s = lengths_beside_a_fixed_frame(lambda b, s: x * (1 - b / np.hypot(b, s)))
    assert b / np.hypot(b, s) == pytest.approx(cosine, abs=1e-3)
    assert columns["nc3_cosine_mean"] == pytest.approx(cosine, abs=0.05)


@pytest.mark.parametrize(
    ("name", "column"), [("nc2", "nc2_equinorm"), ("uniformity", "nc2_etf_error")]
)
def test_negative_coefficients_break_the_frame(name: str, column: str, tmp_path: Path) -> None:
    _, columns = reached(tmp_path, {name: -0.5})
    assert columns[column] > 0.1
    assert columns["train_accuracy"] == 1


@pytest.mark.long
def test_penalties_move_their_metric_both_ways_at_the_same_loss(tmp_path: Path) -> None:
    """On digits, by means over three seeds: docs/penalties.md has more of them and intervals."""
    directions = {
        "nc1": (0.22, -0.11), "nc2": (0.2, -0.12), "nc3": (0.08, -0.05),
        "uniformity": (0.05, -0.015),
    }  # fmt: skip
    own_column = {
        "nc1": "nc1_ratio", "nc2": "nc2_equinorm", "nc3": "duality_gap",
        "uniformity": "gnc2_log_distance_std",
    }  # fmt: skip
    tree: dict[str, Any] = {
        "data": {"kind": "images", "source": "digits"},
        "model": {"kind": "mlp", "width": 64, "depth": 2},
        "train": {"epochs": 30, "lr": 0.05, "batch_size": 64, "optimizer": "sgd",
                  "weight_decay": 0.016, "schedule": "cosine"},
        "measure": {"at": "last", "min_count": 5, "initial": "never"},
    }  # fmt: skip

    def columns(penalty: dict[str, float], seed: int) -> dict[str, float]:
        settings = {**tree, "seed": seed, "train": {**tree["train"], "penalty": penalty}}
        config = CellConfig.model_validate(settings)
        data = load_data(config.data, base=tmp_path, cache=tmp_path)
        *_, last = train(config, data, CPU)
        values = collect({"a": last.model}, data, config.measure, seed=0, device=CPU)["a"].values
        found = {name: v for name, v in values.items() if v is not None}
        return found | {"duality_gap": 1 - found["nc3_cosine_mean"]}

    plain = [columns({}, seed) for seed in range(3)]
    for name, coefficients in directions.items():
        for x in coefficients:
            trained = [columns({name: x}, seed) for seed in range(3)]
            ratio = {
                column: np.exp(
                    np.mean(
                        [np.log(a[column] / b[column]) for a, b in zip(trained, plain, strict=True)]
                    )
                )
                for column in (own_column[name], "val_loss", "train_loss")
            }
            moved = ratio.pop(own_column[name])
            assert moved < 0.75 if x > 0 else moved > 1.25, (name, x, moved)
            for column, change in ratio.items():
                assert 0.94 < change < 1.06, (name, x, column, change)
