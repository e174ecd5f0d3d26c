"""How far a run is, and the estimate of the time left."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tiny_study import tiny, write_study

from study.config import load_study
from study.data import Estimate
from study.grid import Training, plan, trainings
from study.grid import expand as cells_of
from study.launching import progress
from study.launching.progress import Effort, Watch, headline
from study.scheduling.failure import record_failure
from study.store import Store
from study.store.leases import Holding, Leases


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def groups(tmp_path: Path) -> tuple[Training, ...]:
    """Two trainings of one cell each, of which the second will take three times the first."""
    grid = {"epochs": [1, 2], "precision": ["fp32"], "seed": [0], "width": [16], "depth": [1]}
    return trainings(cells_of(load_study(write_study(tmp_path, tiny(grid=grid)))))


def watch(run: Path, groups: tuple[Training, ...]) -> Watch:
    cells = tuple(cell for training in groups for cell in training.cells)
    takes = (Effort(1.0, 0.0), Effort(3.0, 0.0))
    return Watch(run, cells, dict(zip((t.key for t in groups), takes, strict=True)))


def test_time_is_counted_from_the_first_training_and_by_weight(
    tmp_path: Path, groups: tuple[Training, ...], clock: Clock
) -> None:
    """The time before a training runs does not count.

    Ten minutes pass; a quarter of the work then takes 20 s, so the rest takes 60 s.
    """
    run = tmp_path / "run"
    watching = watch(run, groups)
    clock.now += 600
    assert watching.seconds_left(watching.look()) is None
    with Leases(run / "leases").hold(groups[0].key, "launch"):
        watching.look()
    clock.now += 20
    Store(run).write(groups[0].cells[0].key, [{"cell": groups[0].cells[0].key}])
    now = watching.look()
    assert (now.done, now.left, now.share) == (1, 1, 0.25)
    assert watching.seconds_left(now) == pytest.approx(60)
    assert headline(now, watching.seconds_left(now)).endswith("about 1 min 00 s left")


def publish(watching: Watch, holding: Holding, step: int) -> None:
    """Report a step of 100 and wait until others can read it."""
    holding.report(step=step, steps=100)
    deadline = time.monotonic() + 10
    while (lease := watching.leases.get(holding.lease.training)) is None or lease.progress.get(
        "step"
    ) != step:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_steps_of_running_trainings_count_once_they_are_enough(
    tmp_path: Path, groups: tuple[Training, ...], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second training is 3/4 of the work.

    1 of 100 of its steps is less than a hundredth, 20 are 15 hundredths.
    """
    monkeypatch.setattr("study.store.leases.BEAT", 0.02)
    run = tmp_path / "run"
    watching = watch(run, groups)
    with Leases(run / "leases").hold(groups[1].key, "launch") as holding:
        assert holding is not None
        watching.look()
        clock.now += 30
        publish(watching, holding, 1)
        now = watching.look()
        assert now.share == pytest.approx(0.0075)
        assert watching.seconds_left(now) is None
        assert "left" not in headline(now, None)
        publish(watching, holding, 20)
        now = watching.look()
    assert watching.seconds_left(now) == pytest.approx(29.99 * 0.85 / 0.15)


def test_failed_cells_are_work_that_is_done(
    tmp_path: Path, groups: tuple[Training, ...], clock: Clock
) -> None:
    run = tmp_path / "run"
    watching = watch(run, groups)
    clock.now += 10
    record_failure(Store(run), groups[1].key, groups[1].cells[0].key, "broke", "bug")
    now = watching.look()
    assert (now.failed, now.left, now.share) == (1, 1, 0.75)
    assert watching.seconds_left(now) == pytest.approx(10 / 3)


def test_measuring_counts_by_the_checkpoints_that_are_measured() -> None:
    """Of 10 s of steps and 30 s of measuring, half the steps and two of three checkpoints."""
    effort = Effort(10.0, 30.0)
    assert effort.total == 40
    assert effort.done({}) == 0
    assert effort.done({"step": 5, "steps": 10, "measured": 2, "checkpoints": 3}) == 25
    assert effort.done({"measured": 3, "checkpoints": 3}) == 30


def test_the_first_estimate_is_right_where_measuring_takes_longest(
    tmp_path: Path, groups: tuple[Training, ...], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps of a training are a tenth of its time; the rest is its last checkpoint."""
    monkeypatch.setattr("study.store.leases.BEAT", 0.02)
    run = tmp_path / "run"
    cells = tuple(cell for training in groups for cell in training.cells)
    watching = Watch(run, cells, {training.key: Effort(10.0, 90.0) for training in groups})
    with Leases(run / "leases").hold(groups[0].key, "launch") as holding:
        assert holding is not None
        watching.look()
        clock.now += 10
        publish(watching, holding, 100)
        now = watching.look()
    assert watching.seconds_left(now) == pytest.approx(9.99 * 19)


def test_untrained_models_are_priced_once(tmp_path: Path) -> None:
    """Epochs 0, 3 and 4 (the first and the last always), at two precisions, of two seeds.

    The trainings of a seed differ in their rate alone, so they begin with the same weights.
    """
    grid = {"epochs": [4], "precision": ["fp32", "int8"], "seed": [0, 1], "width": [16],
            "depth": [1], "train.lr": [0.01, 0.02]}  # fmt: skip
    study = tiny(grid=grid, measure={"at": [3]})
    size = Estimate(classes=3, input_shape=(18,), train_rows=18, train_samples=18, val_samples=18)
    planned = plan(cells_of(load_study(write_study(tmp_path, study))), size=lambda cell: size)
    costs = [planned.costs[training.key] for training in planned.pending]
    assert sorted(cost.measurements for cost in costs) == [4, 4, 6, 6]
    each = {cost.measuring_flops / cost.measurements for cost in costs if cost.measuring_flops}
    assert len(each) == 1
