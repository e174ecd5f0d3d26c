"""What does not fit the targets of the data is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study.config import CellConfig
from study.launch import main

REGRESSION: dict[str, Any] = {"kind": "regression", "samples": 60}
BINNED: dict[str, Any] = {"kind": "regression", "samples": 60, "target_dim": 1, "bins": 3}
MLP: dict[str, Any] = {"kind": "mlp", "width": 8, "depth": 1}
TEXT: dict[str, Any] = {"kind": "text", "context": 16, "train_tokens": 800, "val_tokens": 400}
LM: dict[str, Any] = {"kind": "nanogpt", "width": 8, "depth": 1, "heads": 2, "tied": False}


def refused(folder: Path, capsys: Any, **sections: Any) -> str:
    """What `--dry-run` says, which ends with the exit code of a wrong request."""
    study = {"name": "wrong", "data": REGRESSION, "model": MLP, "grid": {"epochs": [1]}}
    path = folder / "wrong.yaml"
    path.write_text(yaml.safe_dump(study | sections))
    assert main([str(path), "--runs", str(folder / "runs"), "--dry-run"]) == 2
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.mark.parametrize(
    ("sections", "messages"),
    [
        (
            {"train": {"penalty": {"nc1": 1}}, "model": MLP | {"head": "cosine"}},
            [
                "data.kind regression has vectors as targets",
                "set train.loss to mse, not cross_entropy",
                "set model.head to learned, not cosine",
                "leave penalty.nc1 out",
            ],
        ),
        ({"train": {"loss": "cumulative_link"}}, ["set train.loss to mse"]),
        (
            {"train": {"loss": "mse"}, "model": {"kind": "simple_cnn", "width": 8, "depth": 1}},
            ["simple_cnn reads images, but data.kind regression gives vectors"],
        ),
        (
            {"train": {"loss": "cumulative_link"}, "data": TEXT, "model": LM},
            ["use data.kind regression with bins, images or free; use model.kind mlp, not nanogpt"],
        ),
        (
            {"data": BINNED, "model": MLP | {"head": "cumulative_link"}},
            ["model.head cumulative_link is trained by loss cumulative_link"],
        ),
        (
            {
                "data": BINNED,
                "model": MLP | {"head": "fixed_etf"},
                "train": {"loss": "cumulative_link", "penalty": {"entropy": 1}},
            },
            ["leave penalty.entropy out; leave model.head fixed_etf out"],
        ),
        (
            {"train": {"loss": "mse"}, "data": REGRESSION | {"source": "diabetes", "samples": 9}},
            ["samples belong to source synthetic"],
        ),
        (
            {"train": {"loss": "mse"}, "data": {"kind": "regression", "samples": 4}},
            ["4 samples give 3 to train on and 1 to validate"],
        ),
        (
            {
                "train": {"loss": "mse"},
                "data": {"kind": "regression", "source": "diabetes", "targets": ["progress"]},
            },
            ["'progress' is no column of the table; did you mean 'progression'?"],
        ),
        (
            {"train": {"loss": "mse"}, "measure": {"attack": {"kind": "fgsm", "eps": 0.1}}},
            ["attack needs a row of the head for each class"],
        ),
    ],
)
def test_a_dry_run_refuses(
    tmp_path: Path, capsys: Any, sections: dict[str, Any], messages: list[str]
) -> None:
    text = refused(tmp_path, capsys, **sections)
    for message in messages:
        assert message in text


def test_the_loss_of_a_link_brings_its_head() -> None:
    train = {"epochs": 1, "loss": "cumulative_link"}
    cell = CellConfig.model_validate({"data": BINNED, "model": MLP, "train": train})
    given = {"data": BINNED, "model": MLP | {"head": "cumulative_link"}, "train": train}
    assert cell == CellConfig.model_validate(given)
    plain = CellConfig.model_validate({"data": BINNED, "model": MLP, "train": {"epochs": 1}})
    assert plain.model.head == "learned"  # type: ignore[attr-defined]
