"""The store: rows once and whole, damage noticed, failures as data."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from study.store import Store, StoreError
from study.store.folding import fold
from study.store.sealed import intact, seal, seal_table

KEY, OTHER = "a" * 32, "b" * 32
ROWS = [
    {"cell": KEY, "epoch": 0, "layer": None, "val_loss": 4.25, "host": "here", "seconds": 1.0},
    {"cell": KEY, "epoch": 1, "layer": None, "val_loss": 0.1 + 0.2, "host": "here", "seconds": 2.0},
]
SEALED = seal(ROWS, {"layer": str}, {"val_loss": {"family": "score"}})


def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


def test_rows_come_back_bit_for_bit(tmp_path: Path) -> None:
    run = store(tmp_path)
    assert not run.has(KEY)
    assert run.write(KEY, ROWS)
    assert run.has(KEY)
    assert run.keys() == {KEY}
    assert run.rows(KEY) == [{**row, "layer": None} for row in ROWS]
    assert run.read()["val_loss"].to_list() == [4.25, 0.30000000000000004]


def test_a_reader_of_single_cells_imports_no_reader_of_tables(tmp_path: Path) -> None:
    """Trackers read them beside a launch: pandas and folders of tables take half a second."""
    store(tmp_path).write(KEY, ROWS)
    script = (
        "import sys; from study.store import Store; "
        f"assert len(Store({str(tmp_path / 'run')!r}).rows({KEY!r})) == 2; "
        "print({'pandas', 'polars', 'pyarrow.dataset'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_writing_the_same_rows_again_changes_nothing(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    before = run.paths.cell(KEY).read_bytes()
    again = [{**row, "host": "elsewhere", "seconds": 9.0} for row in ROWS]
    assert not run.write(KEY, again)
    assert run.paths.cell(KEY).read_bytes() == before


def test_other_numbers_never_replace_rows(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    before = run.paths.cell(KEY).read_bytes()
    with pytest.raises(StoreError, match="other rows are stored already"):
        run.write(KEY, [{**row, "val_loss": 4.0} for row in ROWS])
    with pytest.raises(StoreError, match="other rows are stored already"):
        run.write(KEY, ROWS[:1])
    assert run.paths.cell(KEY).read_bytes() == before


def test_rows_replace_a_damaged_file(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    run.paths.cell(KEY).write_bytes(b"PAR1 and no more")
    assert run.write(KEY, ROWS)
    assert len(run.read()) == 2
    assert len(list(run.paths.damaged.iterdir())) == 1


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        store(tmp_path).write(KEY, [])


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    run = store(tmp_path)
    barrier = threading.Barrier(8)
    won: list[bool] = []

    def write() -> None:
        barrier.wait()
        won.append(run.write(KEY, ROWS))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert [path.name for path in run.paths.cell(KEY).parent.iterdir()] == [f"{KEY}.parquet"]


def test_a_seal_is_the_hash_of_the_file_with_its_place_zeroed() -> None:
    start = SEALED.index(b"collapse-study-sha256:") + len(b"collapse-study-sha256:")
    zeroed = SEALED[:start] + b"0" * 64 + SEALED[start + 64 :]
    assert hashlib.sha256(zeroed).hexdigest().encode() == SEALED[start : start + 64]
    assert intact(SEALED)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(0, len(SEALED) * 8 - 1))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    damaged = bytearray(SEALED)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not intact(bytes(damaged))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, len(SEALED) - 1))
def test_every_truncation_is_noticed(length: int) -> None:
    assert not intact(SEALED[:length])


def test_a_value_may_not_look_like_the_seal() -> None:
    with pytest.raises(ValueError, match="seal"):
        seal([{"cell": "collapse-study-sha256:" + "0" * 64}], {}, {})


def test_verify_sets_damaged_files_aside(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    run.write(OTHER, [{**row, "cell": OTHER} for row in ROWS])
    run.paths.cell(KEY).write_bytes(run.paths.cell(KEY).read_bytes()[:-7])
    with pytest.raises(StoreError, match="damaged"):
        run.read()
    moved = run.verify()
    assert [path.parent for path in moved] == [run.paths.damaged]
    assert run.keys() == {OTHER}
    assert run.read()["cell"].unique().to_list() == [OTHER]
    assert run.verify() == []


def test_an_unfinished_file_is_no_cell(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    (run.paths.cell(KEY).parent / f".{OTHER}.parquet.12.ab").write_bytes(b"half")
    assert run.keys() == {KEY}
    assert run.verify() == []


def test_metadata_of_metrics_is_read_back(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS, metrics={"val_loss": {"family": "score"}})
    assert run.metrics() == {"val_loss": {"family": "score"}}


def test_columns_of_later_cells_widen_the_table(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS, types={"layer": str})
    run.write(
        OTHER,
        [{"cell": OTHER, "epoch": 0, "layer": "block_0", "nc1_cdnv": 0.5}],
        types={"layer": str},
    )
    table = run.read()
    assert table["nc1_cdnv"].to_list() == [None, None, 0.5]
    assert table["layer"].to_list() == [None, None, "block_0"]


def test_a_column_that_is_empty_has_its_declared_type(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(
        KEY,
        [{"cell": KEY, "epoch": 0, "clip": None, "schedule": None}],
        types={"schedule": str, "clip": float},
    )
    schema = pq.read_schema(run.paths.cell(KEY))
    assert [str(schema.field(name).type) for name in ("clip", "schedule")] == ["double", "string"]


def test_reading_an_empty_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no measured cells"):
        store(tmp_path).read()


def test_reading_a_run_whose_cells_failed_says_why(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.fail(KEY, {"cause": "diverged", "message": "the loss of step 2 is nan"})
    reason = r"no measured cells yet; 1 failed \(diverged; the first: the loss of step 2 is nan\)"
    with pytest.raises(StoreError, match=reason):
        run.read()


def test_a_success_clears_the_failure(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.fail(KEY, {"cause": "bug", "message": "oops"})
    assert [record["cause"] for record in run.failures()] == ["bug"]
    run.write(KEY, ROWS)
    assert list(run.failures()) == []


def test_a_failure_never_hides_rows(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    run.fail(KEY, {"cause": "bug", "message": "oops"})
    assert list(run.failures()) == []


def test_copies_that_other_programs_make_count_nothing(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    assert run.notice() is None
    path = run.paths.cell(KEY)
    names = (f"{KEY} (conflicted copy)", f"{KEY}.sync-conflict-20260101-1", f"Copy of {KEY}", "x")
    for name in names:
        path.with_name(f"{name}.parquet").write_bytes(path.read_bytes())
    elsewhere = run.paths.cells / "bb" / path.name
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(path.read_bytes())
    assert run.keys() == {KEY} and len(run.read()) == len(ROWS)
    assert run.verify() == []
    notice = run.notice()
    assert notice is not None and "5 files among the cells have no cell's name" in notice
    assert fold(run) == 1
    assert len(Store(run.paths.root).read()) == len(ROWS)


def test_rows_under_the_name_of_another_cell_are_damage(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    other = run.paths.cell(OTHER)
    other.parent.mkdir()
    other.write_bytes(run.paths.cell(KEY).read_bytes())
    with pytest.raises(StoreError, match=f"{OTHER}.parquet is damaged"):
        run.read()
    assert fold(run) == 1 and other.exists(), "it is not folded"
    assert [path.name.split(".")[0] for path in run.verify()] == [OTHER]
    assert run.keys() == {KEY}


def test_what_is_no_file_is_damage(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.write(KEY, ROWS)
    folder, nothing = run.paths.cell(OTHER), run.paths.part("link")
    folder.mkdir(parents=True)
    nothing.parent.mkdir()
    nothing.symlink_to("nowhere")
    with pytest.raises(StoreError, match=r"link.parquet is damaged; a relaunch sets it aside"):
        run.read()
    run.paths.failure(OTHER).mkdir(parents=True)
    assert [record["cause"] for record in run.failures()] == ["unknown"]
    assert len(run.verify()) == 3
    assert run.keys() == {KEY}


def test_a_damaged_failure_record_is_set_aside(tmp_path: Path) -> None:
    run = store(tmp_path)
    run.fail(KEY, {"cause": "bug", "message": "oops"})
    run.fail(OTHER, {"cause": "data", "message": "gone"})
    run.paths.failure(KEY).write_text('{"cell": "aaa')
    incomplete = run.paths.failure("c" * 32)
    incomplete.write_text(json.dumps({"cell": incomplete.stem, "cause": ["bug"], "message": "x"}))
    moved = {path.name.split(".")[0] for path in run.verify()}
    assert moved == {KEY, incomplete.stem}
    assert [record["cell"] for record in run.failures()] == [OTHER]
    assert json.loads(run.paths.failure(OTHER).read_text())["cause"] == "data"


def test_metrics_take_less_room_than_in_a_plain_file() -> None:
    """Values of one size that never repeat, as those of a metric in sorted rows."""
    values = [1.0 + math.sin(at) / 100 for at in range(5_000)]
    table = pa.table({"cell": ["a"] * len(values), "nc1_ratio": values})
    plain = BytesIO()
    pq.write_table(table, plain, compression="zstd")
    content = seal_table(table, {})
    assert len(content) < 0.9 * len(plain.getvalue())
    assert pl.read_parquet(BytesIO(content))["nc1_ratio"].to_list() == values
