"""One training from lease to stored rows: what a Ray worker and the serial path both call. Knows the disk, not Ray."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import traceback
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Literal

from study.config import COLUMN_KINDS
from study.data.base import DataError, Dataset
from study.grid import Training
from study.lease import Holding, LeaseLost, Leases
from study.provenance import hardware, now, versions
from study.store import RunPaths, Store, write_json

if TYPE_CHECKING:
    import torch

    from study.train import Checkpoint, Progress

Outcome = Literal["done", "failed", "busy", "stopped"]
Cause = Literal["config", "data", "diverged", "out_of_memory", "node_lost", "timeout", "disk_full", "bug"]
RETRIED: tuple[Cause, ...] = ("node_lost", "out_of_memory", "timeout")
"""Causes that another attempt may cure; all others are deterministic."""


class StopRequested(Exception):
    """The launch was asked to end: save, free the lease, return."""


class DataChanged(DataError):
    """The corpus is not the one that this run was measured on."""


@dataclass(frozen=True)
class Work:
    """A training to do in a run directory, for a launch."""

    training: Training
    run_dir: Path
    launch: str
    git_sha: str | None = None
    stale: str | None = None

    @property
    def stop_file(self) -> Path:
        """Exists once the launch was asked to end."""
        return stop_file(self.run_dir, self.launch)


def stop_file(run_dir: Path, launch: str) -> Path:
    """Where a launch leaves the request to end for its workers."""
    return RunPaths(run_dir).launches / f"{launch}.stop"


def work(task: Work) -> Outcome:
    """Train and measure what the cells of a training lack, and store their rows.

    A deterministic error becomes a failure record of the cells that it kept from their rows, and the outcome `failed`.
    """
    store = Store(task.run_dir)
    todo = task.training.only([cell.key for cell in task.training.cells if not store.has(cell.key)])
    if not todo.cells:
        return "done"
    with Leases(store.paths.leases).hold(todo.key, task.launch, stale=task.stale) as holding:
        if holding is None:
            return "busy"
        folder = store.paths.training(todo.key)
        folder.mkdir(parents=True, exist_ok=True)
        with (
            (folder / "console.log").open("a", encoding="utf-8", buffering=1) as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            print(f"--- {now()} launch {task.launch} on {socket.gethostname()}, process {os.getpid()}")
            try:
                return _Trial(task, todo, store, holding).run()
            except (StopRequested, LeaseLost) as stop:
                print(f"--- {now()} stopped: {str(stop) or 'the launch was asked to end'}")
                return "stopped"
            except Exception as error:
                traceback.print_exc()
                for cell in todo.cells:
                    record_failure(store, todo.key, cell.key, error, cause_of(error))
                return "failed"


def cause_of(error: BaseException) -> Cause:
    """The kind of an error, by its type."""
    import torch

    from study.models import ModelError
    from study.precision import PrecisionError
    from study.train import Diverged, TrainingError

    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, DataError):
        return "data"
    if isinstance(error, ModelError | PrecisionError | TrainingError):
        return "config"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno == 28:
        return "disk_full"
    return "bug"


def record_failure(store: Store, training: str, cell: str, error: BaseException | str, cause: Cause) -> None:
    """Record why a cell has no rows, with the traceback, the end of the log and what was measured before."""
    folder = store.paths.training(training)
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    trace = None if isinstance(error, str) else "".join(traceback.format_exception(error))
    log = folder / "console.log"
    tail = log.read_text(encoding="utf-8", errors="replace")[-4000:] if log.exists() else ""
    partial = Partial(folder)
    store.fail(
        cell,
        {
            "training": training,
            "cause": cause,
            "message": text,
            "traceback": trace,
            "host": socket.gethostname(),
            "failed_at": now(),
            "log": str(log),
            "log_tail": tail,
            "rows_measured_before": [row for epoch in partial.epochs() for row in partial.read(epoch).get(cell, [])],
        },
    )


class Partial:
    """Rows of the checkpoints measured so far, kept until the training's cells are complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "partial"

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05d}.json"

    def epochs(self) -> list[int]:
        """Epochs that have rows."""
        return sorted(int(path.stem.removeprefix("epoch-")) for path in self.folder.glob("epoch-*.json"))

    def read(self, epoch: int) -> dict[str, list[dict[str, Any]]]:
        """Rows by cell; empty for an epoch not measured, or whose file is damaged (it is then measured again)."""
        try:
            content = json.loads(self._path(epoch).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        rows: dict[str, list[dict[str, Any]]] = (
            content["rows"] if content.get("sha256") == _digest(content.get("rows")) else {}
        )
        return rows

    def write(self, epoch: int, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Add rows of some cells at an epoch."""
        merged = self.read(epoch) | rows
        write_json(self._path(epoch), {"sha256": _digest(merged), "rows": merged})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class _Trial:
    """The steps of `work`, under the lease."""

    def __init__(self, task: Work, training: Training, store: Store, holding: Holding) -> None:
        self.task, self.training, self.store, self.holding = task, training, store, holding
        self.folder = store.paths.training(training.key)
        self.partial = Partial(self.folder)
        self.first = training.first
        self.broken: dict[str, Exception] = {}

    def run(self) -> Outcome:
        import torch

        from study.data import load_data
        from study.metrics.table import METRICS

        started = now()
        self.report("loading data")
        threads = self.first.resources.cpus
        torch.set_num_threads(threads)
        with suppress(ImportError):
            import faiss

            faiss.omp_set_num_threads(threads)
        device = choose_device(self.first.resources.device)
        data = load_data(self.first.config.data, base=self.first.folder, cache=self.store.paths.cache)
        self.check_content(data)
        self.measure(self.checkpoints(data, device), data, device)
        volatile = {"device": device_name(device), "host": socket.gethostname(), "git_sha": self.task.git_sha}
        metadata = {name: asdict(metric) for name, metric in METRICS.items()}
        for cell in self.training.cells:
            if cell.key in self.broken:
                error = self.broken[cell.key]
                record_failure(self.store, self.training.key, cell.key, error, cause_of(error))
            else:
                rows = [row for epoch in self.partial.epochs() for row in self.partial.read(epoch).get(cell.key, [])]
                finished = {**volatile, "finished_at": now()}
                self.store.write(cell.key, [row | finished for row in rows], types=COLUMN_KINDS, metrics=metadata)
        self.write_provenance(started, device, data)
        self.clean()
        return "failed" if self.broken else "done"

    def report(self, doing: str, **progress: Any) -> None:
        """Publish progress; raises StopRequested once the launch was asked to end."""
        self.holding.report(doing=doing, **progress)
        if self.task.stop_file.exists():
            raise StopRequested

    def check_content(self, data: Dataset) -> None:
        """Refuse a corpus whose content changed since the run was begun."""
        source = self.first.config.data.model_dump_json()
        path = self.store.paths.root / "data" / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            write_json(
                path, {"settings": json.loads(source), "fingerprint": data.fingerprint, "facts": dict(data.facts)}
            )
            return
        known = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
        if known != data.fingerprint:
            raise DataChanged(
                f"the content of data.source changed since this run was begun (fingerprint {known[:12]} then, "
                f"{data.fingerprint[:12]} now): restore the corpus, or launch under another `name`"
            )

    def checkpoints(self, data: Dataset, device: torch.device) -> Iterator[Checkpoint]:
        """Kept checkpoints where all that is needed lies there, else those of the training itself."""
        from study.kept import kept_checkpoints
        from study.train import train

        needed = [epoch for epoch in self.training.epochs if not self.has_rows(epoch)]
        kept = kept_checkpoints(self.store.paths, self.training, needed, data, device)
        if kept is not None:
            yield from kept
            return
        measure = self.first.config.measure.model_copy(update={"at": list(self.training.epochs)})
        config = self.first.config.model_copy(update={"measure": measure})
        yield from train(
            config,
            data,
            device,
            folder=self.folder,
            base=self.first.folder,
            checkpoint_minutes=self.first.resources.checkpoint_minutes,
            beat=self.beat_training,
        )

    def has_rows(self, epoch: int) -> bool:
        rows = self.partial.read(epoch)
        return all(cell.key in rows for cell in self.training.cells if epoch in Training("", (cell,)).epochs)

    def measure(self, checkpoints: Iterable[Checkpoint], data: Dataset, device: torch.device) -> None:
        """Measure each checkpoint, keep its rows (and its weights, if asked) before training goes on."""
        from study.kept import keep_checkpoint
        from study.trial import run_training

        results = run_training(
            self.training, checkpoints, data, device, measured=self.has_rows, beat=self.beat_measuring
        )
        for checkpoint, by_cell in results:
            rows = {}
            for key, found in by_cell.items():
                if isinstance(found, Exception):
                    self.broken[key] = found
                else:
                    rows[key] = found
            if rows:
                self.partial.write(checkpoint.epoch, rows)
            if self.first.keep == "all" or (self.first.keep == "last" and checkpoint.last):
                keep_checkpoint(self.store.paths, self.training.key, checkpoint)

    def beat_training(self, progress: Progress) -> None:
        self.report("training", **asdict(progress))

    def beat_measuring(self, doing: str, share: float) -> None:
        self.report(f"measuring: {doing}", share=share)

    def write_provenance(self, started: str, device: torch.device, data: Dataset) -> None:
        """Where this training's numbers come from; the launch's own record holds the command and the code."""
        write_json(
            self.folder / "provenance.json",
            {
                "training": self.training.key,
                "cells": [cell.key for cell in self.training.cells],
                "config": self.first.config.model_dump(mode="json"),
                "launch": self.task.launch,
                "git_sha": self.task.git_sha,
                "data_fingerprint": data.fingerprint,
                "device": device_name(device),
                "threads": self.first.resources.cpus,
                "started_at": started,
                "finished_at": now(),
                "versions": versions(),
                "hardware": hardware(),
            },
        )

    def clean(self) -> None:
        """Delete what only an unfinished training needs."""
        rmtree(self.partial.folder, ignore_errors=True)
        for path in self.folder.glob("state-*"):
            path.unlink()


def choose_device(wanted: str) -> torch.device:
    """`auto`: a CUDA device where there is one, else the CPU. Raises ModelError for a device that is not there."""
    import torch

    from study.models import ModelError

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("resources.device is cuda, but this machine has no CUDA device: use auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
