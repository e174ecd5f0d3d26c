"""Columns of groups from the passes over samples, and rows of a study that asks for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from image_rows import image_dataset
from tiny_study import launch, tiny

from study.config import MeasureConfig
from study.data.base import Dataset, Groups
from study.measuring.collect import collect
from study.models import MLP
from study.models.base import FeatureModel
from study.store import Store

CLASSES, SHAPE = 4, (1, 3, 3)
COLUMNS = [
    "group_accuracy_gap",
    "group_accuracy_gap_se",
    "group_accuracy_worst",
    "group_cosine_gap",
]


def model() -> FeatureModel:
    return MLP(width=8, depth=1).build(classes=CLASSES, input_shape=SHAPE, seed=0).eval()


def by_hand(
    network: FeatureModel, data: Dataset, of: dict[str, np.ndarray], least: int
) -> dict[str, float]:
    """Gaps from features and decisions, sample by sample; `of` the groups of samples."""
    with torch.no_grad():
        x, y = data.train.batch(np.arange(len(data.train)))
        h, labels = network.features(x).double().numpy(), y.numpy()
        x, y = data.val.batch(np.arange(len(data.val)))
        hits = (network(x).argmax(1) == y).double().numpy()
    weight = network.head.weight.detach().double().numpy()
    centre = np.mean([h[labels == c].mean(0) for c in range(CLASSES)], axis=0)
    shares, cosines, errors = [], [], []
    for group in (0, 1):
        own = hits[of["val"] == group]
        shares.append(own.mean())
        errors.append(own.var() / len(own))
        means = {
            c: h[(labels == c) & (of["train"] == group)].mean(0)
            for c in range(CLASSES)
            if ((labels == c) & (of["train"] == group)).sum() >= least
        }
        pairs = [(m - centre, weight[c] - weight.mean(0)) for c, m in means.items()]
        cosines.append(np.mean([m @ w / np.linalg.norm(m) / np.linalg.norm(w) for m, w in pairs]))
    values = [abs(shares[0] - shares[1]), sum(errors) ** 0.5, min(shares), abs(np.diff(cosines)[0])]
    return dict(zip(COLUMNS, values, strict=True))


@pytest.mark.parametrize("by_class", [False, True])
def test_columns_are_those_of_the_samples(by_class: bool) -> None:
    plain = image_dataset(CLASSES, 12, SHAPE)
    data = replace(plain, val=image_dataset(CLASSES, 9, SHAPE).train)
    labels = {
        "train": data.train.batch(np.arange(48))[1].numpy(),
        "val": data.val.batch(np.arange(36))[1].numpy(),
    }
    if by_class:
        groups = Groups(("a", "b"), of_class=np.array([0, -1, 1, 1]))
        of = {split: np.array([0, -1, 1, 1])[own] for split, own in labels.items()}
    else:
        of = {split: np.arange(len(own)) % 3 - 1 for split, own in labels.items()}
        groups = Groups(("a", "b"), of_rows=of)
    network, measure = model(), MeasureConfig(min_count=4)
    cpu = torch.device("cpu")
    values = collect({"a": network}, replace(data, groups=groups), measure, seed=0, device=cpu)[
        "a"
    ].values
    measured = {name: values[name] for name in COLUMNS}
    assert measured == pytest.approx(by_hand(network, data, of, 4), rel=1e-6)

    without = collect({"a": network}, data, measure, seed=0, device=cpu)["a"]
    assert not {*COLUMNS} & {*without.values, *without.reasons}
    assert without.values == {name: v for name, v in values.items() if name not in COLUMNS}


def test_rows_have_gaps_at_every_precision(tmp_path: Path) -> None:
    (tmp_path / "names.yaml").write_text("first: [anna, lily]\nsecond: [tom, ben]\n")
    data = {
        "kind": "stories",
        "words_per_list": 4,
        "predict": "determined",
        "context": 33,
        "train_tokens": 4000,
        "val_tokens": 2000,
        "group": "names.yaml",
    }
    study = tiny(grid={"epochs": [1], "precision": ["fp32", "int2"]}, measure={"initial": "never"})
    assert launch(tmp_path, {**study, "data": data}) == 0
    rows = Store(tmp_path / "runs" / "tiny").read()
    assert sorted(rows["precision"]) == ["fp32", "int2"]
    assert rows["group"].unique().to_list() == ["names.yaml"]
    assert rows.select(pl.col(COLUMNS).is_null().sum()).row(0) == (0, 0, 0, 0)
    best = rows["group_accuracy_worst"] + rows["group_accuracy_gap"]
    assert best.is_between(0, 1).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first: [anna]\nsecond: [nobody]\n", "no class is called 'nobody'"),
        ("first: [anna, tom]\nsecond: [tom]\n", "listed twice: tom"),
        ("first: [anna]\nsecond: []\n", "group second is []"),
    ],
)
def test_a_dry_run_refuses_lists_that_are_no_groups(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.yaml").write_text(text)
    study = tiny(grid={"epochs": [1]})
    data = {"kind": "stories", "train_tokens": 4000, "val_tokens": 2000, "group": "names.yaml"}
    assert launch(tmp_path, {**study, "data": data}, "--dry-run") == 2
    error = capsys.readouterr().err
    assert "data.group: names.yaml: " in error
    assert said in error
