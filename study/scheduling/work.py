"""One training from lease to stored rows.

A worker of Ray and a launch without Ray both call it. It knows the disk, not Ray.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from study.columns import metrics_among
from study.config import COLUMN_KINDS
from study.data.base import DataError, Dataset
from study.grid import Cell, Training
from study.scheduling.failure import HEADER, Cause, cause_of, record_failure
from study.scheduling.watchdog import Interrupter, Patience, Watchdog
from study.store import RunPaths, Store
from study.store.atomic import write_atomically, write_json
from study.store.known import Known
from study.store.leases import BEAT, Holding, LeaseLost, Leases
from study.store.outage import patient
from study.store.partial import Partial
from study.store.parts import damaged_file
from study.store.paths import CachePaths, TrainingPaths
from study.store.places import place
from study.store.provenance import hardware, now, versions
from study.store.sealed import seal
from study.store.workspace import Workspace, folder_for
from study.training.devices import choose_device, device_name, threads

if TYPE_CHECKING:
    import torch

    from study.training.train import Checkpoint, Progress


class StopRequested(Exception):
    """The launch was asked to end: save, free the lease, return."""


class DataChanged(DataError):
    """The corpus is not the one that this run was measured on."""


@dataclass(frozen=True)
class Work:
    """A training to do in a run directory, for a launch.

    training  the cells to measure
    run_dir   the run
    launch    name of the launch
    git_sha   commit of the code, for rows
    stale     an owner of the training's lease who is known to be gone
    node      the scheduler's name of the computer where this is done
    waiting   number of the scheduler's process that waits for the end
    folder    of this computer, in which to write what goes to object storage
    """

    training: Training
    run_dir: Path
    launch: str
    git_sha: str | None = None
    stale: str | None = None
    node: str = ""
    waiting: int | None = None
    folder: Path | None = None

    def to_json(self) -> str:
        """One line of text."""
        training = {
            "key": self.training.key,
            "cells": [cell.to_json() for cell in self.training.cells],
        }
        where = {
            "run_dir": str(self.run_dir.resolve()),
            "node": self.node,
            "waiting": self.waiting,
            "folder": None if self.folder is None else str(self.folder),
        }
        return json.dumps(
            {
                **training,
                **where,
                "launch": self.launch,
                "git_sha": self.git_sha,
                "stale": self.stale,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Work:
        """What `to_json` wrote."""
        value = json.loads(text)
        training = Training(
            value.pop("key"), tuple(Cell.from_json(cell) for cell in value.pop("cells"))
        )
        run_dir, folder = value.pop("run_dir"), value.pop("folder")
        return cls(
            training, place(run_dir), folder=None if folder is None else Path(folder), **value
        )

    @property
    def home(self) -> Path:
        """The folder of the training in its run."""
        return RunPaths(self.run_dir).training(self.training.key)

    @property
    def stop_file(self) -> Path:
        """Exists once the launch was asked to end."""
        return RunPaths(self.run_dir).stop_launch(self.launch)


@dataclass(frozen=True)
class Ended:
    """How work ended.

    `done` if rows were stored, `failed` if none could be, `busy` where another process does it,
    `stopped` on request, `lost` where its process ended without a word.
    """

    outcome: Literal["done", "failed", "busy", "stopped", "lost"]
    cause: Cause | None = None
    message: str = ""


def work(task: Work, *, own_process: bool = False) -> Ended:
    """Train and measure what the cells of a training lack, and store their rows.

    An error becomes a failure record of the cells that lack rows because of it, and the outcome
    `failed`; none is raised.

    Args:
        task: what to do.
        own_process: this process is there for the task alone. All that it prints, from libraries
            too, goes to the log of the training, and a watchdog ends it when it hangs. Any other
            process is interrupted where it hangs, and must call this in its main thread.
    """
    try:
        with patient(print), ExitStack() as stack:
            folder = task.folder or stack.enter_context(folder_for(task.home))
            return _under_lease(task, Workspace(task.home, folder), own_process)
    except Exception as error:  # where no log could be opened, or not be closed
        trace = "".join(traceback.format_exception(error))
        return Ended("failed", cause_of(error), f"{type(error).__name__}: {error}\n{trace}")


def _under_lease(task: Work, space: Workspace, own_process: bool) -> Ended:
    store = Store(task.run_dir)
    if task.stop_file.is_file():
        return Ended("stopped")
    lease = Leases(store.paths.leases).hold(
        task.training.key, task.launch, node=task.node, waiting=task.waiting, stale=task.stale
    )
    with lease as holding:
        if holding is None:
            return Ended("busy")
        # Looked at under the lease, as whoever had it before may have stored them.
        todo = task.training.only(store.missing(cell.key for cell in task.training.cells))
        if not todo.cells:
            return Ended("done")
        space.fetch()
        with _published(space, holding), ExitStack() as stack:
            path = TrainingPaths(space.folder).console_log
            log = stack.enter_context(path.open("a", encoding="utf-8", buffering=1))
            stack.enter_context(_logging(log, all_of_process=own_process))
            seconds = 60 * todo.first.resources.hang_minutes
            watchdog = stack.enter_context(
                Watchdog(space.folder, seconds) if own_process else Interrupter(seconds)
            )
            print(
                f"{HEADER}{now()} launch {task.launch} on {socket.gethostname()}, "
                f"process {os.getpid()}"
            )
            try:
                return _Attempt(task, todo, store, space, holding, watchdog).run()
            except StopRequested:
                print(f"{HEADER}{now()} stopped: the launch was asked to end")
                return Ended("stopped")
            except LeaseLost as lost:
                print(f"{HEADER}{now()} stopped: {lost}")
                return Ended("busy")
            except Exception as error:
                traceback.print_exc()
                sys.stderr.flush()
                return _failed(store, todo, space, error)


@contextmanager
def _published(space: Workspace, holding: Holding) -> Iterator[None]:
    """Within, a training writes; at the end its last words are published.

    Not where another has its lease by then. Storage that fails then takes nothing from how the
    training ended.
    """
    try:
        yield
    finally:
        with suppress(OSError, LeaseLost):
            holding.check()
            space.publish()


def _failed(store: Store, training: Training, space: Workspace, error: Exception) -> Ended:
    """Record the error for all cells of the training.

    A disk may be too full for the records: whoever waits for the result writes them then.
    """
    cause = cause_of(error)
    with suppress(OSError):
        space.publish()  # the record holds the end of the log
        for cell in training.cells:
            record_failure(store, training.key, cell.key, error, cause)
    return Ended("failed", cause, f"{type(error).__name__}: {error}")


@contextmanager
def _logging(log: TextIO, *, all_of_process: bool) -> Iterator[None]:
    """Send what is printed to a log.

    `all_of_process`: also what libraries print past Python.
    """
    with ExitStack() as stack:
        if all_of_process:
            for number in (1, 2):
                stack.callback(os.close, before := os.dup(number))
                stack.callback(os.dup2, before, number)
                os.dup2(log.fileno(), number)
        stack.callback(sys.stdout.flush)
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        yield


class _Attempt:
    """The steps of `work`, under the lease."""

    def __init__(
        self,
        task: Work,
        training: Training,
        store: Store,
        space: Workspace,
        holding: Holding,
        watchdog: Patience,
    ) -> None:
        self.task, self.training, self.store, self.space = task, training, store, space
        self.holding, self.watchdog = holding, watchdog
        self.partial = Partial(space.home)
        self.looked = -math.inf
        self.first = training.first
        self.broken: dict[str, Exception] = {}
        self.done: dict[str, Any] = {"measured": 0, "checkpoints": len(training.epochs)}

    def run(self) -> Ended:
        """Measure all checkpoints, then store the rows of all cells."""
        from study.measuring.data import data_of

        started = now()
        self.report("loading data", silent=True)
        with threads(self.first.resources.cpus):
            device = choose_device(self.first.resources.device)
            data = data_of(self.training, self.store.paths.cache)
            self.check_content(data)
            self.measure(self.checkpoints(data, device), data, device)
            if self.unmeasured():
                # A cell joined a training under way, or rows or states were damaged.
                self.delete_states()
                self.measure(self.checkpoints(data, device), data, device)
        self.write_provenance(started, device, data)
        self.store_rows(device)
        for key, error in self.broken.items():
            record_failure(self.store, self.training.key, key, error, cause_of(error))
        self.partial.delete()
        self.delete_states()
        if len(self.broken) == len(self.training.cells):
            error = next(iter(self.broken.values()))
            return Ended("failed", cause_of(error), str(error))
        return Ended("done")

    def report(self, doing: str, *, silent: bool = False, **progress: Any) -> None:
        """Publish progress.

        Raises StopRequested once the launch, or this training alone, was asked to end.
        """
        self.watchdog.moved(silent=silent)
        self.holding.report(doing=doing, **progress)
        if self.space.apart and time.monotonic() - self.looked < BEAT:
            return  # each look is a request
        self.looked = time.monotonic()
        if self.task.stop_file.is_file() or self.store.paths.stop(self.training.key).is_file():
            raise StopRequested

    def publish(self) -> None:
        """Bring a state that was written, with the logs, to the run.

        Raises LeaseLost where another works on the training by now.
        """
        self.holding.check()
        self.space.publish()

    def check_content(self, data: Dataset) -> None:
        """Refuse a corpus whose content changed since the run was begun.

        Otherwise print and record what is known of it.
        """
        source = self.first.config.data.model_dump_json()
        settings = hashlib.sha256(source.encode()).hexdigest()[:16]
        path, classes = self.store.paths.data(settings), self.store.paths.data_classes(settings)
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            known = {}
        now_there = {
            "settings": json.loads(source),
            "fingerprint": data.fingerprint,
            "facts": dict(data.facts),
        }
        if known.get("sha256") != _digest(
            {name: value for name, value in known.items() if name != "sha256"}
        ):
            write_json(path, now_there | {"sha256": _digest(now_there)})
        elif known["fingerprint"] != data.fingerprint:
            raise DataChanged(
                "the content of data.source changed since this run was begun "
                f"(fingerprint {known['fingerprint'][:12]} then, {data.fingerprint[:12]} now): "
                "restore the corpus, or launch under another `name`"
            )
        if data.class_names and damaged_file(classes):
            counted = enumerate(zip(data.class_names, data.class_counts.tolist(), strict=True))
            rows = [
                {"class": number, "name": name, "samples": samples}
                for number, (name, samples) in counted
            ]
            write_atomically(classes, seal(rows, {"name": str}, {}))
        print("data: " + ", ".join(f"{name} {value}" for name, value in data.facts.items()))

    def checkpoints(self, data: Dataset, device: torch.device) -> Iterator[Checkpoint]:
        """Kept checkpoints where all that are needed are whole, else those of training."""
        from study.training.checkpoints import kept_checkpoints
        from study.training.train import train

        earlier = kept_checkpoints(self.store.paths, self.training, self.unmeasured(), device)
        if earlier is not None:
            yield from earlier
            return
        epochs = list(self.training.epochs)
        when = {"at": epochs, "initial": "once" if 0 in epochs else "never"}
        measure = self.first.config.measure.model_copy(update=when)
        config = self.first.config.model_copy(update={"measure": measure})
        yield from train(
            config,
            data,
            device,
            folder=self.space.folder,
            saved=self.publish,
            base=self.first.folder,
            checkpoint_minutes=self.first.resources.checkpoint_minutes,
            beat=self.beat_training,
        )

    def unmeasured(self) -> list[int]:
        """Epochs of which a cell lacks its rows."""
        return [epoch for epoch in self.training.epochs if not self.has_rows(epoch)]

    def has_rows(self, epoch: int) -> bool:
        """Whether every cell that asks for an epoch has its rows.

        Cells that could not be measured do not count.
        """
        rows = self.partial.read(epoch)
        sound = [cell for cell in self.training.cells if cell.key not in self.broken]
        return all(cell.key in rows for cell in sound if epoch in Training("", (cell,)).epochs)

    def measure(
        self, checkpoints: Iterable[Checkpoint], data: Dataset, device: torch.device
    ) -> None:
        """Measure each checkpoint and write its rows before training goes on.

        Its weights are kept where the study says so.
        """
        from study.measuring.checkpoint import run_training
        from study.training.checkpoints import keep_checkpoint

        results = run_training(
            self.training,
            checkpoints,
            data,
            device,
            measured=self.has_rows,
            known=Known(CachePaths(self.store.paths.cache).measured),
            beat=self.beat_measuring,
        )
        for checkpoint, by_cell in results:
            if self.first.keep == "all" or (self.first.keep == "last" and checkpoint.last):
                keep_checkpoint(self.store.paths, self.training.key, checkpoint)
            rows = {
                key: result for key, result in by_cell.items() if not isinstance(result, Exception)
            }
            self.broken |= {
                key: result for key, result in by_cell.items() if isinstance(result, Exception)
            }
            if rows:
                self.partial.write(checkpoint.epoch, rows)
            self.done["measured"] = sum(e <= checkpoint.epoch for e in self.training.epochs)
            if len(self.broken) == len(self.training.cells):
                return

    def store_rows(self, device: torch.device) -> None:
        """Write the rows of every cell that could be measured."""
        from study.measuring.forgetting import with_forgetting

        volatile = {
            "device": device_name(device),
            "host": socket.gethostname(),
            "git_sha": self.task.git_sha,
        }
        cells = {}
        for cell in self.training.cells:
            if cell.key not in self.broken:
                epochs = Training("", (cell,)).epochs
                rows = [
                    row | volatile | {"finished_at": now()}
                    for e in epochs
                    for row in self.partial.read(e)[cell.key]
                ]
                cells[cell.key] = with_forgetting(rows, cell.config.train.phases)
        metrics = metrics_among(name for rows in cells.values() for row in rows for name in row)
        metadata = {name: asdict(metric) for name, metric in metrics.items()}
        self.store.write_all(cells, types=COLUMN_KINDS, metrics=metadata)

    def beat_training(self, progress: Progress) -> None:
        """Called by the training loop."""
        self.done |= {"step": progress.step, "steps": progress.steps}
        self.report("training", **self.done | asdict(progress))

    def beat_measuring(self, doing: str, share: float) -> None:
        """Called while a checkpoint is measured."""
        self.report(f"measuring: {doing}", **self.done, share=share)

    def write_provenance(self, started: str, device: torch.device, data: Dataset) -> None:
        """Record where this training's numbers come from, pass by pass.

        A launch's own record holds its command and code.
        """
        path = self.store.paths.provenance(self.training.key)
        try:
            passes = json.loads(path.read_text(encoding="utf-8"))["passes"]
        except (FileNotFoundError, ValueError, KeyError):
            passes = []
        this = {
            "cells": [cell.key for cell in self.training.cells],
            "launch": self.task.launch,
            "git_sha": self.task.git_sha,
            "device": device_name(device),
            "threads": self.first.resources.cpus,
            "started_at": started,
            "finished_at": now(),
            "versions": versions(),
            "hardware": hardware(),
        }
        record = {
            "training": self.training.key,
            "config": self.first.config.model_dump(mode="json"),
            "data_fingerprint": data.fingerprint,
            "passes": [*passes, this],
        }
        write_json(path, record)

    def delete_states(self) -> None:
        """Let the training begin anew, should it be needed."""
        for path in TrainingPaths(self.space.folder).states():
            path.unlink()
        self.space.publish()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
