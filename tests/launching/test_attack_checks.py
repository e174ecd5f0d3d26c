"""Attacks that a report could not tell apart are refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.config import study_from
from study.grid import expand, trainings
from study.launching.attack_checks import attack_faults


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ({"measure.attack.eps": [0.1]}, None),
        ({"precision": ["fp32", "int4"]}, None),
        ({"measure.attack.eps": [0.1, 0.2]}, "pgd-linf-0.1 (steps 10) and pgd-linf-0.2 (steps 10)"),
        ({"measure.attack.norm": ["linf", "l2"]}, "pgd-linf-0.1 (steps 10) and pgd-l2-0.1"),
        ({"measure.attack.steps": [5, 10]}, "pgd-linf-0.1 (steps 5) and pgd-linf-0.1 (steps 10)"),
        ({"measure.attack.step_size": [None, 0.01]}, "and pgd-linf-0.1 (steps 10 of 0.01)"),
        ({"train.adversary.eps": [0, 0.1]}, None),
    ],
)
def test_a_training_has_one_attack(grid: dict[str, Any], names: str | None) -> None:
    content = {
        "name": "s",
        "data": {"kind": "images"},
        "model": {"kind": "mlp", "width": 8, "depth": 1},
        "train": {"epochs": 1},
        "measure": {"attack": {"kind": "pgd", "eps": 0.1}},
        "grid": {"seed": [0], **grid},
    }
    cells = expand(study_from(content, folder=Path(), source="test"))
    faults = [str(fault) for fault in attack_faults(trainings(cells))]
    assert len(faults) == (names is not None)
    assert names is None or names in faults[0]
