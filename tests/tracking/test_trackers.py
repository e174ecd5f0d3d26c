"""Trackers with their own libraries: what they show is what the run holds."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from followed_run import (
    CELLS,
    EVERY,
    FOLLOWED,
    SUBJECT,
    TRAINING,
    Curves,
    events,
    expected,
    losses,
    rounded,
    rows,
    write_run,
)

from study.store import Store
from study.store.partial import Partial
from study.tracking.mirror import Logged, Mirror, Training
from study.tracking.registry import tracker_class

ADDRESSES = ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "TRACKIO_DIR")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, in an environment that names no address."""
    for name in ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    return write_run(tmp_path / "digits")


def need(library: str) -> None:
    """Skip where a library is missing; its import would read the environment too early."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not in the extra dev")


def mirror_of(run: Path, name: str = "tensorboard") -> Mirror:
    """A mirror of the one training for a tracker in the folder of the run."""
    folder = run / "tracking" / name
    folder.mkdir(parents=True, exist_ok=True)
    mirror = Mirror(run, folder, tracker_class(name)(folder, "digits"))
    mirror.trainings[TRAINING] = FOLLOWED
    return mirror


def look(mirror: Mirror, *, last: bool = False) -> None:
    mirror.look(last=last, beat=lambda: None)


def logged(run: Path, name: str = "tensorboard") -> Logged:
    """What is remembered of the one training."""
    path = run / "tracking" / name / "logged" / f"{TRAINING}.json"
    return Logged(**json.loads(path.read_text()))


def begin_again(run: Path) -> None:
    """Let the training be under way: its cells have no rows, and it has a lease."""
    shutil.move(run / "cells", run / "aside")
    (run / "leases").mkdir()
    (run / "leases" / f"{TRAINING}.json").write_text("{}")


def end(run: Path) -> None:
    """Let the training be done."""
    shutil.move(run / "aside", run / "cells")
    (run / "leases" / f"{TRAINING}.json").unlink()


def text(run: Path, tag: str) -> str:
    """What TensorBoard shows as a text."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run / "tracking" / "tensorboard" / "a-name"))
    accumulator.Reload()
    (point,) = accumulator.Tensors(tag)
    return str(point.tensor_proto.string_val[0].decode())


def test_tensorboard_shows_every_loss_and_every_row(run: Path) -> None:
    look(mirror_of(run))
    assert events(run / "tracking" / "tensorboard" / "a-name") == rounded(expected())
    assert text(run, "status") == "done"
    assert "|lr|0.01|" in text(run, "settings")


def test_nothing_is_logged_twice(run: Path) -> None:
    look(mirror_of(run))
    folder = run / "tracking" / "tensorboard" / "a-name"
    written = {path: path.read_bytes() for path in folder.iterdir()}
    look(mirror_of(run), last=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == written


def test_a_process_that_takes_over_a_training_repeats_no_step(run: Path) -> None:
    log = Store(run).paths.loss_log(TRAINING)
    lines = log.read_bytes().splitlines(keepends=True)
    begin_again(run)
    partial = Partial(log.parent)
    log.write_bytes(b"".join(lines[: EVERY + 1]) + lines[EVERY + 1][:9])
    for epoch in (0, 1):
        measured = {CELLS[name]: [rows(name)[epoch]] for name in CELLS}
        partial.write(epoch, measured)
    look(mirror_of(run))
    assert (logged(run).step, set(logged(run).epochs.values())) == (EVERY + 1, {1})
    other = mirror_of(run)
    look(other)
    log.with_suffix(".new").write_bytes(b"".join(lines[:EVERY]))  # it resumes from its last state
    log.with_suffix(".new").replace(log)
    look(other)
    assert logged(run).step == EVERY + 1
    log.write_bytes(b"".join(lines))
    end(run)
    look(other)
    assert events(run / "tracking" / "tensorboard" / "a-name") == rounded(expected())
    assert (logged(run).status, logged(run).step) == ("done", len(losses()))


@pytest.mark.parametrize("noted", [False, True])
def test_what_was_written_without_a_note_is_not_written_again(run: Path, noted: bool) -> None:
    note = run / "tracking" / "tensorboard" / "logged" / f"{TRAINING}.json"
    look(mirror_of(run))
    if noted:
        early = Logged(logged(run).place, run="a-name", step=EVERY)
        note.write_text(json.dumps(asdict(early)))
    else:
        note.unlink()
    look(mirror_of(run))
    assert events(run / "tracking" / "tensorboard" / "a-name") == rounded(expected())


def test_a_training_that_is_stopped_goes_on_in_the_same_run(run: Path) -> None:
    begin_again(run)
    look(mirror_of(run), last=True)
    stopped = logged(run)
    assert (stopped.status, stopped.epochs) == ("stopped", {})
    (run / "leases" / f"{TRAINING}.json").rename(run / "lease")
    look(mirror_of(run))  # nobody works on it: nothing is begun
    assert logged(run) == stopped
    (run / "lease").rename(run / "leases" / f"{TRAINING}.json")
    end(run)
    look(mirror_of(run))
    assert (logged(run).run, logged(run).status) == (stopped.run, "done")
    assert events(run / "tracking" / "tensorboard" / "a-name") == rounded(expected())


@pytest.mark.parametrize("cause", ["diverged", "out_of_memory"])
def test_an_end_without_rows_is_told_with_its_cause(run: Path, cause: str) -> None:
    shutil.rmtree(run / "cells")
    for cell in CELLS.values():
        Store(run).fail(cell, {"cause": cause, "message": "the loss of step 3 is nan"})
    look(mirror_of(run))
    status = "diverged" if cause == "diverged" else "failed"
    assert logged(run).status == status
    assert text(run, "status") == f"{status}: {cause}: the loss of step 3 is nan"


def test_a_cell_that_joins_later_is_logged_in_the_same_run(run: Path) -> None:
    mirror = mirror_of(run)
    first = Training(SUBJECT, {CELLS["fp32"]: "fp32"})
    mirror.trainings[TRAINING] = first
    look(mirror)
    folder = run / "tracking" / "tensorboard" / "a-name"
    assert {name.partition("/")[0] for name in events(folder)} == {"train", "fp32"}
    look(mirror_of(run))
    assert events(folder) == rounded(expected())


def test_a_tracker_that_fails_in_the_middle_gets_the_rest_at_the_next_look(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_of(run)
    from study.tracking.tensorboard import _Events

    real, calls = _Events.log, []

    def failing(self: _Events, points: list[tuple[int, dict[str, float]]]) -> None:
        calls.append(points)
        if len(calls) == 2:
            raise RuntimeError("no room")
        real(self, points)

    monkeypatch.setattr(_Events, "log", failing)
    with pytest.raises(RuntimeError, match="no room"):
        look(mirror)
    assert logged(run).step == len(losses())
    look(mirror)
    assert events(run / "tracking" / "tensorboard" / "a-name") == rounded(expected())


def test_another_place_gets_everything_anew(run: Path) -> None:
    look(mirror_of(run))
    shutil.move(run / "tracking" / "tensorboard" / "a-name", run / "aside")
    mirror = mirror_of(run)
    mirror.tracker.place = "elsewhere"
    look(mirror)
    assert logged(run).place == "elsewhere"
    assert events(run / "tracking" / "tensorboard" / "a-name") == rounded(expected())


def test_a_damaged_note_says_what_to_do(run: Path) -> None:
    look(mirror_of(run))
    (run / "tracking" / "tensorboard" / "logged" / f"{TRAINING}.json").write_text("{")
    with pytest.raises(ValueError, match=r"damaged: delete .*tensorboard to log the run anew"):
        look(mirror_of(run))


def test_a_training_is_the_same_as_a_line_of_text() -> None:
    assert Training.from_json(FOLLOWED.to_json()) == FOLLOWED
    assert "\n" not in FOLLOWED.to_json()
    assert asdict(Logged("here"))["step"] == 0


def test_mlflow_holds_every_loss_and_every_row_exactly(run: Path) -> None:
    need("mlflow")
    begin_again(run)
    look(mirror_of(run, "mlflow"), last=True)
    end(run)
    look(mirror_of(run, "mlflow"))
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'tracking' / 'mlflow' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'digits'")
    (shown,) = client.search_runs([experiment.experiment_id])
    assert (shown.info.run_name, shown.info.status) == ("a name", "FINISHED")
    assert shown.data.params == {"width": "16", "lr": "0.01", "source": "digits"}
    curves: Curves = {}
    for name in shown.data.metrics:
        history = client.get_metric_history(shown.info.run_id, name)
        curves[name] = {metric.step: metric.value for metric in history}
        assert len(history) == len(curves[name])
    assert curves == expected()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_wandb_writes_every_value_exactly_to_an_offline_run(run: Path) -> None:
    need("wandb")
    look(mirror_of(run, "wandb"))
    (path,) = (run / "tracking" / "wandb").rglob("*.wandb")
    assert path.parent.name.startswith("offline-run-")
    assert path.name == f"run-{TRAINING}.wandb"
    content = path.read_bytes()
    for name, points in expected().items():
        for value in points.values():
            # A record holds the name and the value as JSON, each behind its length.
            spelled = str(int(value) if value.is_integer() else value).encode()
            whole = repr(value).encode()
            pairs = [
                _field(b"\x12", name.encode()) + _field(b"\x82\x01", v) for v in (spelled, whole)
            ]
            assert any(pair in content for pair in pairs), (name, value)


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + bytes([len(content)]) + content


def test_trackio_keeps_every_value_exactly(run: Path) -> None:
    need("trackio")
    look(mirror_of(run, "trackio"))
    content = sqlite3.connect(run / "tracking" / "trackio" / "digits.db")
    curves: Curves = {}
    for step, values in content.execute("SELECT step, metrics FROM metrics"):
        for name, value in json.loads(values).items():
            curves.setdefault(name, {})[step] = value
    assert curves == expected()
