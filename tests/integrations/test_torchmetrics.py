"""`NeuralCollapse` is what the definitions give, alone, merged and in a collection."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import metrics_brute_force as brute
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from two_processes import in_two_processes

from study.integrations.torchmetrics import NeuralCollapse
from study.metrics import MomentsError

CLASSES, DIM = 4, 6
NAMES = ("nc1_ratio", "nc1_cdnv_galanti", "nc2_equinorm", "nc2_etf_error", "nc3_cosine_mean")


def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(DIM, CLASSES).double()


def samples(count: int = 60, mean: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    features = torch.randn(count, DIM, generator=generator, dtype=torch.float64)
    return features + nn.functional.one_hot(labels, DIM) + mean, labels


def metric(**options: Any) -> NeuralCollapse:
    return NeuralCollapse(head(), **{"min_count": 2, **options})


def expected(features: Tensor, labels: Tensor) -> dict[str, float]:
    weight = head().weight.detach().numpy()
    columns = brute.metrics(features.numpy(), labels.numpy(), weight, 2)
    return {name: float(columns[name]) for name in NAMES}


def values(computed: dict[str, Tensor]) -> dict[str, float]:
    assert all(value.dtype == torch.float64 and value.ndim == 0 for value in computed.values())
    return {name: value.item() for name, value in computed.items()}


def test_columns_are_the_definitions_whatever_the_batches() -> None:
    collapse = metric()
    for features, labels in zip(*(part.split(7) for part in samples()), strict=True):
        collapse.update(features, labels)
    assert values(collapse.compute()) == pytest.approx(expected(*samples()), rel=1e-9)


def test_features_far_from_zero_lose_no_digits() -> None:
    features, labels = samples(4000, mean=1e4)
    far = features.float()
    shares = [metric(), metric()]
    for number, (x, y) in enumerate(zip(far.split(250), labels.split(250), strict=True)):
        shares[number % 2].update(x, y)
    shares[0].merge_state(shares[1])
    assert values(shares[0].compute()) == pytest.approx(expected(far.double(), labels), rel=1e-8)


def test_forward_gives_the_batch_and_gathers_all() -> None:
    features, labels = samples()
    collapse = metric()
    for x, y in zip(features.split(30), labels.split(30), strict=True):
        assert values(collapse(x, y)) == pytest.approx(expected(x, y), rel=1e-9)
    assert values(collapse.compute()) == pytest.approx(expected(features, labels), rel=1e-9)
    collapse.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert collapse.compute() == {}
    assert "two are needed" in collapse.reasons["nc1_ratio"]


def test_a_collection_its_clone_and_a_pickle_go_on() -> None:
    features, labels = samples()
    collection = MetricCollection({"collapse": metric()})
    train = collection.clone(prefix="train_")
    half = len(labels) // 2
    train.update(features[:half], labels[:half])
    collapse = pickle.loads(pickle.dumps(train["train_collapse"]))
    collapse.update(features[half:], labels[half:])
    train.update(features[half:], labels[half:])
    assert values(collapse.compute()) == pytest.approx(expected(features, labels), rel=1e-9)
    computed = train.compute()
    assert {name.rpartition("train_")[2] for name in computed} == set(NAMES)
    assert sorted(map(float, computed.values())) == pytest.approx(
        sorted(expected(features, labels).values()), rel=1e-9
    )


def test_a_saved_state_is_loaded() -> None:
    features, labels = samples()
    saved, loaded = metric(), metric()
    for each in (saved, loaded):
        each.persistent(True)
    saved.update(features, labels)
    assert set(saved.state_dict()) == {"moments", "nonfinite"}
    loaded.load_state_dict(saved.state_dict())
    loaded.update(features[:0], labels[:0])
    assert values(loaded.compute()) == values(saved.compute())


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = head()
        self.collapse = NeuralCollapse(self.head, min_count=2)


def test_the_head_is_that_of_the_model_and_no_part_of_the_metric() -> None:
    model = Model()
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]
    features, labels = samples()
    model.collapse.update(features, labels)
    clone, other = model.collapse.clone(), copy.deepcopy(model)
    before = values(model.collapse.compute())
    with torch.no_grad():
        model.head.weight.copy_(torch.randn_like(model.head.weight))
    after = values(model.collapse.compute())
    assert after["nc3_cosine_mean"] != before["nc3_cosine_mean"]
    assert values(clone.compute()) == after
    assert values(other.collapse.compute()) == before


def test_a_model_in_less_precision_keeps_its_moments() -> None:
    model = Model()
    features, labels = samples()
    model.collapse.update(features, labels)
    model.to(torch.bfloat16)
    assert model.collapse.moments.dtype == torch.float64
    model.collapse.update(features, labels)
    twice = expected(features.repeat(2, 1), labels.repeat(2))
    assert values(model.collapse.compute())["nc1_ratio"] == pytest.approx(twice["nc1_ratio"])
    assert model.to("meta").collapse.moments.device.type == "meta"


@pytest.mark.parametrize(
    ("features", "labels", "text"),
    [
        (torch.ones(2, DIM - 1), torch.tensor([0, 1]), rf"shape \(batch, {DIM}\)"),
        (torch.ones(2, DIM), torch.tensor([0, CLASSES]), r"label 4 is outside \[0, 4\)"),
        (torch.ones(2, DIM), torch.tensor([-100, 0]), "drop the positions"),
        (torch.ones(2, DIM), torch.tensor([0.0, 1.0]), "must be integers"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_added(
    features: Tensor, labels: Tensor, text: str
) -> None:
    collapse = metric()
    with pytest.raises(MomentsError, match=text):
        collapse.update(features, labels)
    assert not collapse.moments.any()


def test_a_feature_that_is_not_finite_leaves_a_reason() -> None:
    features, labels = samples()
    features[3, 2] = torch.inf
    collapse = metric()
    collapse.update(features, labels)
    assert collapse.compute() == {}
    assert collapse.reasons["nc1_ratio"] == "1 of 60 samples have an infinite or NaN feature"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nc4_agreement_train", "leave it out, or use study.measuring.measure"),
        ("nc1_rato", "Did you mean `nc1_ratio`"),
    ],
)
def test_a_column_that_moments_do_not_give_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        metric(columns=[name])


def test_a_head_that_is_not_linear_is_refused() -> None:
    with pytest.raises(TypeError, match=r"head: a ReLU is no nn\.Linear"):
        NeuralCollapse(nn.ReLU())  # type: ignore[arg-type]


def _columns(_: Path) -> dict[str, float]:
    features, labels = samples(61, mean=100.0)
    collapse = metric()
    share = slice(0, 20) if torch.distributed.get_rank() == 0 else slice(20, 61)
    collapse.update(features[share], labels[share])
    together = values(collapse.compute())
    assert int(collapse.moments[:, 0].sum()) == len(labels[share])
    return together


@pytest.mark.long
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    alone = metric()
    alone.update(*samples(61, mean=100.0))
    for together in in_two_processes(_columns, tmp_path):
        assert together == pytest.approx(values(alone.compute()), rel=1e-10)
