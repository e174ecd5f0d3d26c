"""The fastest study: four cells of two trainings, free features, no files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from study.store import Store

BASE: dict[str, Any] = {
    "name": "base",
    "data": {"kind": "free", "classes": 3, "quota": 6},
    "model": {"kind": "ufm", "width": 4},
    "train": {
        "optimizer": "sgd",
        "lr": 0.05,
        "batch_size": 1000,
        "weight_decay": 5e-3,
        "epochs": 4,
    },
    "measure": {"at": "log", "min_count": 1},
    "grid": {"precision": ["fp32", "int8"], "seed": [0, 1]},
    "keep": "none",
}
CELLS = 4
STEPS = 20_000
"""Steps of a training of a minute or so."""


def write_base(folder: Path, **changes: Any) -> Path:
    """Its YAML file, with other sections."""
    path = folder / "base.yaml"
    path.write_text(yaml.safe_dump(BASE | changes))
    return path


def write_long(folder: Path, steps: int = STEPS) -> Path:
    """The same with trainings that last until they are killed, and write states meanwhile."""
    train = {**BASE["train"], "epochs": steps}
    return write_base(folder, train=train, resources={"checkpoint_minutes": 0.05})


def every_cell_once(run: str | Path) -> None:
    """Fail unless a run has each cell at each epoch once."""
    frame = Store(run).read()
    assert frame["cell"].n_unique() == CELLS
    assert frame.select("cell", "epoch").is_duplicated().sum() == 0
