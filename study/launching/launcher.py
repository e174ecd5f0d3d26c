"""Works off a backlog, through Ray or in this process, watched.

    open_folder()            make the folder of the run, set damaged files aside
    prepare(cells)           forget failures, delete leftovers
    plan(cells)              what the store lacks, with its cost
    work(backlog, watch)     hand out trainings until the backlog is empty or stopped

A launch of a study and one of a search each own a launcher, give it backlogs and say by
themselves what they ask for and how it ended.
"""

from __future__ import annotations

import os
import secrets
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from study.config import COLUMN_KINDS
from study.grid import Cell, Plan, plan, trainings
from study.launching.checks import Lack, lack_fault, lacking, training_faults
from study.launching.data_sizes import DataSizes
from study.launching.options import LaunchOptions
from study.launching.progress import Watch
from study.launching.speed import Speeds, efforts
from study.launching.tracking import Tracking
from study.launching.view import view
from study.scheduling.backlog import Backlog
from study.scheduling.joining import ClusterError
from study.scheduling.leftovers import NoPlace, forget_dead_launches, scratch
from study.scheduling.ray_environment import prepare_environment
from study.scheduling.stopping import Stopped, Stopping
from study.scheduling.work import work
from study.settings.arguments import COMMAND
from study.settings.doors import installed, remedy
from study.settings.faults import Fault, StudyError
from study.store import Store, StoreError
from study.store.atomic import write_atomically, write_json
from study.store.errors import StorageError
from study.store.folding import fold
from study.store.leases import Leases
from study.store.outage import OUTAGE, patient
from study.store.paths import TrainingPaths
from study.store.places import is_object, remove_tree
from study.store.probe import check_place, probe
from study.store.provenance import launch_record, now
from study.training.checkpoints import has_checkpoints

MANY = 64
"""Single cells that are folded at the end of a launch."""
IDLE = 0.2
"""Seconds between two looks at a backlog from which nothing can start."""


@dataclass(frozen=True)
class Description:
    """What a launch calls itself.

    source  what is launched, in errors
    door    its command, in advice
    does    what that command does: it `resumes`, or `goes on`
    """

    source: str
    door: str
    does: str

    def command(self, run_dir: Path, options: LaunchOptions) -> str:
        """The command that takes the launch up again."""
        return shlex.join([COMMAND, self.door, str(run_dir), *options.arguments()])


class Launcher:
    """Works off the backlogs of one launch in a run directory."""

    def __init__(
        self, run_dir: Path, options: LaunchOptions, console: Console, description: Description
    ) -> None:
        """Raises StoreError where the run cannot lie there, or not be tracked."""
        check_place(run_dir)
        if options.track and is_object(run_dir):
            raise StoreError(
                f"--track: trackers follow the logs of a run in a folder, and {run_dir} lies on "
                "object storage: leave it out, or give a folder with --runs"
            )
        self.run_dir, self.options, self.console = run_dir, options, console
        self.description = description
        self.store = Store(run_dir)
        self.paths = self.store.paths
        self.leases = Leases(self.paths.leases)
        self.sizes = DataSizes(self.paths.cache)
        self.name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        self.stop_file = self.paths.stop_launch(self.name)
        self.record: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Tell the user."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def plan(self, cells: tuple[Cell, ...]) -> Plan:
        """What is left of cells, with its cost where the size of the data is known."""
        kept = {path.name for path in self.paths.all_checkpoints.glob("*")}
        return plan(
            cells,
            done=(done := self.store.keys()),
            failed=self.store.failed(done=done),
            has_checkpoints=lambda training: (
                training.key in kept and has_checkpoints(self.paths, training.key, training.epochs)
            ),
            size=self.sizes.size,
        )

    def faults(self, cells: Iterable[Cell]) -> list[Fault]:
        """What is known to be wrong with what would run of cells.

        It is known before anything is started.
        """
        cells = tuple(cells)
        left = self.missing(cells)
        if self.options.retry_failed is None:
            left -= self.store.failed()
        pending = (training.only(left) for training in trainings(cells))
        here = self.options.address is None and not os.environ.get("RAY_ADDRESS")
        return training_faults(
            [training for training in pending if training.cells],
            self.sizes,
            here=here or self.options.serial,
            serial=self.options.serial,
        )

    def check(self, cells: Iterable[Cell]) -> None:
        """Raise StudyError with all faults of what would run of cells."""
        if faults := self.faults(cells):
            raise StudyError(faults, source=self.description.source)

    def check_libraries(self, cells: Iterable[Cell]) -> None:
        """Raise StudyError where something is left to train and torch is not installed."""
        if not installed("torch") and self.missing(cells):
            fault = Fault("", "torch is not installed", remedy("torch"))
            raise StudyError([fault], source=self.description.source)

    def open_folder(self) -> None:
        """Make the folder of the run, and set damaged files in it aside.

        Raises StoreError where it cannot be used.
        """
        if (warning := probe(self.run_dir)) is not None:
            self.say(warning)
        aside = self.store.verify_parts()
        self.fold()  # which reads cells that a killed launch has left, so that they are read once
        for path in [*aside, *self.store.verify_cells()]:
            self.say(f"damaged file set aside, its cell runs again: {path}")
        if (notice := self.store.notice()) is not None:
            self.say(notice)

    def prepare(self, cells: Iterable[Cell]) -> None:
        """Make a run ready for a launch of cells.

        Failures are forgotten as asked, leftovers of killed launches deleted.
        """
        cells = tuple(cells)
        cause = self.options.retry_failed
        if cause is not None:
            for record in self.failures(cells):
                if cause in ("all", record["cause"]):
                    self.store.forget_failure(record["cell"])
        forget_dead_launches()
        self._delete_leftovers(cells)

    @property
    def read_only(self) -> bool:
        """Whether the run is there and cannot be written, such as one in an archive."""
        if is_object(self.run_dir):
            return False  # a try would tell, and is made
        return self.run_dir.is_dir() and not os.access(self.run_dir, os.W_OK)

    def missing(self, cells: Iterable[Cell]) -> set[str]:
        """Keys of the cells that have no rows in the store."""
        return {cell.key for cell in cells} - self.store.keys()

    def failures(self, cells: Iterable[Cell]) -> list[dict[str, Any]]:
        """Failure records of cells that have no rows."""
        return self.store.failures_of(cell.key for cell in cells)

    def describe(self, cells: Iterable[Cell]) -> None:
        """Record in the run which cells it asks for."""
        rows = [
            {"cell": cell.key, "training": cell.training_key, **cell.settings()} for cell in cells
        ]
        self.store.write_planned(rows, types=COLUMN_KINDS)

    def describe_file(self, path: Path, comment: str, folder: Path, content: Any) -> None:
        """Keep the launched file in the run; relative paths in it start from `folder`."""
        values = {"folder": self._relative(folder), **content}
        text = f"# {comment}\n{yaml.safe_dump(values, sort_keys=False)}"
        write_atomically(path, text.encode())

    def record_launch(self, **counts: int) -> None:
        """Write down who launches what, with which versions, and how much is asked for."""
        self.record = {**(self.record or launch_record()), **counts}
        write_json(self.paths.launch(self.name), self.record)

    def work(self, backlog: Backlog, watch: Watch) -> bool:
        """Hand out trainings until the backlog is finished; False if the user stopped it.

        Raises StudyError where a Ray cluster cannot be joined, or a training fits no node,
        StorageError where object storage has not answered for `study.store.outage.LONG` seconds.
        """
        try:
            with patient(self.say), self.tracking(watch), self._without_stop_file():
                self._work(backlog, watch)
        except (Stopped, KeyboardInterrupt):
            self.say(f"\nStopped. What was finished is stored. {self.again()}")
            return False
        except StorageError:
            self.say(
                "\nNothing is lost of what was stored: finished cells, and each training up to the "
                f"state that it published last. {self.again()}"
            )
            raise
        return True

    @contextmanager
    def _without_stop_file(self) -> Iterator[None]:
        """Within, a stop file may be written; storage that is away may keep it."""
        try:
            yield
        finally:
            with suppress(StorageError):
                self.stop_file.unlink(missing_ok=True)

    def tracking(self, watch: Watch) -> Tracking:
        """Within, trackers that were asked for show the trainings that are watched."""
        return Tracking(self.options.track, self.run_dir, self.name, watch, self.say)

    def again(self) -> str:
        """How the user takes this launch up again."""
        command = self.description.command(self.run_dir, self.options)
        return f"This {self.description.does}:\n  {command}"

    def watch(self, cells: tuple[Cell, ...]) -> Watch:
        """A look at cells, with what each training takes where that is known."""
        everything = plan(cells, size=self.sizes.size)
        return Watch(self.run_dir, cells, efforts(everything, Speeds(self.sizes.cache)))

    def fold(self) -> None:
        """Fold single cells into parts where there are many, as those read at once.

        A disk that has no room for a part leaves them as they are.
        """
        if self.read_only:
            return
        try:
            fold(self.store, least=MANY)
        except (OSError, StoreError) as error:
            self.say(f"The cells stay in files of their own, they cannot be folded: {error}")

    def _delete_leftovers(self, cells: tuple[Cell, ...]) -> None:
        """Delete what killed trainings needed whose rows are stored."""
        done, unfinished = self.store.keys(), self.paths.unfinished()
        for training in trainings(cells):
            stored = training.key in unfinished and all(c.key in done for c in training.cells)
            if stored and not self.leases.busy(training.key):
                paths = TrainingPaths(self.paths.training(training.key))
                for path in list(paths.unfinished()):
                    remove_tree(path)

    def _relative(self, folder: Path) -> str:
        """A folder as seen from the run, if both lie below this folder, which may move."""
        if is_object(self.run_dir):
            return str(folder.resolve())
        folder, run, here = folder.resolve(), self.run_dir.resolve(), Path.cwd()
        near = folder.is_relative_to(here) and run.is_relative_to(here)
        return os.path.relpath(folder, run) if near else str(folder)

    def _work(self, backlog: Backlog, watch: Watch) -> None:
        stopping = Stopping(partial(self._ask_to_stop, backlog), self._any_worker)
        with stopping.waits(), view(watch, self.console):
            if self.options.serial:
                _work_here(backlog)
            else:
                self._work_on_ray(backlog, stopping)

    def _work_on_ray(self, backlog: Backlog, stopping: Stopping) -> None:
        try:
            address = prepare_environment(self.options.address)
            from study.scheduling import ray_tune

            own = address == "local"
            with (
                scratch(self.stop_file, sockets=own) as folder,
                ray_tune.connected(address, folder),
                stopping.waits(),  # again, as Ray has set handlers of its own
            ):
                self._check_resources(backlog, ray_tune.nodes(), ray_tune.free(), own=own)
                backlog.nodes = ray_tune.nodes
                while not backlog.settle():
                    try:
                        ray_tune.run(backlog, folder)
                    except ray_tune.SweepError as error:
                        backlog.abandoned(str(error), killed=error.killed)
        except ClusterError as error:
            fix = "docs/cluster.md tells how to start and join a cluster"
            fault = Fault("--address", str(error), fix)
            raise StudyError([fault], source="command line") from error
        except NoPlace as error:
            fix = "Set RAY_TMPDIR to a folder with a short path, such as /tmp"
            raise StudyError([Fault("RAY_TMPDIR", str(error), fix)], source="Ray") from error

    def _check_resources(
        self,
        backlog: Backlog,
        nodes: Mapping[str, Mapping[str, float]],
        free: Mapping[str, float],
        *,
        own: bool,
    ) -> None:
        """Refuse trainings that fit no node of this computer.

        To a cluster a larger node may join, and others may use it: there the user is told, and they
        wait.
        """
        resources = [each.first.resources for each in backlog.upcoming]
        lacks = lacking(resources, nodes.values())
        if not own:
            for lack in lacks:
                self.say(
                    f"Waiting for {_amount(lack)}: nodes have {lack.have:g}. "
                    "Trainings that need it start once a larger node has joined"
                )
            for lack in () if lacks else lacking(resources, [free]):
                self.say(f"Waiting for {_amount(lack)}: {lack.have:g} are free")
            return
        if not lacks:
            return
        raise StudyError(map(lack_fault, lacks), source=self.description.source)

    def _ask_to_stop(self, backlog: Backlog) -> None:
        self.say("\nStopping: asking the trainings to save (again to stop at once) ...")
        backlog.end("the launch was stopped")
        OUTAGE.give_up()
        try:
            write_atomically(self.stop_file, now().encode())
        except OSError as error:
            self.say(f"They cannot be asked ({error.strerror}): stopping at once")
            raise Stopped from error

    def _any_worker(self) -> bool:
        return any(lease.launch == self.name and not lease.dead() for lease in self.leases.all())


def _amount(lack: Lack) -> str:
    """`1 GPU`, `2 CPUs`, `8 GiB of memory`."""
    unit = {"cpus": "CPU", "gpus": "GPU"}.get(lack.name)
    if unit is None:
        return f"{lack.need:g} GiB of memory"
    return f"{lack.need:g} {unit}{'s' if lack.need > 1 else ''}"


def _work_here(backlog: Backlog) -> None:
    """Run the trainings of a backlog in this process."""
    while not backlog.settle():
        if (task := backlog.next()) is None:
            time.sleep(IDLE)
        else:
            backlog.ended(task.training.key, work(task))
