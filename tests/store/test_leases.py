"""Leases: one owner at a time, taken over only when that owner is gone."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.store import leases as lease
from study.store import slots
from study.store.leases import Lease, LeaseLost, Leases, process_start, this_machine
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


def far(**changes: Any) -> Lease:
    """A lease of another machine, which stands still."""
    return replace(Lease(KEY, "them", "theirs", "far", "far", "", 1, 1.0, 0.0), **changes)


def foreign(leases: Leases, **changes: Any) -> str:
    """Let such a lease lie there; its owner."""
    leases.paths.folder.mkdir(exist_ok=True)
    leases.paths.lease(KEY).write_bytes(far(**changes).content())
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


def test_a_takeover_that_comes_late_leaves_the_lease_alone(leases: Leases) -> None:
    """It has seen an owner whose heir has ended, or has the lease."""
    foreign(leases)
    slot = FileSlot(leases.paths, KEY)
    with leases.hold(KEY, "launch", stale="them") as mine:
        assert mine is not None
        assert not slot.take(far(owner="late"), far())
        assert not slot.take(far(owner="late"), far(owner="one whose heir has ended"))
        assert leases.stale_owner(KEY) == mine.lease.owner
        time.sleep(3 * lease.BEAT)
        mine.report()
    assert not slot.take(far(owner="late"), far())
    assert [path.name for path in leases.paths.folder.iterdir()] == []


STEPS = ("slots.create", "slots.write_atomically", "paths.LeasePaths.heirs")
"""What a takeover does one after another."""


@pytest.mark.parametrize("step", STEPS)
def test_a_taker_who_is_killed_is_taken_over(
    leases: Leases, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Killed before a step: whoever comes then holds the lease alone, and leaves nothing."""
    foreign(leases)
    (leases.paths.folder / f".{KEY}.somebody.heir").write_bytes(far(owner="orphan").content())

    def die(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"study.store.{step}", die)
    with pytest.raises(KeyboardInterrupt):
        FileSlot(leases.paths, KEY).take(far(owner="killed"), far())
    monkeypatch.undo()
    owner = leases.stale_owner(KEY)
    assert owner == ("them" if step == "slots.create" else "killed")
    with leases.hold(KEY, "launch", stale=owner) as mine:
        assert mine is not None
        assert leases.stale_owner(KEY) == mine.lease.owner
    assert list(leases.paths.folder.iterdir()) == []


def test_an_owner_whom_others_took_for_gone_learns_it_whatever_the_file_says(
    leases: Leases,
) -> None:
    with leases.hold(KEY, "launch") as mine:
        assert mine is not None
        leases.paths.heir(KEY, mine.lease.owner).write_bytes(far().content())
        wait_for(lambda: mine._lost)
    assert leases.stale_owner(KEY) == "them"


TAKERS, RACES = 6, 200


def taker(folder: Path, number: int, begin: Any, won: Any) -> None:
    """Take one stale lease after another, with pauses between the steps; tell which it got."""
    chance = random.Random(number)

    def late(do: Callable[..., Any]) -> Callable[..., Any]:
        def later(*arguments: Any, **options: Any) -> Any:
            time.sleep(chance.uniform(0, 3e-4))
            return do(*arguments, **options)

        return later

    for home, name in ((slots, "create"), (slots, "write_atomically"), (FileSlot, "_look")):
        setattr(home, name, late(getattr(home, name)))
    owner, taken = far(owner=str(number)), []
    for race in range(RACES):
        slot = FileSlot(Leases(folder).paths, str(race))
        gone = slot.read()
        begin.wait()
        if slot.take(owner, gone):
            taken.append(race)
    won.put(taken)


def test_of_processes_that_take_a_stale_lease_over_one_gets_it(leases: Leases) -> None:
    for race in range(RACES):
        slot = FileSlot(leases.paths, str(race))
        slot.paths.folder.mkdir(exist_ok=True)
        slot.path.write_bytes(far().content())
    fork = multiprocessing.get_context("fork")
    begin, won = fork.Barrier(TAKERS), fork.Queue()
    racers = [
        fork.Process(target=taker, args=(leases.paths.folder, number, begin, won))
        for number in range(TAKERS)
    ]
    for racer in racers:
        racer.start()
    owners = Counter(race for _ in racers for race in won.get(timeout=60))
    for racer in racers:
        racer.join()
    assert owners == Counter(range(RACES))


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
