"""A batch of one row is that row of a larger batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.data import load_data
from study.data.config import StoriesData, TextData


@pytest.mark.parametrize("settings", [{"predict": "determined"}, {}])
def test_a_single_row_keeps_its_inputs(tmp_path: Path, settings: dict[str, Any]) -> None:
    small: dict[str, Any] = {"words_per_list": 4, "train_tokens": 6400, "val_tokens": 3200}
    data = load_data(StoriesData(**small, **settings), base=tmp_path, cache=tmp_path)
    inputs, targets = data.train.batch(np.array([5]))
    both = data.train.batch(np.array([5, 6]))
    assert inputs.equal(both[0][:1])
    assert targets.equal(both[1][:1])
    assert int(inputs.min()) >= 0


def test_a_single_chunk_keeps_its_inputs(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcd, " * 600)
    config = TextData(source="text.txt", context=8, ignore_first=3)
    data = load_data(config, base=tmp_path, cache=tmp_path)
    assert data.train.batch(np.array([1]))[0].equal(data.train.batch(np.arange(2))[0][1:])
