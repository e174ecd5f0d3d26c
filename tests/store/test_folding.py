"""Cells folded into parts: the same rows before, after, and wherever it is killed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from places import HELPERS, ROOT
from polars.testing import assert_frame_equal

from study.pack import main
from study.store import Store, StoreError, cells
from study.store.atomic import create
from study.store.folding import fold

CELLS = 11


def key_of(number: int) -> str:
    return f"{number * 37 % 256:02x}" + f"{number:030x}"


def rows_of(number: int) -> list[dict[str, Any]]:
    """Rows of a cell, some with a column or a value that others lack."""
    rows: list[dict[str, Any]] = [
        {"cell": key_of(number), "epoch": epoch, "layer": None, "val_loss": number + epoch / 7}
        for epoch in range(3)
    ]
    if number % 3 == 0:
        rows[1] |= {"layer": "block0", "nc1_cdnv": None}
    return rows if number % 4 else [{**row, "note": f"n{number}"} for row in rows]


def filled(folder: Path, numbers: Iterator[int] | range = range(CELLS)) -> Store:
    """A store with a file of its own for each cell."""
    store = Store(folder)
    for number in numbers:
        store.write(key_of(number), rows_of(number), types={"layer": str, "note": str})
    return store


def without_nulls(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def assert_whole(folder: Path, expected: pl.DataFrame) -> None:
    """All rows are there once, by every way of reading."""
    store = Store(folder)
    assert_frame_equal(store.read(), expected)
    assert store.keys() == {key_of(number) for number in range(CELLS)}
    for number in (0, 3, CELLS - 1):
        assert store.has(key_of(number))
        assert without_nulls(store.rows(key_of(number))) == without_nulls(rows_of(number))
        assert not store.write(key_of(number), rows_of(number))
    assert store.verify() == []


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.store.folding.PART_CELLS", 4)


def test_rows_are_the_same_before_and_after(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before, metrics = store.read(), store.metrics()
    assert fold(store) == CELLS
    assert [len(store.parts.keys_of(part)) for part in store.parts.files()].count(4) == 2
    assert len(store.parts.files()) == 3 and not list(store.paths.cells.glob("*/*"))
    assert_whole(tmp_path, before)
    assert store.metrics() == metrics
    assert fold(store) == 0
    some = [key_of(1), key_of(5), "f" * 32]
    assert_frame_equal(
        store.read(some), before.filter(pl.col("cell").is_in(some)), check_column_order=False
    )
    narrow = store.read(columns=["val_loss", "no such column"])
    assert set(narrow.columns) == {"cell", "epoch", "layer", "val_loss"}
    assert_frame_equal(narrow, before.select(narrow.columns))


def test_a_small_part_is_folded_again_and_a_full_one_stays(tmp_path: Path) -> None:
    store = filled(tmp_path, range(6))
    fold(store)
    first = set(store.parts.files())
    filled(tmp_path, range(6, CELLS))
    whole = Store(tmp_path).read()
    assert fold(store) == CELLS - 6
    after = store.parts.files()
    assert len(first & set(after)) == 1 and len(after) == 3
    assert_whole(tmp_path, whole)


def test_columns_stay_in_their_order_however_often_cells_are_folded(tmp_path: Path) -> None:
    """Cells of each batch have a column that the others lack, in no common order."""
    store = Store(tmp_path)
    for batch in range(8):
        for number in range(batch * 5, batch * 5 + 5):
            row = {"cell": key_of(number), "epoch": 0, "layer": None}
            store.write(key_of(number), [row | {f"column{batch * 5 % 8}": 1.0, "loss": 2.0}])
        before = store.read()
        assert fold(store) == 5
        assert store.read().columns == before.columns
        assert_frame_equal(Store(tmp_path).read(), before)


def test_few_cells_stay_in_files_of_their_own(tmp_path: Path) -> None:
    assert fold(filled(tmp_path), least=CELLS + 1) == 0
    assert not (tmp_path / "parts").exists()


def test_other_rows_of_a_folded_cell_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    fold(store)
    others = [{**row, "val_loss": -1.0} for row in rows_of(2)]
    with pytest.raises(StoreError, match=r"other rows are stored already in .*parts"):
        store.write(key_of(2), others)
    assert not store.paths.cell(key_of(2)).exists()


def test_a_cell_that_is_folded_while_it_is_written_again_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file is folded just before the second writer creates its own."""
    store, other = filled(tmp_path), Store(tmp_path)
    store.fail(key_of(CELLS), {"cause": "bug"})

    def late(path: Path, content: bytes) -> None:
        fold(store)
        create(path, content)

    monkeypatch.setattr(cells, "create", late)
    with pytest.raises(StoreError, match="other rows are stored already"):
        other.write(key_of(2), [{**row, "val_loss": -1.0} for row in rows_of(2)])
    assert not store.single_keys()
    again = {key_of(number): rows_of(number) for number in (2, CELLS)}
    assert other.write_all(again, types={"layer": str, "note": str}) == {key_of(CELLS)}
    assert (store.single_keys(), store.failed(done=())) == ({key_of(CELLS)}, set())
    assert without_nulls(store.rows(key_of(2))) == without_nulls(rows_of(2))


class Killed(BaseException):
    """Ends a fold without any handler of it seeing an Exception."""


def steps_of(patch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call `act` with its number before each change of the disk."""
    count = iter(range(10**6))
    for owner, name in (
        *((Path, name) for name in ("write_bytes", "replace", "unlink", "rmdir", "mkdir")),
        (os, "fsync"),
    ):
        plain = getattr(owner, name)

        def counted(*args: Any, plain: Any = plain, **options: Any) -> Any:
            act(next(count))
            return plain(*args, **options)

        patch.setattr(owner, name, counted)


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "No space left on device")])
def test_whatever_step_fails_no_row_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    whole = filled(tmp_path / "start").read()
    failed = set()
    for last in range(10**6):
        run = shutil.copytree(tmp_path / "start", tmp_path / f"run{last}")

        def fail(number: int, last: int = last) -> None:
            if number == last:
                failed.add(last)
                raise error

        with monkeypatch.context() as patch:
            steps_of(patch, fail)
            with suppress(type(error)):
                fold(Store(run))
        assert_frame_equal(Store(run).read(), whole, check_column_order=False)
        fold(Store(run))
        assert not list((run / "cells").glob("*/*.parquet"))
        assert len(list((run / "parts").glob("[!.]*"))) == 3
        assert_frame_equal(Store(run).read(), whole, check_column_order=False)
        if last not in failed:
            break
        shutil.rmtree(run)
    assert len(failed) > 3 * CELLS


SCRIPT = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
sys.path.insert(0, {helpers!r})
import pytest
from test_folding import steps_of
import study.store.folding as folding
from study.store import Store
folding.PART_CELLS = 4
start, last = Path(sys.argv[1]), 0
while True:
    run = shutil.copytree(start, start.with_name(f"killed{{last}}"))
    if (child := os.fork()) == 0:
        kill = lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == last else None
        steps_of(pytest.MonkeyPatch(), kill)
        folding.fold(Store(run))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    last += 3
"""


@pytest.mark.long
def test_sigkill_at_any_step(tmp_path: Path) -> None:
    whole = filled(tmp_path / "start").read()
    script = SCRIPT.format(tests=str(Path(__file__).parent), helpers=str(HELPERS))
    command = [sys.executable, "-c", script, str(tmp_path / "start")]
    subprocess.run(command, cwd=ROOT, check=True)
    runs = list(tmp_path.glob("killed*"))
    assert len(runs) > 8
    for run in runs:
        assert_whole(run, whole)
        fold(Store(run))
        assert_whole(run, whole)
        assert not list((run / "cells").glob("*/*.parquet"))


def test_readers_and_writers_beside_two_folds_see_every_row_once(tmp_path: Path) -> None:
    store = filled(tmp_path)
    whole, ended, errors = store.read(), threading.Event(), []

    def again_and_again(do: Callable[[], object]) -> None:
        try:
            while not ended.is_set():
                do()
        except Exception as error:
            errors.append(error)
            raise

    def store_again() -> None:
        for number in range(CELLS):
            Store(tmp_path).write(key_of(number), rows_of(number))
        fold(Store(tmp_path))

    threads = [
        threading.Thread(target=again_and_again, args=(do,))
        for do in (store_again, lambda: fold(Store(tmp_path)))
    ]
    for thread in threads:
        thread.start()
    try:
        reader = Store(tmp_path)
        for number in range(CELLS, CELLS + 12):
            filled(tmp_path, range(number, number + 1))
            seen = reader.read([key_of(n) for n in range(CELLS)])
            assert_frame_equal(seen.select(whole.columns), whole, check_column_order=False)
            assert len(reader.keys()) == number + 1
            assert reader.read()["cell"].n_unique() == number + 1
            assert all(reader.has(key_of(n)) for n in range(number + 1))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not errors
    fold(store)
    assert store.read().select("cell", "epoch", "layer").is_unique().all()


def test_a_damaged_part_is_named_set_aside_and_the_others_are_read(tmp_path: Path) -> None:
    store = filled(tmp_path)
    fold(store)
    part = store.parts.files()[1]
    lost = store.parts.keys_of(part)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    with pytest.raises(StoreError, match=rf"{part.name} is damaged; a relaunch sets it aside"):
        Store(tmp_path).read()
    (aside,) = Store(tmp_path).verify()
    assert aside.name.startswith(part.stem)
    assert Store(tmp_path).keys() == {key_of(number) for number in range(CELLS)} - lost
    filled(tmp_path)
    fold(store)
    assert Store(tmp_path).read()["cell"].n_unique() == CELLS


def test_a_damaged_cell_stays_where_it_is(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = store.paths.cell(key_of(2))
    path.write_bytes(path.read_bytes()[:-9])
    assert fold(store) == CELLS - 1
    assert path.exists()
    assert Store(tmp_path).verify() != []


def test_a_disk_that_keeps_nothing_costs_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    whole = store.read()
    plain = Path.write_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", lambda path, content: plain(path, content[:-1] + b"x"))
        with pytest.raises(StoreError, match="does not keep what is written there"):
            fold(store)
    assert_whole(tmp_path, whole)


def test_the_command_folds_a_run_where_it_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path / "run")
    whole = store.read()
    store.write_planned([{"cell": key_of(n), "training": "t"} for n in range(CELLS)])
    assert main([str(tmp_path / "run"), "--in-place"]) == 0
    said = capsys.readouterr().out
    assert said == f"{CELLS} single cells folded, {CELLS} cells in 3 parts: {tmp_path / 'run'}\n"
    assert_whole(tmp_path / "run", whole)
    assert main([str(tmp_path / "run"), str(tmp_path / "copy")]) == 0
    assert_frame_equal(Store(tmp_path / "copy").read(), whole, check_column_order=False)
    assert not (tmp_path / "copy" / "parts").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "give either the folder TARGET to make, or --push, or --in-place"),
        (["run", "target", "--in-place"], "give either the folder TARGET"),
        (["run", "--in-place"], "is no run directory"),
    ],
)
def test_a_request_that_cannot_work_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main([str(tmp_path / each) if each[0] != "-" else each for each in arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_launch_folds_many_cells_and_says_when_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny_study import launch, tiny

    monkeypatch.setattr("study.launching.launcher.MANY", 1)
    study = tiny(grid={"epochs": [1], "precision": ["fp32"]})
    with monkeypatch.context() as patch:

        def full(path: Path, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("study.store.folding.write_atomically", full)
        assert launch(tmp_path, study) == 0
        said = capsys.readouterr().out
        assert "cannot be folded: [Errno 28] No space left on device" in said
        assert "1 of 1 cells are in" in said
    store = Store(tmp_path / "runs" / "tiny")
    whole = store.read()
    assert len(store.single_keys()) == 1
    assert launch(tmp_path, study) == 0
    assert "1 of 1 cells are done: nothing to run." in capsys.readouterr().out
    assert not store.single_keys()
    assert_frame_equal(store.read(), whole)
