"""What comes next and what is tried again, without Ray and without training."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny_study import TINY, failures, tiny

from study.config import study_from
from study.grid import Training, expand, trainings
from study.scheduling import backlog as module
from study.scheduling.backlog import BAD_NODE, GIVE_UP, Backlog, Nodes
from study.scheduling.work import Ended, Work
from study.store import Store
from study.store.leases import Leases

DONE, BUG = Ended("done"), Ended("failed", "bug", "KeyError: 'x'")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts."""
    monkeypatch.setattr(module, "BACK_OFF", 0.0)
    monkeypatch.setattr(module, "POLL", 0.0)


def pending(count: int) -> tuple[Training, ...]:
    study = study_from(
        tiny(grid={"epochs": [1], "seed": list(range(count))}), folder=Path(), source="test"
    )
    return trainings(expand(study))


def named(names: str) -> Nodes:
    """Computers of one processor, a letter each."""
    return {name: {"cpus": 1.0, "gpus": 0.0} for name in names}


def finish(backlog: Backlog, task: Work, node: str = "a") -> None:
    """Store rows, as a worker does, and say so."""
    for cell in task.training.cells:
        backlog.store.write(cell.key, [{"cell": cell.key, "epoch": 0}])
    backlog.ended(task.training.key, DONE, node)


def drain(backlog: Backlog, node_of: dict[str, str], bad: set[str]) -> list[tuple[str, str]]:
    """Run everything; the trainings go to the nodes in turn.

    Avoided nodes get none; on bad ones all fail.
    """
    turns, ran = itertools.cycle(sorted(node_of)), []
    while (task := backlog.next()) is not None:
        node = next(n for n in turns if n not in backlog.avoided)
        ran.append((task.training.key, node))
        if node in bad:
            backlog.ended(task.training.key, BUG, node)
        else:
            finish(backlog, task, node)
    return ran


def test_every_training_is_handed_out_once(tmp_path: Path) -> None:
    groups = pending(3)
    backlog = Backlog(tmp_path, groups, "launch")
    tasks = [backlog.next() for _ in range(3)]
    assert [task.training.key for task in tasks if task] == [group.key for group in groups]
    assert backlog.next() is None
    assert not backlog.finished
    for task in tasks:
        assert task is not None
        finish(backlog, task)
    assert backlog.finished


def test_no_more_run_at_once_than_asked(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, pending(3), "launch", parallel=2)
    first = backlog.next()
    assert first and backlog.next() and backlog.next() is None
    finish(backlog, first)
    assert backlog.next() is not None


def test_what_another_launch_has_finished_is_dropped(tmp_path: Path) -> None:
    groups = pending(3)
    backlog = Backlog(tmp_path, groups, "launch")
    done, partly, failed = groups
    for cell in (*done.cells, partly.cells[0]):
        backlog.store.write(cell.key, [{"cell": cell.key, "epoch": 0}])
    for cell in failed.cells:
        backlog.store.fail(cell.key, {"cause": "bug", "message": "oops"})
    task = backlog.next()
    assert task is not None
    assert task.training.cells == partly.cells[1:]
    assert backlog.next() is None


def test_what_another_launch_works_on_is_left_to_it(tmp_path: Path) -> None:
    (group,) = pending(1)
    backlog = Backlog(tmp_path, [group], "launch")
    with Leases(Store(tmp_path).paths.leases).hold(group.key, "other"):
        assert backlog.next() is None
        assert not backlog.finished
    task = backlog.next()
    assert task is not None
    backlog.ended(group.key, Ended("busy"))
    assert backlog.next() is not None, "whoever lost the race for the lease asks again"


def test_a_lost_worker_is_tried_again_with_a_limit(tmp_path: Path) -> None:
    (group,) = pending(1)
    said: list[str] = []
    backlog = Backlog(tmp_path, [group], "launch", say=said.append)
    for _ in range(group.first.resources.retries + 1):
        assert backlog.next() is not None
        backlog.lost(group.key, "The actor died")
    assert backlog.next() is None
    assert backlog.finished
    assert [text.rpartition(" in ")[0].rpartition("; ")[2] for text in said] == [
        "attempt 2 of 3",
        "attempt 3 of 3",
    ]
    records = failures(tmp_path)
    assert set(records) == {cell.key for cell in group.cells}
    assert {(r["cause"], r["message"]) for r in records.values()} == {
        ("node_lost", "The actor died")
    }


def test_a_lost_worker_waits_before_its_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACK_OFF", 100.0)
    first, second = pending(2)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    backlog = Backlog(tmp_path, [first, second], "launch")
    assert backlog.next() and backlog.next()
    backlog.lost(first.key, "gone")
    for wait, attempt in ((100.0, 2), (200.0, 3)):
        now[0] += wait - 1
        assert backlog.next() is None
        now[0] += 2
        assert backlog.next() is not None, f"attempt {attempt}"
        backlog.lost(first.key, "gone")


def test_a_kill_for_memory_is_told_from_a_lost_node(tmp_path: Path) -> None:
    (group,) = pending(1)
    backlog = Backlog(tmp_path, [group], "launch")
    for _ in range(3):
        assert backlog.next() is not None
        backlog.lost(group.key, "killed", out_of_memory=True)
    assert {record["cause"] for record in failures(tmp_path).values()} == {"out_of_memory"}


@pytest.mark.parametrize("first", ["large", "small"])
def test_of_trainings_killed_together_the_largest_used_an_attempt(
    tmp_path: Path, first: str
) -> None:
    """A third one on another computer is larger, and has nothing to do with it."""
    large, small, far = pending(3)
    backlog = Backlog(tmp_path, [large, small, far], "launch")
    for _ in range(large.first.resources.retries + 1):
        while backlog.next() is not None:
            pass
        with ExitStack() as stack:
            for group, node, memory in ((large, "a", 6), (small, "a", 1), (far, "b", 9)):
                holding = stack.enter_context(backlog.leases.hold(group.key, "launch", node=node))
                assert holding is not None
                holding.lease.memory = memory
                (backlog.leases.paths.folder / f"{group.key}.json").write_text(
                    json.dumps(asdict(holding.lease))
                )
            for group in (large, small) if first == "large" else (small, large):
                backlog.lost(group.key, "low on memory", out_of_memory=True)
    assert {record["training"] for record in failures(tmp_path).values()} == {large.key}
    assert backlog.attempts[small.key] == 0


def test_memory_that_a_training_found_missing_is_tried_again(tmp_path: Path) -> None:
    (group,) = pending(1)
    backlog = Backlog(tmp_path, [group], "launch")
    assert backlog.next() is not None
    for cell in group.cells:
        backlog.store.fail(cell.key, {"cause": "out_of_memory", "message": "none"})
    backlog.ended(group.key, Ended("failed", "out_of_memory", "MemoryError: "), "a")
    assert failures(tmp_path) == {}
    assert backlog.next() is not None


def test_the_stacks_of_a_hang_become_its_record(tmp_path: Path) -> None:
    (group,) = pending(1)
    backlog = Backlog(tmp_path, [group], "launch")
    for _ in range(3):
        assert backlog.next() is not None
        folder = backlog.store.paths.training(group.key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hang.log").write_text("Timeout!\n  File x in wait")
        backlog.lost(group.key, "The actor died")
        assert not (folder / "hang.log").exists()
    for record in failures(tmp_path).values():
        assert record["cause"] == "timeout"
        assert "nothing moved for 30 minutes" in record["message"]
        assert "File x in wait" in record["message"]


def test_a_lost_worker_of_another_machine_leaves_no_lease_to_wait_for(tmp_path: Path) -> None:
    (group,) = pending(1)
    backlog = Backlog(tmp_path, [group], "launch")
    assert backlog.next() is not None
    leases = Store(tmp_path).paths.leases
    leases.mkdir(parents=True)
    lease = {
        "training": group.key,
        "owner": "w",
        "launch": "launch",
        "host": "far",
        "machine": "far",
        "node": "n",
        "pid": 1,
        "process_started": 1.0,
        "started": 0.0,
    }
    (leases / f"{group.key}.json").write_text(json.dumps(lease))
    backlog.lost(group.key, "its node went away")
    task = backlog.next()
    assert task is not None
    assert task.stale == "w"


def test_deterministic_errors_are_not_tried_again(tmp_path: Path) -> None:
    (group,) = pending(1)
    backlog = Backlog(tmp_path, [group], "launch")
    for cause in ("bug", "config", "data", "diverged", "disk_full"):
        backlog.waiting.append(group)
        assert backlog.next() is not None
        backlog.ended(group.key, Ended("failed", cause, "no"), "a")
        assert backlog.next() is None
        assert {record["cause"] for record in failures(tmp_path).values()} == {cause}, (
            "recorded where no worker could"
        )
        for cell in group.cells:
            backlog.store.forget_failure(cell.key)


def test_a_node_on_which_everything_fails_is_avoided(tmp_path: Path) -> None:
    said: list[str] = []
    groups = pending(12)
    backlog = Backlog(tmp_path, groups, "launch", nodes=lambda: named("abc"), say=said.append)
    ran = drain(backlog, {"a": "", "b": "", "c": ""}, bad={"b"})
    assert backlog.finished
    assert failures(tmp_path) == {}
    assert backlog.store.keys() == {cell.key for group in groups for cell in group.cells}
    assert sum(node == "b" for _, node in ran) == BAD_NODE
    assert backlog.avoided == ("b",)
    assert any("avoided" in text for text in said)


def test_trainings_that_fail_everywhere_clear_the_node(tmp_path: Path) -> None:
    groups = pending(BAD_NODE + 3)
    broken = {group.key for group in groups[:BAD_NODE]}
    backlog = Backlog(tmp_path, groups, "launch", nodes=lambda: named("ab"))
    while (task := backlog.next()) is not None:
        node = "b" if "a" in backlog.avoided else "a"
        if task.training.key in broken:
            backlog.ended(task.training.key, BUG, node)
        else:
            finish(backlog, task, node)
    assert set(failures(tmp_path)) == {
        cell.key for group in groups[:BAD_NODE] for cell in group.cells
    }
    assert backlog.avoided == ()


def test_the_only_node_is_never_avoided(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, pending(BAD_NODE + 1), "launch", nodes=lambda: named("a"))
    drain(backlog, {"a": ""}, bad={"a"})
    assert backlog.avoided == ()
    assert len(failures(tmp_path)) == (BAD_NODE + 1) * len(TINY["grid"]["precision"])


def test_many_failures_of_one_cause_end_the_launch(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, pending(GIVE_UP + 5), "launch")
    ran = drain(backlog, {"a": ""}, bad={"a"})
    assert len(ran) == GIVE_UP
    assert backlog.finished
    assert backlog.ending is not None
    assert "bug" in backlog.ending and "KeyError" in backlog.ending
    assert len(failures(tmp_path)) == 2 * GIVE_UP


def test_a_success_in_between_lets_the_launch_go_on(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, pending(3 * GIVE_UP), "launch")
    for number in itertools.count():
        if (task := backlog.next()) is None:
            break
        if number % GIVE_UP == 0:
            finish(backlog, task)
        else:
            backlog.ended(task.training.key, BUG, "a")
    assert backlog.ending is None
    assert backlog.finished


def test_a_corner_of_failures_does_not_hide_the_rest(tmp_path: Path) -> None:
    """The first half of the grid fails.

    After a few failures the backlog looks elsewhere, finds success and goes on.
    """
    groups = pending(4 * GIVE_UP)
    corner = {group.key for group in groups[: 2 * GIVE_UP]}
    backlog = Backlog(tmp_path, groups, "launch")
    while (task := backlog.next()) is not None:
        if task.training.key in corner:
            backlog.ended(task.training.key, Ended("failed", "diverged", "inf"), "a")
        else:
            finish(backlog, task)
    assert backlog.store.keys() == {
        cell.key for group in groups if group.key not in corner for cell in group.cells
    }


def test_a_scheduler_that_gives_up_does_not_end_the_launch(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, pending(2), "launch")
    for _ in range(GIVE_UP - 1):
        assert backlog.next() and backlog.next()
        backlog.abandoned("RuntimeError")
    tasks = [backlog.next(), backlog.next()]
    for task in tasks:
        assert task is not None
        finish(backlog, task)
    assert backlog.finished
    assert backlog.ending is None
    assert failures(tmp_path) == {}


def test_of_trainings_that_an_abort_took_along_the_killed_one_used_an_attempt(
    tmp_path: Path,
) -> None:
    killed, other = pending(2)
    backlog = Backlog(tmp_path, [killed, other], "launch")
    for _ in range(killed.first.resources.retries + 1):
        while backlog.next() is not None:
            pass
        with Leases(Store(tmp_path).paths.leases).hold(killed.key, "launch", waiting=77) as holding:
            assert holding is not None
            backlog.abandoned("low on memory", killed={77})
    assert {record["cause"] for record in failures(tmp_path).values()} == {"out_of_memory"}
    assert set(failures(tmp_path)) == {cell.key for cell in killed.cells}
    assert backlog.attempts[other.key] == 0


def test_a_scheduler_that_always_gives_up_does(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, pending(2), "launch")
    for _ in range(GIVE_UP):
        assert backlog.next() is not None
        backlog.abandoned("RuntimeError")
    assert backlog.finished
    assert "RuntimeError" in str(backlog.ending)


def test_after_a_stop_nothing_is_handed_out(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, pending(2), "launch")
    task = backlog.next()
    assert task is not None
    backlog.end("stopped")
    assert backlog.next() is None
    assert not backlog.finished
    backlog.ended(task.training.key, Ended("stopped"))
    assert backlog.finished


def test_a_failure_that_cannot_be_recorded_loses_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Store, key: str, record: object) -> None:
        raise OSError(28, "No space left on device")

    (training,) = pending(1)
    said: list[str] = []
    backlog = Backlog(tmp_path, [training], "launch", say=said.append)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "fail", full)
        task = backlog.next()
        assert task is not None
        backlog.ended(task.training.key, Ended("failed", "disk_full", "full"), "a")
    assert "its failure cannot be recorded" in said[0]
    again = backlog.next()
    assert again is not None and again.training.key == training.key
    finish(backlog, again)
    assert backlog.finished


def test_a_disk_that_does_not_answer_loses_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, key: str) -> bool:
        raise OSError(5, "Input/output error")

    backlog = Backlog(tmp_path, pending(1), "launch")
    with monkeypatch.context() as patch:
        patch.setattr(Leases, "busy", broken)
        with pytest.raises(OSError, match="Input/output"):
            backlog.next()
    assert not backlog.finished
    assert backlog.next() is not None
