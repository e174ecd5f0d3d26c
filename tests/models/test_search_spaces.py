"""Every grid can be planned; the published ones say what the paper says."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from places import SEARCH_SPACES

from study.config import load_study
from study.grid import expand, trainings
from study.models import parameter_count
from study.models.transformer_config import GPTNeoModel
from study.precision import parse_precision
from study.settings.optimizers import OptimizerName
from study.settings.yaml_files import read_extended

TABLE_3 = {  # Wu & Papyan 2024: batch sizes by depth, for widths 64, 128, 256, 512, 768, 1024
    1: (16, 16, 16, 16, 16, 16),
    2: (16, 16, 16, 16, 16, 8),
    4: (8, 8, 8, 8, 8, 8),
    8: (8, 8, 8, 4, 4, 4),
    12: (4, 4, 4, 4, 4, 4),
}


GRIDS = [
    path for path in sorted(SEARCH_SPACES.glob("*.yaml")) if "search" not in read_extended(path)
]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_expands_to_cells_under_its_own_name(path: Path) -> None:
    study = load_study(path)
    assert study.name == path.stem
    assert len(trainings(expand(study))) >= 1


def test_the_grid_of_quantization_measures_every_training_at_all_families_and_the_control() -> None:
    groups = trainings(expand(load_study(SEARCH_SPACES / "quantization.yaml")))
    assert len(groups) == 2 * 2 * 5  # widths, depths, seeds
    precisions = [parse_precision(cell.config.precision) for cell in groups[0].cells]
    assert len(precisions) >= 8
    assert {p.family for p in precisions} == {"cast", "int", "float"}
    assert {p.tuning for p in precisions} == {None, "qat", "ft"}
    assert all(len(training.cells) == len(precisions) for training in groups)


def test_the_grid_of_optimizers_has_each_on_both_data_with_six_seeds() -> None:
    cells = expand(load_study(SEARCH_SPACES / "optimizers.yaml"))
    assert len(cells) == len(trainings(cells)) == 408
    counts = Counter((cell.config.data.kind, cell.config.train.optimizer) for cell in cells)
    assert counts.keys() == set(product(("images", "balanced"), get_args(OptimizerName)))
    assert all(counts[data, "adam"] == counts[data, "adamw"] == 36 for data, _ in counts)
    assert {cell.config.seed for cell in cells} == set(range(6))


def test_the_grid_of_linguistic_collapse() -> None:
    cells = expand(load_study(SEARCH_SPACES / "linguistic_collapse.yaml"))
    assert len(cells) == len(trainings(cells)) == 30 * 5
    recipes = Counter((cell.config.train.epochs, cell.config.train.weight_decay) for cell in cells)
    assert recipes == {(1, 5e-4): 30, (3, 5e-4): 30, (10, 5e-4): 30, (1, 0.1): 30, (10, 0.1): 30}
    for cell in cells:
        model, train = cell.config.model, cell.config.train
        assert isinstance(model, GPTNeoModel)
        column = (64, 128, 256, 512, 768, 1024).index(model.width)
        assert train.batch_size == TABLE_3[model.depth][column]
        assert (train.schedule.kind, train.schedule.warmup, train.precision) == (
            "linear",
            0.0,
            "bf16",
        )
    counts = sorted(
        parameter_count(cell.config.model, classes=50257, context=2048) for cell in cells
    )
    assert (round(counts[0] / 1e6, 1), round(counts[-1] / 1e6)) == (3.4, 205)


def test_the_seeds_of_table_1() -> None:
    cells = expand(load_study(SEARCH_SPACES / "seeds_2x768.yaml"))
    assert len(cells) == 21
    assert {cell.config.train.init_seed for cell in cells} == {0}
    assert sorted(cell.config.train.shuffle_seed for cell in cells) == list(range(21))
    (model,) = {c.config.model for c in cells}
    assert isinstance(model, GPTNeoModel)
    assert (model.width, model.depth) == (768, 2)
    assert {c.config.train.epochs for c in cells} == {1}
    assert {(c.config.train.weight_decay, c.config.train.batch_size) for c in cells} == {(5e-4, 16)}
