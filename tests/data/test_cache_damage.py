"""Every file of every kind of entry: damaged, it is found and built again on every path."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from study.data import DATA_KINDS, Dataset, estimate, load_data
from study.data.config import DataSettings

TEXT = "".join(f"{number} green bottles, hanging on the wall;\n" for number in range(60))
SETTINGS: list[dict[str, Any]] = [
    {"kind": "text", "source": "text.txt", "context": 8},
    {"kind": "text", "source": "text.txt", "context": 8, "tokenizer": "bpe:260"},
    {"kind": "balanced", "source": "text.txt", "context": 8, "quota": 5},
    {"kind": "images", "source": "./images"},
]


def png(pixels: np.ndarray) -> bytes:
    """An image file in memory."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def settings_of(values: dict[str, Any]) -> DataSettings:
    kinds = {kind.model_fields["kind"].default: kind for kind in DATA_KINDS}
    return kinds[values["kind"]](**values)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path], None]] = [empty, zero, truncate, flip, Path.unlink, make_folder]


def same(one: Dataset, other: Dataset) -> bool:
    return (
        one.fingerprint == other.fingerprint
        and one.facts == other.facts
        and list(one.class_names) == list(other.class_names)
        and np.array_equal(one.class_counts, other.class_counts)
    )


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "images").mkdir()
    rows = [
        {"image": {"bytes": png(np.full((4, 4), number, np.uint8))}, "label": number % 2}
        for number in range(10)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "images" / "train.parquet")
    return tmp_path


@pytest.mark.parametrize("values", SETTINGS, ids=lambda values: str(list(values.values())[:2]))
def test_every_damaged_file_is_built_again(sources: Path, values: dict[str, Any]) -> None:
    config, cache = settings_of(values), sources / "cache"
    whole = load_data(config, base=sources, cache=cache)
    size = estimate(config, base=sources, cache=cache)
    (entry,) = (path for path in cache.iterdir() if path.is_dir())
    names = sorted(path.name for path in entry.iterdir())
    assert len(names) >= 3
    for name in names:
        for damage in DAMAGES:
            damage(entry / name)
            assert estimate(config, base=sources, cache=cache) in (size, None), (name, damage)
            assert same(load_data(config, base=sources, cache=cache), whole), (name, damage)
            assert estimate(config, base=sources, cache=cache) == size
            assert [path.name for path in cache.iterdir()] == [entry.name]


def test_a_file_in_place_of_an_entry_gives_way(sources: Path) -> None:
    config, cache = settings_of(SETTINGS[0]), sources / "cache"
    whole = load_data(config, base=sources, cache=cache)
    (entry,) = cache.iterdir()
    shutil.rmtree(entry)
    entry.write_text("")
    assert same(load_data(config, base=sources, cache=cache), whole)
