"""The grids of images: what they hold, and that each can be planned."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from places import SEARCH_SPACES

from study.config import load_study
from study.data import load_data
from study.data.config import ImagesData
from study.grid import expand, trainings
from study.measuring.collect import collect
from study.models import parameter_count
from study.models.vision_config import SimpleCNN
from study.training.train import train


@pytest.mark.parametrize(
    ("name", "cells", "trained"), [("digits", 36, 6), ("vision", 528, 66), ("imbalance", 126, 42)]
)
def test_sizes_and_the_precision_axis(name: str, cells: int, trained: int) -> None:
    grid_cells = expand(load_study(SEARCH_SPACES / f"{name}.yaml"))
    assert (len(grid_cells), len(trainings(grid_cells))) == (cells, trained)
    assert {"fp32", "int8", "int4"} <= {cell.config.precision for cell in grid_cells}


def test_the_grid_of_cifar_has_every_architecture() -> None:
    cells = expand(load_study(SEARCH_SPACES / "vision.yaml"))
    kinds = Counter(
        (c.config.model.kind, c.config.data.source, c.config.data.ood, c.config.train.optimizer)
        for c in cells
        if isinstance(c.config.data, ImagesData)
    )
    each = 8 * 3  # precisions x seeds
    for source, ood in (("cifar10", "cifar100"), ("cifar100", "cifar10")):
        assert kinds["simple_cnn", source, ood, "sgd"] == 4 * each
        assert kinds["resnet18", source, ood, "sgd"] == each
        assert kinds["mobilenet_v3", source, ood, "sgd"] == 2 * each
        assert kinds["convnext", source, ood, "adamw"] == 4 * each
    assert sum(kinds.values()) == len(cells)
    counts = {parameter_count(c.config.model, classes=10, input_shape=(3, 32, 32)) for c in cells}
    assert len(counts) == 4 + 1 + 2 + 4
    assert 0.4e6 < min(counts) < max(counts) < 90e6


def test_digits_hold_the_imbalance_that_is_asked_for(tmp_path: Path) -> None:
    cells = expand(load_study(SEARCH_SPACES / "imbalance.yaml"))
    configs = {cell.config.data.model_dump_json(): cell.config.data for cell in cells}
    assert len(configs) == 7
    for config in configs.values():
        assert isinstance(config, ImagesData)
        counts = load_data(config, base=tmp_path, cache=tmp_path).class_counts
        assert counts[0] == 128
        assert counts[-1] == 128 // config.imbalance_ratio


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_collapse_in_the_terminal_phase(seed: int, tmp_path: Path) -> None:
    """What is known of image classifiers, on the narrower network.

    The positive control (Papyan, Han & Donoho 2020).
    """
    cells = expand(load_study(SEARCH_SPACES / "digits.yaml"))
    config = next(
        c.config
        for c in cells
        if isinstance(c.config.model, SimpleCNN)
        and (c.config.model.width, c.config.precision, c.config.seed) == (32, "fp32", seed)
    )
    data = load_data(config.data, base=tmp_path, cache=tmp_path)
    measure, cpu = config.measure.model_copy(update={"layers": "last"}), torch.device("cpu")
    results, zero = [], None
    for each in train(config, data, cpu):
        zero = each.zero_error_epoch
        measured = collect({"fp32": each.model}, data, measure, seed=0, device=cpu)
        results.append((each.epoch, measured["fp32"].values))
    assert zero is not None
    first, last = results[0][1], results[-1][1]
    start = next(values for epoch, values in results if epoch >= zero)
    assert last["train_accuracy"] == last["nc4_agreement_train"] == 1
    assert last["nc1_ratio"] < first["nc1_ratio"] / 100
    for column in ("nc1_ratio", "nc2_equinorm", "nc2_coherence"):
        assert last[column] < start[column] < first[column], column
