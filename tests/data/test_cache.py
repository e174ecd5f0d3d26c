"""The cache of built files.

One winner among builders, damage found and repaired, nothing half written.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from study.data.cache import cached, digest, notes_of_entries


def _build_slowly(folder: Path) -> dict[str, int]:
    (folder / "content").write_bytes(
        os.urandom(64)
    )  # every builder writes something else, so a mixture would show
    (folder / "copy").write_bytes((folder / "content").read_bytes())
    time.sleep(0.3)
    return {"builder": os.getpid()}


def _note(name: str, folder: Path) -> dict[str, str]:
    return {"name": name}


def _open_entry(cache: Path, start: float, queue: multiprocessing.Queue[Any]) -> None:
    time.sleep(max(0.0, start - time.time()))
    entry = cached(cache, "key", _build_slowly)
    queue.put(
        (
            entry.notes["builder"],
            (entry.folder / "content").read_bytes(),
            (entry.folder / "copy").read_bytes(),
        )
    )


def _hang_in_build(folder: Path) -> dict[str, int]:
    (folder / "content").write_text("half")
    time.sleep(600)
    return {}


def _no_build(folder: Path) -> dict[str, int]:
    raise AssertionError("the entry was built although it exists")


def test_many_builders_agree_on_one_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    start = time.time() + 1.5
    builders = [
        context.Process(target=_open_entry, args=(tmp_path, start, queue)) for _ in range(5)
    ]
    for builder in builders:
        builder.start()
    results = [queue.get(timeout=60) for _ in builders]
    for builder in builders:
        builder.join(60)
        assert builder.exitcode == 0
    assert len({owner for owner, _, _ in results}) == 1
    assert len({content for _, content, _ in results}) == 1
    assert all(content == copy for _, content, copy in results)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]  # the losers cleaned up


def test_a_killed_builder_leaves_nothing_that_counts(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    builder = context.Process(target=cached, args=(tmp_path, "key", _hang_in_build))
    builder.start()
    deadline = time.time() + 60
    while not list(tmp_path.glob(".building-*/content")) and time.time() < deadline:
        time.sleep(0.05)
    assert builder.pid is not None
    os.kill(builder.pid, signal.SIGKILL)
    builder.join(60)
    (left,) = tmp_path.iterdir()
    entry = cached(tmp_path, "key", _build_slowly)
    assert len((entry.folder / "content").read_bytes()) == 64
    assert left.exists()  # perhaps its builder lives on another machine
    os.utime(left, (0, 0))
    cached(tmp_path, "other", _build_slowly)
    assert not left.exists()  # a day later it does not


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "manifest", "no manifest"])
def test_damage_is_found_reported_and_repaired(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    def build(folder: Path) -> dict[str, str]:
        (folder / "content").write_bytes(bytes(range(256)))
        return {"note": "kept"}

    folder = cached(tmp_path, "key", build).folder
    assert cached(tmp_path, "key", _no_build).notes == {"note": "kept"}
    content = folder / "content"
    if damage == "flip":
        data = bytearray(content.read_bytes())
        data[100] ^= 1
        content.write_bytes(data)
    elif damage == "truncate":
        content.write_bytes(content.read_bytes()[:-1])
    elif damage == "delete":
        content.unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text('{"notes": ')
    else:
        (folder / "manifest.json").unlink()
    with caplog.at_level(logging.WARNING):
        entry = cached(tmp_path, "key", build)
    assert "damaged" in caplog.text
    assert (entry.folder / "content").read_bytes() == bytes(range(256))
    assert entry.notes == {"note": "kept"}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_failing_build_leaves_nothing_and_its_error_arrives(tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, str]:
        (folder / "content").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached(tmp_path, "key", build)
    assert list(tmp_path.iterdir()) == []


def test_notes_of_entries_lists_newest_first_and_skips_damage(tmp_path: Path) -> None:
    for number, name in enumerate(["old", "new", "damaged"]):
        cached(tmp_path, name, partial(_note, name))
        os.utime(tmp_path / name / "manifest.json", (number, number))
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    assert [notes["name"] for _, notes in notes_of_entries(tmp_path)] == ["new", "old"]
    assert notes_of_entries(tmp_path / "missing") == []


def test_digest_tells_parts_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("abc") == digest(b"abc")
