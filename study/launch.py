"""`python -m study.launch GRID.yaml`: plan, schedule, resume. Runs what the store lacks and nothing else."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import yaml
from rich.console import Console

from study.config import COLUMN_KINDS, StudyConfig, load_study, study_from
from study.grid import Plan, expand, measurements, plan, trainings
from study.launching.plan_report import data_size, show_plan
from study.launching.progress import Watch
from study.launching.speed import calibrate
from study.launching.view import view
from study.scheduling.backlog import Backlog
from study.scheduling.leftovers import forget_dead_launches, scratch
from study.scheduling.ray_environment import prepare_environment
from study.scheduling.stopping import Stopped, Stopping
from study.scheduling.work import stop_file, work
from study.settings.faults import Fault, StudyError
from study.settings.yaml_files import read_yaml
from study.store import RunPaths, Store, StoreError
from study.store.atomic import write_atomically, write_json
from study.store.leases import Leases
from study.store.provenance import launch_record, now
from study.training.checkpoints import has_checkpoints

START, MEASURED = 1e11, 5e10
"""FLOPs that a core does while a training starts, and beside the forward passes while a cell is measured at a checkpoint:
small trainings take no less time than that."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 all done, 1 something failed and is recorded or the launch was stopped, 2 the request is wrong."""
    options = _parser().parse_args(arguments)
    console = Console(
        file=sys.stdout
    )  # this one, also while a training in this process prints elsewhere
    try:
        study, run_dir = open_study(options.study, Path(options.runs))
        launch = Launch(study, run_dir, options, console)
        if options.dry_run or options.calibrate:
            wanted = launch.plan()
            if options.calibrate:
                calibrate(wanted, launch.paths.cache, launch.say)
            show_plan(wanted, console, launch.paths.cache)
            return 0
        return launch.run()
    except (StudyError, StoreError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.launch",
        description="Train and measure every cell of a study that has no rows yet.",
    )
    parser.add_argument("study", help="a study's YAML file, or the folder of a run to relaunch")
    launch_options(parser)
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="as --dry-run, with times measured on a few steps here",
    )
    return parser


def launch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that launches of studies and of searches share."""
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="where runs lie (default: runs)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would run and what it costs; run nothing"
    )
    parser.add_argument(
        "--serial",
        action="store_true",
        help="run in this process, one training after another, no Ray; a library that hangs for good is found by Ray alone",
    )
    parser.add_argument(
        "--address", metavar="ADDR", help="address of a Ray cluster (default: this computer alone)"
    )
    parser.add_argument(
        "--retry-failed",
        nargs="?",
        const="all",
        metavar="CAUSE",
        help="run failed cells again: all, or those of one cause (see python -m study.status); in a search, those of the "
        "confirmation (failed trials are replaced by others)",
    )


def open_study(target: str, runs: Path) -> tuple[StudyConfig, Path]:
    """The study of a YAML file and its run directory, or those of a run directory. Raises StudyError."""
    path = Path(target)
    if not path.is_dir():
        study = load_study(path)
        return study, runs / study.name
    paths = RunPaths(path)
    if not paths.study.exists():
        fix = "Give a YAML file, or a folder below runs/"
        if paths.journal.exists():
            fix = f"It holds a search: python -m study.tune {path} goes on with it, python -m analysis {path} reports it"
        fault = Fault("", "this folder holds no run (no study.yaml)", fix)
        raise StudyError([fault], source=target)
    content = read_yaml(paths.study)
    folder = path / str(content.pop("folder", "."))
    return study_from(content, folder=folder.resolve(), source=str(paths.study)), path


class Launch:
    """One launch of a study."""

    def __init__(
        self, study: StudyConfig, run_dir: Path, options: argparse.Namespace, console: Console
    ) -> None:
        self.study, self.run_dir, self.options, self.console = study, run_dir, options, console
        self.store = Store(run_dir)
        self.paths = self.store.paths
        self.cells = expand(study)
        self.leases = Leases(self.paths.leases)
        self.name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        self.stop_file = stop_file(run_dir, self.name)
        self.record: dict[str, Any] = {}

    def plan(self) -> Plan:
        """What is left, with its cost where the size of the data is known."""
        return plan(
            self.cells,
            done=self.store.keys(),
            failed=self.store.failed(),
            kept=lambda training: has_checkpoints(self.paths, training.key, training.epochs),
            size=lambda cell: data_size(cell, self.paths.cache),
        )

    def run(self) -> int:
        """Run what is left; returns the exit code. Raises StudyError where a Ray cluster cannot be joined."""
        for path in self.store.verify():
            self.say(f"damaged file set aside, its cell runs again: {path}")
        self._forget_failures()
        self._tidy()
        self._describe()
        self._warn_of_tuning_seeds()
        first = self.plan()
        if not first.pending:
            self.say(f"{len(first.done)} of {len(self.cells)} cells are done: nothing to run.")
            return self._summary()
        backlog = self._begin(first)
        try:
            self._work(backlog)
        except (Stopped, KeyboardInterrupt):
            self.say(f"\nStopped. What was finished is stored; this resumes:\n  {self._command()}")
            return 1
        finally:
            self.stop_file.unlink(missing_ok=True)
        return self._summary(backlog.ending)

    def say(self, text: str) -> None:
        """Tell the user."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _warn_of_tuning_seeds(self) -> None:
        """Seeds on which settings were chosen say nothing of how these settings do elsewhere."""
        tuned = self.study.tuned
        if tuned is not None:
            used = sorted({cell.config.seed for cell in self.cells} & set(tuned.seeds))
            if used:
                self.say(
                    f"Warning: the settings were tuned on seed {', '.join(map(str, used))} (trial {tuned.trial} of "
                    f"{tuned.search}): what these seeds give is too good; leave them out of what you conclude"
                )

    def _forget_failures(self) -> None:
        wanted = self.options.retry_failed
        if wanted is not None:
            for record in self._failures():
                if wanted in ("all", record["cause"]):
                    self.store.forget_failure(record["cell"])

    def _tidy(self) -> None:
        """Delete what killed launches left, and what trainings needed that were killed after their rows were stored."""
        forget_dead_launches()
        done = self.store.keys()
        finished = {
            t.key for t in trainings(self.cells) if all(cell.key in done for cell in t.cells)
        }
        for pattern in ("*/state-*", "*/partial"):
            for path in self.paths.trainings.glob(pattern):
                if path.parent.name in finished and not self.leases.busy(path.parent.name):
                    rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _describe(self) -> None:
        """Leave a run that describes itself: the resolved study, and the cells that it asks for."""
        content = {"folder": self._folder(), **self.study.as_yaml()}
        text = "# The study as launched last; `python -m study.launch` of this folder runs what is missing.\n"
        write_atomically(
            self.paths.study, (text + yaml.safe_dump(content, sort_keys=False)).encode()
        )
        rows = [
            {"cell": cell.key, "training": cell.training_key, **cell.settings()}
            for cell in self.cells
        ]
        self.store.plan(rows, types=COLUMN_KINDS)

    def _folder(self) -> str:
        """Where relative paths of the study start: as seen from the run if both lie below this folder, which may move."""
        folder, run = self.study.folder.resolve(), self.run_dir.resolve()
        here = Path.cwd()
        near = folder.is_relative_to(here) and run.is_relative_to(here)
        return os.path.relpath(folder, run) if near else str(folder)

    def _begin(self, first: Plan) -> Backlog:
        """Record the launch, and say what it will do."""
        self._record(cells=len(self.cells))
        trained = len(first.pending) - len(first.measured_only)
        self.say(
            f"{self.study.name}: {first.pending_cells} of {len(self.cells)} cells to run "
            f"({len(first.done)} done, {len(first.failed)} failed before): {trained} trainings, "
            f"{len(first.measured_only)} measured from kept checkpoints. Results: {self.run_dir}"
        )
        return Backlog(
            self.run_dir,
            first.pending,
            self.name,
            git_sha=self.record["git_sha"],
            parallel=self.study.resources.parallel,
            say=self.say,
        )

    def _record(self, **asked: int) -> None:
        """Write down who launches what, with which versions, and how much is asked for."""
        self.record = {**(self.record or launch_record()), **asked}
        write_json(self.paths.launches / f"{self.name}.json", self.record)

    def _work(self, backlog: Backlog) -> None:
        """Give pending trainings to Ray, or run them here, until none is left that this launch can run."""
        stopping = Stopping(partial(self._ask_to_stop, backlog), self._any_worker)
        with stopping.waits(), view(self._watch(), self.console):
            if self.options.serial:
                self._work_here(backlog)
                return
            address = prepare_environment(self.options.address)
            from study.scheduling import ray_tune as sweep

            try:
                with (
                    scratch(self.stop_file) as folder,
                    sweep.connected(address, folder),
                    stopping.waits(),  # ours after Ray's handlers
                ):
                    self._check_resources(backlog, sweep.largest_node())
                    backlog.nodes = sweep.nodes
                    while not backlog.finished:
                        try:
                            sweep.run(backlog, folder)
                        except sweep.SweepError as error:
                            backlog.abandoned(str(error), killed=error.killed)
            except sweep.ClusterError as error:
                fault = Fault(
                    "--address", str(error), "docs/cluster.md tells how to start and join a cluster"
                )
                raise StudyError([fault], source="command line") from error

    def _watch(self) -> Watch:
        wanted = plan(self.cells, size=lambda cell: data_size(cell, self.paths.cache))
        weights = {
            training.key: START + MEASURED * measurements(training) + cost.flops
            for training in wanted.pending
            if (cost := wanted.costs.get(training.key)) is not None and cost.flops is not None
        }
        return Watch(self.run_dir, self.cells, weights)

    def _work_here(self, backlog: Backlog) -> None:
        while not backlog.finished:
            if (task := backlog.next()) is None:
                time.sleep(0.2)
            else:
                backlog.ended(task.training.key, work(task))

    def _check_resources(self, backlog: Backlog, largest: dict[str, float]) -> None:
        """Refuse trainings that fit no node of this computer; those of a cluster may come later."""
        needs = Counter[str]()
        for training in backlog.upcoming:
            wanted = training.first.resources
            needs |= Counter({"cpus": wanted.cpus, "gpus": wanted.gpus})
        lacking = [
            (name, needs[name], largest[name]) for name in needs if needs[name] > largest[name]
        ]
        if not lacking:
            return
        text = ", ".join(
            f"resources.{name} is {need:g}, the largest node has {have:g}"
            for name, need, have in lacking
        )
        if self.options.address is not None:
            self.say(f"Some trainings wait for a larger node to join: {text}")
            return
        faults = [
            Fault(
                f"resources.{name}",
                f"is {need:g}, but this computer has {have:g}",
                "Ask for less, or for a cluster",
            )
            for name, need, have in lacking
        ]
        raise StudyError(faults, source=self.options.study)

    def _ask_to_stop(self, backlog: Backlog) -> None:
        self.say("\nStopping: asking the trainings to save (again to stop at once) ...")
        backlog.end("the launch was stopped")
        write_atomically(self.stop_file, now().encode())

    def _any_worker(self) -> bool:
        return any(lease.launch == self.name and not lease.dead() for lease in self.leases.all())

    def _command(self) -> str:
        options = ["--serial"] if self.options.serial else []
        options += ["--address", self.options.address] if self.options.address else []
        return shlex.join(["python", "-m", "study.launch", str(self.run_dir), *options])

    def _failures(self) -> list[dict[str, Any]]:
        """Records of the failures of this study's cells."""
        keys = {cell.key for cell in self.cells}
        return [record for record in self.store.failures() if record["cell"] in keys]

    def _summary(self, ending: str | None = None) -> int:
        """Say how it ended and what to do next; the exit code."""
        if ending is not None:
            self.say(ending)
        failed = self._failures()
        if failed:
            causes = Counter(str(record["cause"]) for record in failed)
            text = ", ".join(f"{cause} {count}" for cause, count in causes.most_common())
            self.say(
                f"{len(failed)} cells failed ({text}); `python -m study.status {self.run_dir}` tells why, "
                "`--retry-failed` runs them again."
            )
        done = len(self.store.keys() & {cell.key for cell in self.cells})
        if done:
            self.say(
                f"{done} of {len(self.cells)} cells are in {self.run_dir}. Next: python -m analysis {self.run_dir}"
            )
        return 1 if failed or ending is not None else 0


if __name__ == "__main__":
    sys.exit(main())
