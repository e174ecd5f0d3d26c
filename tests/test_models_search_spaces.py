"""The published grids say what the paper says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from study.config import load_study
from study.grid import expand, trainings
from study.models import parameter_count

FOLDER = Path(__file__).resolve().parent.parent / "search_spaces"

TABLE_3 = {  # Wu & Papyan 2024: batch sizes by depth, for widths 64, 128, 256, 512, 768, 1024
    1: (16, 16, 16, 16, 16, 16),
    2: (16, 16, 16, 16, 16, 8),
    4: (8, 8, 8, 8, 8, 8),
    8: (8, 8, 8, 4, 4, 4),
    12: (4, 4, 4, 4, 4, 4),
}


def test_the_grid_of_linguistic_collapse() -> None:
    cells = expand(load_study(FOLDER / "linguistic_collapse.yaml"))
    assert len(cells) == len(trainings(cells)) == 30 * 5
    recipes = Counter((cell.config.train.epochs, cell.config.train.weight_decay) for cell in cells)
    assert recipes == {(1, 5e-4): 30, (3, 5e-4): 30, (10, 5e-4): 30, (1, 0.1): 30, (10, 0.1): 30}
    for cell in cells:
        model, train = cell.config.model, cell.config.train
        assert train.batch_size == TABLE_3[model.depth][(64, 128, 256, 512, 768, 1024).index(model.width)]
        assert (train.schedule.kind, train.schedule.warmup, train.precision) == ("linear", 0.0, "bf16")
    counts = sorted(parameter_count(cell.config.model, classes=50257, context=2048) for cell in cells)
    assert (round(counts[0] / 1e6, 1), round(counts[-1] / 1e6)) == (3.4, 205)


def test_the_seeds_of_table_1() -> None:
    cells = expand(load_study(FOLDER / "seeds_2x768.yaml"))
    assert len(cells) == 21
    assert {cell.config.train.init_seed for cell in cells} == {0}
    assert sorted(cell.config.train.shuffle_seed for cell in cells) == list(range(21))
    (only,) = {(c.config.model.width, c.config.model.depth, c.config.train.epochs) for c in cells}
    assert only == (768, 2, 1)
    assert {(c.config.train.weight_decay, c.config.train.batch_size) for c in cells} == {(5e-4, 16)}
