"""Leases: one owner at a time, taken over only when that owner is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from study.store import leases as lease
from study.store.leases import LeaseLost, Leases, process_start, this_machine
from study.store.slots import FileSlot

KEY = "a" * 32


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leases:
    """Leases that beat and go stale within fractions of a second."""
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "STALE", 0.5)
    return Leases(tmp_path / "leases")


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition holds; fail if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def foreign(leases: Leases, **changes: object) -> str:
    """A lease of another machine, which stands still; its owner."""
    fields = {
        "training": KEY,
        "owner": "them",
        "launch": "theirs",
        "host": "far",
        "machine": "far",
        "node": "",
        "pid": 1,
        "process_started": 1.0,
        "started": 0.0,
    }
    leases.paths.folder.mkdir(exist_ok=True)
    (leases.paths.folder / f"{KEY}.json").write_text(json.dumps(fields | changes))
    return "them"


def test_a_lease_is_held_by_one(leases: Leases) -> None:
    assert not leases.busy(KEY)
    with leases.hold(KEY, "first") as mine:
        assert mine is not None
        assert leases.busy(KEY)
        with Leases(leases.paths.folder).hold(KEY, "second") as other:
            assert other is None
        held = leases.get(KEY)
        assert held is not None
        assert (held.launch, held.pid) == ("first", os.getpid())
    assert leases.get(KEY) is None
    assert not leases.busy(KEY)


def test_of_many_who_ask_at_once_one_holds(leases: Leases) -> None:
    barrier, holders = threading.Barrier(8), []
    done = threading.Event()

    def ask() -> None:
        barrier.wait()
        with Leases(leases.paths.folder).hold(KEY, "launch") as holding:
            if holding is not None:
                holders.append(holding)
                done.wait()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: sum(thread.is_alive() for thread in threads) == 1)
    done.set()
    for thread in threads:
        thread.join()
    assert len(holders) == 1


def test_the_heartbeat_keeps_a_lease_beyond_the_stale_time(leases: Leases) -> None:
    with leases.hold(KEY, "launch"):
        end = time.monotonic() + 3 * lease.STALE
        observer = Leases(leases.paths.folder)
        while time.monotonic() < end:
            assert observer.busy(KEY)
            time.sleep(0.05)


def test_progress_is_published(leases: Leases) -> None:
    def published() -> bool:
        lease = leases.get(KEY)
        return lease is not None and lease.progress == {"doing": "training", "step": 3}

    with leases.hold(KEY, "launch") as mine:
        assert mine is not None
        mine.report(doing="training", step=3)
        wait_for(published)


def test_a_lease_of_another_machine_is_busy_until_it_has_stood_still(leases: Leases) -> None:
    owner = foreign(leases)
    assert leases.busy(KEY)
    with leases.hold(KEY, "launch") as mine:
        assert mine is None
    wait_for(lambda: not leases.busy(KEY))
    assert leases.stale_owner(KEY) == owner
    with leases.hold(KEY, "launch", stale=owner) as mine:
        assert mine is not None


def test_a_rising_beat_is_a_sign_of_life(leases: Leases) -> None:
    end = time.monotonic() + 3 * lease.STALE
    beats = 0
    while time.monotonic() < end:
        foreign(leases, beats=(beats := beats + 1))
        assert leases.busy(KEY)
        time.sleep(0.05)


def test_a_dead_process_of_this_machine_loses_its_lease_at_once(leases: Leases) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    foreign(leases, machine=this_machine(), pid=child.pid, process_started=process_start(child.pid))
    assert leases.busy(KEY)
    child.kill()  # not waited for: a zombie until then
    wait_for(lambda: not leases.busy(KEY))
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    with leases.hold(KEY, "launch") as mine:
        assert mine is not None
    child.wait()
    assert process_start(child.pid) is None


def test_a_process_number_used_again_does_not_count(leases: Leases) -> None:
    foreign(leases, machine=this_machine(), pid=os.getpid(), process_started=-1.0)
    assert not leases.busy(KEY)


def test_whoever_is_taken_over_learns_it_and_leaves_the_lease_alone(leases: Leases) -> None:
    def lost() -> bool:
        assert mine is not None
        try:
            mine.report(doing="training")
        except LeaseLost:
            return True
        return False

    with leases.hold(KEY, "launch") as mine:
        foreign(leases)
        wait_for(lost)
    assert leases.stale_owner(KEY) == "them"


def test_a_takeover_that_comes_late_gives_the_lease_back(leases: Leases) -> None:
    with leases.hold(KEY, "launch") as mine:
        assert mine is not None
        FileSlot(leases.paths, KEY)._clear("somebody who held it before")
        assert leases.stale_owner(KEY) == mine.lease.owner
        time.sleep(3 * lease.BEAT)
        mine.report()
    assert [path.name for path in leases.paths.folder.iterdir()] == []


def test_a_lease_that_vanished_is_renewed(leases: Leases) -> None:
    with leases.hold(KEY, "launch"):
        (leases.paths.folder / f"{KEY}.json").unlink()
        wait_for(lambda: leases.get(KEY) is not None)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", b'{"training": "x"}'])
def test_a_damaged_lease_is_repaired_by_its_owner(leases: Leases, content: bytes) -> None:
    with leases.hold(KEY, "launch") as mine:
        assert mine is not None
        (leases.paths.folder / f"{KEY}.json").write_bytes(content)
        assert leases.busy(KEY)
        wait_for(lambda: leases.stale_owner(KEY) == mine.lease.owner)


def test_a_damaged_lease_without_owner_is_taken_over(leases: Leases) -> None:
    leases.paths.folder.mkdir()
    (leases.paths.folder / f"{KEY}.json").write_bytes(b"{")
    assert leases.busy(KEY)
    wait_for(lambda: not leases.busy(KEY))
    with leases.hold(KEY, "launch", stale=leases.stale_owner(KEY)) as mine:
        assert mine is not None
        assert [held.launch for held in leases.all()] == ["launch"]
