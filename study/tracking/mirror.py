"""Hands what a run gains on to one tracker, and remembers how far it has come.

What is remembered lies in `FOLDER/logged/KEY.json`, written after the tracker took the values: a
process that is killed, or a later launch, goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from study.store import Store
from study.store.atomic import write_json
from study.store.leases import Leases
from study.store.partial import Partial
from study.tracking.base import Point, Run, Status, Subject, Tracker
from study.tracking.curves import Row, Tail, loss_points, row_points


@dataclass(frozen=True)
class Training:
    """A training to follow.

    `cells`: what the curves of each cell are called, by its key.
    """

    subject: Subject
    cells: Mapping[str, str]

    @classmethod
    def from_json(cls, text: str) -> Training:
        """What `to_json` wrote."""
        value = json.loads(text)
        return cls(Subject(**value["subject"]), value["cells"])

    def to_json(self) -> str:
        """One line of text."""
        return json.dumps({"subject": asdict(self.subject), "cells": dict(self.cells)})


@dataclass
class Logged:
    """How far a training is logged.

    place   where the tracker logs to
    run     id of its run there
    step    last optimizer step whose loss is logged
    epochs  last epoch whose rows are logged, by cell
    stored  cells whose rows are logged as they are stored
    status  how the training ended; '' while it has not
    """

    place: str
    run: str | None = None
    step: int = 0
    epochs: dict[str, int] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    status: str = ""


@dataclass(frozen=True)
class _Now:
    """Keys of cells with rows, of cells that failed, and of trainings that run."""

    done: Collection[str]
    failed: Collection[str]
    running: Collection[str]


class Mirror:
    """Follows trainings of a run for a tracker."""

    def __init__(self, run_dir: Path, folder: Path, tracker: Tracker) -> None:
        self.store, self.folder, self.tracker = Store(run_dir), folder, tracker
        self.leases = Leases(self.store.paths.leases)
        self.trainings: dict[str, Training] = {}
        self.runs: dict[str, Run] = {}
        self.tails: dict[str, Tail] = {}
        self.logged: dict[str, Logged] = {}

    def look(self, *, last: bool, beat: Callable[[], None]) -> None:
        """Log what is new; `last`: what has not ended now was stopped.

        `beat` is called after each piece. Raises what the tracker or the disk raises; the next look
        then begins where this one came to.
        """
        running = {path.stem for path in self.leases.paths.leases()}
        done = self.store.keys()  # after the leases: what ended between is looked at next time
        now = _Now(done, self.store.failed(done=done), running)
        for key, training in self.trainings.items():
            try:
                self._follow(training, now, last, beat)
            except Exception:
                self.runs.pop(key, None)  # it is opened again from what was noted
                self.tails.pop(key, None)
                raise

    def _follow(self, training: Training, now: _Now, last: bool, beat: Callable[[], None]) -> None:
        key, logged = training.subject.key, self._record(training.subject.key)
        status, cause = self._status(training, now)
        stored = [cell for cell in training.cells if cell in now.done]
        if logged.status == status and set(stored) <= set(logged.stored):
            return  # nothing has come since
        if key not in self.runs and status is None and key not in now.running:
            return  # it waits for its turn
        if key not in self.runs:
            self.runs[key] = self.tracker.start(training.subject, logged.run)
            logged.run, logged.status = self.runs[key].id, ""
            self._note(key)
        run = self.runs[key]
        tail = self.tails.setdefault(key, Tail(self.store.paths.loss_log(key)))
        while rows := tail.read():
            if points := loss_points(rows, logged.step):
                run.log(points)
                logged.step = points[-1][0]
                self._note(key)
            beat()
        self._log_rows(training, run, stored, beat)
        if status is None and last:
            status, cause = "stopped", "the launch ended before the training did"
        if status is not None:
            run.finish(status, cause)
            logged.status = status
            self._note(key)
            del self.runs[key], self.tails[key]

    def _log_rows(
        self, training: Training, run: Run, stored: list[str], beat: Callable[[], None]
    ) -> None:
        """Log rows of checkpoints: as they are stored, else as they are measured so far."""
        key, logged = training.subject.key, self._record(training.subject.key)
        for cell in stored:
            if cell not in logged.stored:
                self._log_cell(training, run, cell, self.store.rows(cell), at_end=True)
                logged.stored.append(cell)
                self._note(key)
                beat()
        open_cells = [cell for cell in training.cells if cell not in stored]
        partial = Partial(self.store.paths.training(key))
        for epoch in partial.epochs() if open_cells else ():
            if all(logged.epochs.get(cell, -1) >= epoch for cell in open_cells):
                continue
            by_cell = partial.read(epoch)
            for cell in open_cells:
                self._log_cell(training, run, cell, by_cell.get(cell, []), at_end=False)
            beat()

    def _log_cell(
        self, training: Training, run: Run, cell: str, rows: list[Row], *, at_end: bool
    ) -> None:
        key, logged = training.subject.key, self._record(training.subject.key)
        after = logged.epochs.get(cell, -1)
        points: list[Point] = row_points(training.cells[cell], rows, after, at_end=at_end)
        if points:
            run.log(sorted(points, key=lambda point: point[0]))
        if rows:
            logged.epochs[cell] = max(after, *(row["epoch"] for row in rows))
            self._note(key)

    def _status(self, training: Training, now: _Now) -> tuple[Status | None, str]:
        """How a training ended, and why; None where it has not."""
        failed = [cell for cell in training.cells if cell in now.failed]
        left = set(training.cells) - set(now.done) - set(failed)
        if training.subject.key in now.running or left:
            return None, ""
        if not failed:
            return "done", ""
        record = next((r for r in self.store.failures() if r["cell"] in failed), None)
        if record is None:  # it was forgotten just now: the training runs again
            return None, ""
        status: Status = "diverged" if record["cause"] == "diverged" else "failed"
        return status, f"{record['cause']}: {record.get('message', '')}"

    def _record(self, key: str) -> Logged:
        """How far a training is logged; anew where that was at another place."""
        if key not in self.logged:
            path, logged = self._path(key), Logged(self.tracker.place)
            if path.exists():
                try:
                    earlier = Logged(**json.loads(path.read_text(encoding="utf-8")))
                except (ValueError, TypeError) as error:
                    message = f"{path} is damaged: delete {self.folder} to log the run anew"
                    raise ValueError(message) from error
                logged = earlier if earlier.place == logged.place else logged
            self.logged[key] = logged
        return self.logged[key]

    def _note(self, key: str) -> None:
        write_json(self._path(key), asdict(self.logged[key]))

    def _path(self, key: str) -> Path:
        return self.folder / "logged" / f"{key}.json"
