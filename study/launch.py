"""`python -m study.launch GRID.yaml`: plan, schedule, resume. Runs what the store lacks and nothing else."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import yaml
from rich.console import Console
from rich.live import Live

from study.atomic import write_atomically
from study.config import StudyConfig, load_study, study_from
from study.dryrun import data_size, show_plan
from study.faults import Fault, StudyError
from study.grid import Plan, Training, expand, plan
from study.kept import has_checkpoints
from study.lease import Leases
from study.progress import Watch, headline, render
from study.provenance import launch_record, now
from study.store import RunPaths, Store, write_json
from study.worker import Work, record_failure, stop_file, work
from study.yamlfile import read_yaml

CHUNK = 500  # trainings given to Tune at a time: its driver's memory grows with them
WAIT = 2.0
STOP_PATIENCE = 30.0


class Stopped(BaseException):
    """The user asked the launch to end (Ctrl-C or SIGTERM)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 all done, 1 something failed and is recorded or the launch was stopped, 2 the request is wrong."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        study, run_dir = open_study(options.study, Path(options.runs))
    except StudyError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        return 2
    launch = Launch(study, run_dir, options, console)
    if options.dry_run:
        show_plan(launch.plan(), console, launch.paths.cache)
        return 0
    return launch.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.launch",
        description="Train and measure every cell of a study that has no rows yet.",
    )
    parser.add_argument("study", help="a study's YAML file, or the folder of a run to relaunch")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where runs lie (default: runs)")
    parser.add_argument("--dry-run", action="store_true", help="show what would run and what it costs; run nothing")
    parser.add_argument("--serial", action="store_true", help="run in this process, one training after another, no Ray")
    parser.add_argument("--address", metavar="ADDR", help="address of a Ray cluster (default: this computer alone)")
    parser.add_argument(
        "--retry-failed",
        nargs="?",
        const="all",
        metavar="CAUSE",
        help="run failed cells again: all, or those of one cause (see python -m study.status)",
    )
    return parser


def open_study(target: str, runs: Path) -> tuple[StudyConfig, Path]:
    """The study of a YAML file and its run directory, or those of a run directory. Raises StudyError."""
    path = Path(target)
    if not path.is_dir():
        study = load_study(path)
        return study, runs / study.name
    paths = RunPaths(path)
    if not paths.study.exists():
        fault = Fault("", "this folder holds no run (no study.yaml)", "Give a YAML file, or a folder below runs/")
        raise StudyError([fault], source=target)
    content = read_yaml(paths.study)
    folder = Path(str(content.pop("folder", ".")))
    return study_from(content, folder=folder, source=str(paths.study)), path


class Launch:
    """One launch of a study."""

    def __init__(self, study: StudyConfig, run_dir: Path, options: argparse.Namespace, console: Console) -> None:
        self.study, self.run_dir, self.options, self.console = study, run_dir, options, console
        self.store = Store(run_dir)
        self.paths = self.store.paths
        self.cells = expand(study)
        self.leases = Leases(self.paths.leases)
        self.name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{id(self) % 10_000:04d}"
        self.git_sha: str | None = None
        self.attempts: dict[str, int] = {}

    def plan(self) -> Plan:
        """What is left, with its cost where the size of the data is known."""
        return plan(
            self.cells,
            done=self.store.keys(),
            failed={path.stem for path in self.paths.failures.glob("[!.]*.json")},
            kept=lambda training: has_checkpoints(self.paths, training.key, training.epochs),
            size=lambda cell: data_size(cell, self.paths.cache),
        )

    def run(self) -> int:
        """Run what is left; returns the exit code."""
        for path in self.store.verify():
            self.console.print(f"[yellow]damaged[/] {path}: set aside, its cell runs again", soft_wrap=True)
        self._forget_failures()
        first = self.plan()
        if not first.pending:
            self.console.print(f"{len(first.done)} of {len(self.cells)} cells are done: nothing to run.")
            return self._summary()
        self._begin(first)
        try:
            self._schedule()
        except (Stopped, KeyboardInterrupt):
            self.console.print("\nStopped. What was finished is stored; this resumes:")
            self.console.print(f"  {self._command()}", soft_wrap=True, highlight=False)
            return 1
        finally:
            stop_file(self.run_dir, self.name).unlink(missing_ok=True)
        return self._summary()

    def _forget_failures(self) -> None:
        wanted = self.options.retry_failed
        if wanted is not None:
            for record in list(self.store.failures()):
                if wanted in ("all", record["cause"]):
                    self.store.forget_failure(record["cell"])

    def _begin(self, first: Plan) -> None:
        """Leave a run that describes itself."""
        record = launch_record()
        self.git_sha = record["git_sha"]
        content = {"folder": str(self.study.folder), **self.study.as_yaml()}
        text = "# The study as launched last; `python -m study.launch` of this folder runs what is missing.\n"
        write_atomically(self.paths.study, (text + yaml.safe_dump(content, sort_keys=False)).encode())
        write_json(self.paths.launches / f"{self.name}.json", record | {"cells": len(self.cells)})
        trained = len(first.pending) - len(first.measured_only)
        self.console.print(
            f"[bold]{self.study.name}[/]: {first.pending_cells} of {len(self.cells)} cells to run "
            f"({len(first.done)} done, {len(first.failed)} failed before): {trained} trainings, "
            f"{len(first.measured_only)} measured from kept checkpoints. Results: {self.run_dir}",
            soft_wrap=True,
        )

    def _schedule(self) -> None:
        """Give pending trainings to Ray (or run them here) until none is left that this launch can run."""
        if not self.options.serial:
            from study import sweep

            sweep.connect(self.options.address)
        try:
            with self._stoppable(), self._view():  # Ray sets signal handlers of its own when it starts: ours come after
                while pending := self.plan().pending:
                    free = [training for training in pending if not self.leases.busy(training.key)]
                    if free:
                        self._run_chunk(free[:CHUNK])
                    else:
                        time.sleep(WAIT)  # another launch works on all that is left
        finally:
            if not self.options.serial:
                sweep.disconnect()

    def _run_chunk(self, chunk: list[Training]) -> None:
        tasks = []
        for training in chunk:
            self.attempts[training.key] = self.attempts.get(training.key, 0) + 1
            stale = self.leases.stale_owner(training.key)
            tasks.append(Work(training, self.run_dir, self.name, self.git_sha, stale))
        if self.options.serial:
            for task in tasks:
                if work(task) == "stopped":
                    raise Stopped
            return
        from study import sweep

        try:
            sweep.run_trials(tasks, parallel=self.study.resources.parallel)
            lost = "its worker was lost again and again (killed, or its node went away)"
        except sweep.SweepError as error:
            lost = f"Ray ended the sweep: {error}"
        self._record_lost(chunk, lost)

    def _record_lost(self, chunk: list[Training], reason: str) -> None:
        """Record trainings whose workers went away more often than `resources.retries` allows."""
        done = self.store.keys()
        failed = {path.stem for path in self.paths.failures.glob("[!.]*.json")}
        for training in chunk:
            left = [cell for cell in training.cells if cell.key not in done | failed]
            if left and self.attempts[training.key] > training.first.resources.retries:
                for cell in left:
                    record_failure(self.store, training.key, cell.key, reason, "node_lost")

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask the workers to save and free their leases, then raise Stopped here."""
        asked = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            if asked.is_set():
                raise Stopped
            asked.set()
            self.console.print("\nStopping: asking the trainings to save (again to stop at once) ...")
            write_atomically(stop_file(self.run_dir, self.name), now().encode())
            if not self.options.serial:
                threading.Thread(target=self._interrupt_when_free, daemon=True).start()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except BaseException as error:  # Ray wraps what a handler raises below it
            if asked.is_set():
                raise Stopped from error
            raise
        else:
            if asked.is_set():
                raise Stopped
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt_when_free(self) -> None:
        deadline = time.monotonic() + STOP_PATIENCE
        while time.monotonic() < deadline:
            if not any(lease.launch == self.name and not lease.dead() for lease in self.leases.all()):
                break
            time.sleep(0.2)
        signal.raise_signal(signal.SIGINT)

    @contextmanager
    def _view(self) -> Iterator[None]:
        """A live table on a terminal, a line now and then elsewhere."""
        watch = Watch(self.run_dir, self.cells, self._weights())
        done = threading.Event()
        live = Live(console=self.console, refresh_per_second=2, transient=True) if self.console.is_terminal else None

        def look() -> None:
            said, at = "", time.monotonic() - 60
            while not done.wait(1.0):
                snapshot = watch.look()
                if live is not None:
                    live.update(render(watch, snapshot))
                    continue
                counts = f"{snapshot.done} {snapshot.failed}"
                if (counts != said and time.monotonic() - at > 5) or time.monotonic() - at > 60:
                    self.console.print(headline(snapshot, watch.seconds_left(snapshot)), highlight=False)
                    said, at = counts, time.monotonic()

        thread = threading.Thread(target=look, name="view", daemon=True)
        thread.start()
        try:
            if live is None:
                yield
            else:
                with live:
                    yield
        finally:
            done.set()
            thread.join()

    def _weights(self) -> dict[str, float]:
        costs = plan(self.cells, size=lambda cell: data_size(cell, self.paths.cache)).costs
        return {key: cost.flops for key, cost in costs.items() if cost.flops is not None}

    def _command(self) -> str:
        extra = " --serial" if self.options.serial else ""
        return f"python -m study.launch {self.run_dir}{extra}"

    def _summary(self) -> int:
        """Say how it ended and what to do next; the exit code."""
        failures = [record for record in self.store.failures() if record["cell"] in {c.key for c in self.cells}]
        if failures:
            causes = sorted({record["cause"] for record in failures})
            self.console.print(
                f"[red]{len(failures)} cells failed[/] ({', '.join(causes)}); "
                f"`python -m study.status {self.run_dir}` tells why, `--retry-failed` runs them again.",
                soft_wrap=True,
            )
        done = len(self.store.keys() & {cell.key for cell in self.cells})
        if done:
            self.console.print(
                f"{done} of {len(self.cells)} cells are in {self.paths.cells}. Next: python -m analysis {self.run_dir}",
                soft_wrap=True,
                highlight=False,
            )
        return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
