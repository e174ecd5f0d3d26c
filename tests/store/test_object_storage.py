"""One store on two storages: folders, and objects on a real server on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from object_server import BUCKET, ObjectServer, object_server
from polars.testing import assert_frame_equal

from study.scheduling.failure import cause_of
from study.store import Store, StoreError, atomic, folding, objects
from study.store import leases as lease
from study.store.errors import StorageError
from study.store.folding import fold
from study.store.leases import Holding, LeaseLost, Leases
from study.store.objects import ObjectPath
from study.store.outage import OUTAGE
from study.store.packing import pack
from study.store.paths import TrainingPaths
from study.store.places import place, remove, remove_tree
from study.store.probe import probe
from study.store.usage import delete_checkpoints, disk_use
from study.store.workspace import Workspace, folder_for

CELLS = 7


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture
def bucket(server: ObjectServer, tmp_path: Path) -> Path:
    """A prefix of its own for each test."""
    return place(f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}")


@pytest.fixture(params=["folder", "objects"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A place of runs on each of the storages."""
    return tmp_path if request.param == "folder" else request.getfixturevalue("bucket")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that beat and go stale within fractions of a second."""
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "STALE", 1.0)


def key_of(number: int) -> str:
    return f"{number * 37 % 256:02x}" + f"{number:030x}"


def rows_of(number: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"cell": key_of(number), "epoch": epoch, "val_loss": number + epoch / 7, **more}
        for epoch in range(2)
    ]


def filled(home: Path) -> Store:
    store = Store(home / "run")
    for number in range(CELLS):
        store.write(key_of(number), rows_of(number))
    return store


def stop_heartbeat(holding: Holding) -> None:
    """Let an owner stand still, as one that was killed does."""
    holding._done.set()
    holding._thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_rows_are_written_once(home: Path) -> None:
    store = Store(home / "run")
    assert store.write(key_of(1), rows_of(1, host="here"))
    assert not store.write(key_of(1), rows_of(1, host="elsewhere"))
    with pytest.raises(StoreError, match="other rows are stored already"):
        store.write(key_of(1), rows_of(1, val_acc=0.5))
    assert store.has(key_of(1)) and not store.has(key_of(2))
    assert store.rows(key_of(1)) == rows_of(1, host="here")


def test_of_writers_of_one_name_one_wins(home: Path) -> None:
    path = home / "name"
    begin = threading.Barrier(8)

    def write(number: int) -> bool:
        begin.wait()
        try:
            atomic.create(path, f"content {number}".encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert path.read_bytes() == f"content {won.index(True)}".encode()


def test_a_lease_is_held_by_one_and_free_afterwards(home: Path, quick: None) -> None:
    leases = Leases(home / "leases")
    for _ in range(2):
        with leases.hold("k", "first") as mine:
            assert mine is not None
            assert [each.owner for each in leases.all()] == [mine.lease.owner]
            with Leases(home / "leases").hold("k", "second") as other:
                assert other is None
            wait_for(lambda: leases.get("k").beats > 2)
            mine.report(doing="training")
        assert leases.get("k") is None
        assert list(leases.all()) == []


def test_of_those_who_take_a_stale_lease_over_one_keeps_it(home: Path, quick: None) -> None:
    leases = Leases(home / "leases")
    begin, end = threading.Barrier(6), threading.Barrier(6)

    def take(stale: str) -> bool:
        begin.wait()
        with Leases(home / "leases").hold("k", "theirs", stale=stale) as holding:
            end.wait()
            return holding is not None

    with leases.hold("k", "mine") as mine, ThreadPoolExecutor(6) as pool:
        assert mine is not None
        stop_heartbeat(mine)
        assert list(pool.map(take, 6 * [mine.lease.owner])).count(True) == 1
        assert leases.get("k") is None


def test_whoever_is_taken_over_learns_it(home: Path, quick: None) -> None:
    leases = Leases(home / "leases")
    with leases.hold("k", "mine") as mine:
        assert mine is not None
        theirs = replace(mine.lease, owner="they", machine="far")
        atomic.write_atomically(leases.paths.lease("k"), theirs.content())
        wait_for(lambda: mine._lost)
        with pytest.raises(LeaseLost):
            mine.report()
    assert leases.get("k").owner == "they"


def test_one_who_ends_late_leaves_the_lease_of_the_next_alone(home: Path, quick: None) -> None:
    leases = Leases(home / "leases")
    with leases.hold("k", "mine") as mine:
        assert mine is not None
        stop_heartbeat(mine)
        with leases.hold("k", "theirs", stale=mine.lease.owner) as theirs:
            assert theirs is not None
            mine.release()
            assert leases.get("k").owner == theirs.lease.owner
            wait_for(lambda: leases.get("k").beats > 2)
            theirs.report()


def test_a_heartbeat_that_stands_still_is_seen(home: Path, quick: None) -> None:
    watcher = Leases(home / "leases")
    with Leases(home / "leases").hold("k", "mine") as mine:
        assert mine is not None
        stop_heartbeat(mine)
        assert watcher.busy("k")
        wait_for(lambda: not watcher.busy("k"))


class Killed(BaseException):
    """A process is killed here."""


@pytest.mark.parametrize("steps", range(4))
def test_a_fold_that_is_killed_loses_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Killed before a part is written, before it is checked, and before each deletion."""
    store = filled(home)
    before = store.read()
    left = [steps]

    def step(do: Callable[..., Any]) -> Callable[..., Any]:
        def or_die(*arguments: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return do(*arguments)

        return or_die

    def remove_some(paths: Any) -> None:
        """Half of the files, then the end."""
        several = list(paths)
        remove(several[: len(several) // 2])
        raise Killed

    monkeypatch.setattr(folding, "write_atomically", step(atomic.write_atomically))
    monkeypatch.setattr(folding, "_check", step(folding._check))
    monkeypatch.setattr(folding, "remove", remove_some if steps == 3 else step(remove))
    with pytest.raises(Killed):
        fold(store)
    monkeypatch.undo()
    assert_frame_equal(Store(store.paths.root).read(), before)
    fold(Store(store.paths.root))
    folded = Store(store.paths.root)
    assert (folded.single_keys(), len(folded.parts.files())) == (set(), 1)
    assert_frame_equal(folded.read(), before)


def test_reads_during_folds_see_every_cell(home: Path) -> None:
    store = filled(home)
    before, done = store.read(), threading.Event()

    def fold_again() -> None:
        for number in range(CELLS, CELLS + 3):
            fold(Store(store.paths.root))
            Store(store.paths.root).write(key_of(number), rows_of(number))
        done.set()

    thread = threading.Thread(target=fold_again)
    thread.start()
    try:
        while not done.is_set():
            frame = Store(store.paths.root).read([key_of(number) for number in range(CELLS)])
            assert_frame_equal(frame, before)
    finally:
        thread.join()


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_what_is_not_whole_is_set_aside(home: Path, content: bytes | None) -> None:
    store = filled(home)
    path = store.paths.cell(key_of(2))
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    (store.paths.failures / "x").parent.mkdir(exist_ok=True)
    store.paths.failure(key_of(9)).write_bytes(b"{")
    with pytest.raises(StoreError, match="damaged"):
        store.read()
    aside = store.verify()
    assert [place.parent.name for place in aside] == ["damaged", "damaged"]
    assert store.keys() == {key_of(number) for number in range(CELLS)} - {key_of(2)}
    assert store.failed() == set()


def test_failures_and_records(home: Path) -> None:
    store = filled(home)
    store.fail(key_of(20), {"cause": "bug", "message": "text"})
    assert store.failed() == {key_of(20)}
    assert [record["message"] for record in store.failures()] == ["text"]
    store.forget_failure(key_of(20))
    assert store.failed() == set()
    store.write_planned([{"cell": key_of(0), "training": "t", "width": 2}])
    assert store.planned()["width"].to_list() == [2]
    assert store.metrics() == {}


def test_sizes_copies_and_deletion(home: Path, tmp_path: Path) -> None:
    store = filled(home)
    paths = store.paths
    atomic.write_atomically(paths.study, b"name: x\nfolder: /\n")
    store.write_planned([{"cell": key_of(0), "training": "t"}])
    for path in (paths.provenance("t"), paths.loss_log("t"), paths.leases / "t.json"):
        atomic.write_atomically(path, b"{}")
    atomic.write_atomically(paths.checkpoint("t", 1) / "model.safetensors", b"x" * 1000)
    assert disk_use(paths)["checkpoints"] == 1000
    copy = tmp_path / "copy"
    pack(paths.root, copy)
    names = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert names == {"study.yaml", "planned.parquet", "rows.parquet", "trainings/t/provenance.json"}
    assert_frame_equal(Store(copy).read(), store.read())
    (paths.leases / "t.json").unlink()
    assert delete_checkpoints(paths.root) == 1000
    assert not paths.all_checkpoints.exists()
    remove_tree(paths.root)
    assert not paths.root.exists()


def test_a_listing_is_one_look(
    bucket: Path, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one request a cell, but one a page."""
    monkeypatch.setattr(objects, "PAGE", 50)
    store = Store(bucket / "run")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.paths.cell(key_of(n)).write_bytes(b"x"), range(120)))
    server.requests.clear()
    assert len(store.single_keys()) == 120
    assert server.requests == {"LIST": 3}
    server.requests.clear()
    assert disk_use(store.paths) == {"cells": 120}
    assert server.requests == {"LIST": 3}
    server.requests.clear()
    remove_tree(store.paths.root)
    assert server.requests == {"LIST": 3, "POST": 3}


def test_requests_of_each_use_of_a_store(bucket: Path, server: ObjectServer) -> None:
    store, keys = Store(bucket / "run"), [key_of(number) for number in range(CELLS)]
    cells = {key: rows_of(number) for number, key in enumerate(keys)}

    def requests(act: Callable[[], object]) -> dict[str, int]:
        server.requests.clear()
        act()
        return dict(server.requests)

    packed = {"LIST": 1}  # whether the run is packed, once
    assert requests(lambda: store.missing(keys)) == {"HEAD": CELLS, "LIST": 1 + packed["LIST"]}
    assert requests(lambda: store.write_all(cells)) == {"PUT": CELLS, "LIST": 1, "POST": 1}
    assert requests(lambda: store.missing(keys)) == {"HEAD": CELLS}
    assert requests(lambda: store.pending([*keys, key_of(CELLS)])) == {"HEAD": CELLS + 2, "LIST": 1}
    assert requests(store.keys) == {"LIST": 2}
    assert requests(store.failed) == {"LIST": 1}
    assert requests(lambda: store.failures_of(keys)) == {"LIST": 1}
    assert requests(store.read) == {"LIST": 2, "GET": CELLS}
    assert requests(store.verify_cells) == {"LIST": 2, "GET": CELLS}
    # the metadata of the newest cell, and the part that was written, are read once more
    assert requests(lambda: fold(store)) == {"LIST": 2, "GET": CELLS + 2, "PUT": 1, "POST": 1}
    assert requests(Store(bucket / "run").read) == {"LIST": 3, "GET": 1}
    store.write(key_of(CELLS), rows_of(CELLS))
    assert requests(lambda: fold(Store(bucket / "run"))) == {
        "LIST": 3,
        "GET": 4,
        "PUT": 1,
        "POST": 1,
    }
    assert Store(bucket / "run").keys() == {*keys, key_of(CELLS)}


def test_a_workspace_takes_states_and_logs_to_the_run(bucket: Path) -> None:
    home = bucket / "run" / "trainings" / "t"
    with folder_for(home) as folder:
        space, own = Workspace(home, folder), TrainingPaths(folder)
        space.fetch()
        own.console_log.write_text("begun\n")
        own.state(1).write_bytes(b"tensors")
        own.state(1).with_suffix(".json").write_text("{}")
        space.publish()
        own.state(1).unlink()
        own.state(2).write_bytes(b"more")
        own.hang_log.write_text("stacks")
        atomic.write_atomically(TrainingPaths(home).state(9), b"of another owner")
        space.publish()
        space.publish_end()
    assert not folder.exists()
    names = sorted(path.name for path in home.iterdir())
    assert names == ["console.log", "hang.log", "state-000000001.json",
                     "state-000000002.safetensors", "state-000000009.safetensors"]  # fmt: skip
    with folder_for(home) as folder:
        Workspace(home, folder).fetch()
        assert sorted(path.name for path in folder.iterdir()) == [
            name for name in names if name != "hang.log"
        ]


def test_a_run_in_a_folder_is_its_own_workspace(tmp_path: Path) -> None:
    with folder_for(tmp_path / "t") as folder:
        space = Workspace(tmp_path / "t", folder)
        space.fetch()
        space.publish()
    assert (folder, space.apart, folder.is_dir()) == (tmp_path / "t", False, True)


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_server_without_conditions_is_refused(
    bucket: Path, server: ObjectServer, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    assert probe(bucket) is None
    monkeypatch.setattr(server, "ignored", {f"HTTP_{header.upper().replace('-', '_')}"})
    with pytest.raises(StoreError, match=f"ignores {header}, .*MinIO"):
        probe(bucket)
    assert list(bucket.iterdir()) == []


def test_a_bucket_that_is_missing_is_refused(server: ObjectServer) -> None:
    with pytest.raises(StoreError, match=r"no such bucket.*AWS_ENDPOINT_URL"):
        probe(place("s3://another/runs"))
    with pytest.raises(NotADirectoryError, match="no such bucket"):
        place("s3://another/runs").is_dir()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gs://bucket/runs", "gs:// is no storage on which a run can lie"),
        ("s3://key:secret@bucket/runs", "credentials .* come from the environment"),
        ("s3://", "s3://BUCKET/PREFIX"),
        ("s3://bucket/a/../b", "a part of the path"),
    ],
)
def test_places_that_are_none(target: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refused:
        place(target)
    assert "secret@" not in str(refused.value)


def test_an_object_is_no_path_of_this_computer(bucket: Path) -> None:
    with pytest.raises(TypeError):
        Path(bucket)
    with pytest.raises(ValueError, match="written whole"):
        (bucket / "log").open("a")


def test_a_server_that_fails_for_a_moment_is_asked_again(
    bucket: Path, server: ObjectServer
) -> None:
    server.requests.clear()
    server.failing = True
    threading.Timer(0.3, lambda: setattr(server, "failing", False)).start()
    atomic.create(bucket / "name", b"content")
    assert server.requests["PUT"] > 1


def test_a_server_that_fails_for_good_is_a_cause(
    bucket: Path, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 2)
    monkeypatch.setattr(OUTAGE, "patience", 0.1)
    objects.CLIENTS.forget()
    monkeypatch.setattr(server, "failing", True)
    with pytest.raises(StorageError, match="the object storage failed") as failed:
        Store(bucket / "run").write(key_of(1), rows_of(1))
    assert cause_of(failed.value) == "storage"
    monkeypatch.undo()
    objects.CLIENTS.forget()


def test_a_write_whose_answer_was_lost_is_known_again(bucket: Path) -> None:
    path = ObjectPath(str(bucket).removeprefix("s3://")) / "name"
    tag = path.create(b"mine")
    assert path.create(b"mine") == tag
    with pytest.raises(FileExistsError):
        path.create(b"theirs")
    newer = path.exchange(b"again", tag)
    assert path.exchange(b"again", tag) == newer
    with pytest.raises(FileExistsError):
        path.exchange(b"other", tag)
    with pytest.raises(FileNotFoundError):
        (path.parent / "nothing").exchange(b"x", tag)
