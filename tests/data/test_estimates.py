"""The size of data is asked of the package, as often as one likes."""

from __future__ import annotations

from pathlib import Path

import study.data
from study.data.config import FreeData


def test_an_estimate_can_be_repeated(tmp_path: Path) -> None:
    config = FreeData(classes=3, quota=6)
    sizes = [study.data.estimate(config, base=tmp_path, cache=tmp_path) for _ in range(2)]
    assert sizes[0] == sizes[1]
    assert sizes[0] is not None
