"""The trackers of a launch, each with a process of its own beside the trainings.

It gets the trainings that have begun, and warnings come back. Whatever becomes of it, the launch
goes on; at its end it is waited for as long as it still logs something.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import psutil

from study.grid import Training
from study.launching.progress import Watch, training_name
from study.settings.schema import Scalar
from study.store import RunPaths
from study.tracking.base import Subject
from study.tracking.mirror import Training as Tracked
from study.tracking.registry import TRACKERS

LOOK = 1.0
"""Seconds between two looks for trainings that have begun."""
PATIENCE = 60.0
"""Seconds at the end of a launch in which a tracker has to log something, or is given up.

They are those in which it waits, or those of a processor that it uses.
"""
NAMED = ("model_kind", "depth", "width", "epochs", "seed")
"""Settings that the name of a training has in any case."""
LONGEST = 200
"""Characters of a name, without the key: folders and databases take some 250."""
OF_SEED = ("init_seed", "shuffle_seed")
"""Settings that have the value of `seed` unless a study gives them another."""


class Tracking:
    """Within, trainings that are watched are handed on to trackers."""

    def __init__(
        self,
        names: Iterable[str],
        run_dir: Path,
        launch: str,
        watch: Watch,
        say: Callable[[str], None],
    ) -> None:
        self.names, self.run_dir, self.launch = tuple(names), run_dir, launch
        self.watch, self.say = watch, say

    def __enter__(self) -> None:
        subjects = Subjects(self.watch)
        self.processes = [
            _Process(name, self.run_dir, self.launch, subjects, self.say) for name in self.names
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes:
            process.ask_to_end()
        try:
            for process in self.processes:
                process.wait()
        finally:  # also where the user does not wait
            for process in self.processes:
                process.kill()


class Subjects:
    """Trainings as trackers see them.

    They are named by the settings in which those of a run differ.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._settings: dict[str, Mapping[str, Scalar]] = {}

    def begun(self, known: set[str]) -> list[Tracked]:
        """Trainings that have a folder in the run, but those that are known."""
        folders = self.watch.store.paths.trainings
        if not folders.exists():
            return []
        names = {path.name for path in folders.iterdir()} - known
        new = [training for training in self.watch.trainings if training.key in names]
        return [self.subject(training) for training in new]

    def subject(self, training: Training) -> Tracked:
        """A training, with one name for the curves of each of its cells."""
        settings = {cell.key: cell.settings() for cell in training.cells}
        differing = varying(settings.values())
        shared = settings[training.first.key]
        told = {*NAMED, *differing} | {n for n in OF_SEED if shared[n] == shared["seed"]}
        extra = [
            f"{name} {_short(shared[name])}"
            for name in self._varying()
            if name not in told and shared.get(name) is not None
        ]
        words = " ".join([training_name(training.first), *extra])
        name = f"{words[:LONGEST]} {training.key[:8]}"
        plain = {
            name: value
            for name, value in shared.items()
            if name not in differing and name != "precision" and value is not None
        }
        return Tracked(Subject(training.key, name, plain), cell_labels(settings))

    def _varying(self) -> list[str]:
        """Settings in which the trainings that are known so far differ."""
        for training in self.watch.trainings:
            if training.key not in self._settings:
                self._settings[training.key] = training.first.settings()
        return varying(self._settings.values())


def _short(value: Scalar) -> str:
    """A setting in a name; a learning rate of a search has all digits of a float."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def varying(settings: Iterable[Mapping[str, Scalar]]) -> list[str]:
    """Names of the settings that are not the same in all, in their order."""
    every = list(settings)
    names = dict.fromkeys(name for each in every for name in each)
    return [name for name in names if len({each.get(name) for each in every}) > 1]


def cell_labels(settings: Mapping[str, Mapping[str, Scalar]]) -> dict[str, str]:
    """What curves of each cell are called.

    It is the precision, with the settings that tell cells of one precision apart.
    """
    counts = Counter(each["precision"] for each in settings.values())
    labels = {}
    for key, each in settings.items():
        alike = [other for other in settings.values() if other["precision"] == each["precision"]]
        names = varying(alike) if counts[each["precision"]] > 1 else []
        labels[key] = " ".join([str(each["precision"]), *(f"{n} {each.get(n)}" for n in names)])
    return labels


class _Process:
    """The process of one tracker."""

    def __init__(
        self,
        name: str,
        run_dir: Path,
        launch: str,
        subjects: Subjects,
        say: Callable[[str], None],
    ) -> None:
        self.name, self.subjects, self.say = name, subjects, say
        self.folder = RunPaths(run_dir).tracker(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.over, self.ended = threading.Event(), threading.Event()
        self.moved, self.killed = time.monotonic(), False
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        arguments = [name, str(run_dir), str(self.folder), run_dir.resolve().name, launch]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "study.tracking", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            process_group=0,  # Ctrl-C is for the launch, which tells it
        )
        for target in (self._feed, self._listen):
            threading.Thread(target=target, name=f"{name} tracker", daemon=True).start()
        self.say(f"{name}: {TRACKERS[name].show.format(folder=self.folder)}")

    def ask_to_end(self) -> None:
        """Ask it to log what is left; its time begins anew."""
        self.moved = time.monotonic()
        self.over.set()

    def wait(self) -> None:
        """Wait until it has ended, or has logged nothing for too long.

        A busy computer may keep it waiting for a processor; that time does not count.
        """
        moved, looked, idle = self.moved, time.monotonic(), 0.0
        used = self._processor_seconds()
        while not self.ended.wait(0.1):
            now = time.monotonic()
            if moved != self.moved:
                moved, idle, used = self.moved, 0.0, self._processor_seconds()
            elif not self._runs():
                idle += now - looked
            looked = now
            if idle > PATIENCE or self._processor_seconds() - used > PATIENCE:
                self._warn(f"it hangs, and is given up after {PATIENCE:g} s")
                return
        self.process.wait()

    def _runs(self) -> bool:
        """Whether it has a processor, or waits for nothing else."""
        try:
            return psutil.Process(self.process.pid).status() == psutil.STATUS_RUNNING
        except psutil.NoSuchProcess:
            return False

    def _processor_seconds(self) -> float:
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system

    def kill(self) -> None:
        """End it, if it still runs."""
        self.killed = True
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _feed(self) -> None:
        """Hand trainings on as they begin, and end its input with the launch."""
        known: set[str] = set()
        assert self.process.stdin is not None
        try:
            over = False
            while not over:
                over = self.over.wait(LOOK)  # looked at once more after the end
                for training in self.subjects.begun(known):
                    known.add(training.subject.key)
                    self.process.stdin.write(training.to_json() + "\n")
                self.process.stdin.flush()
            self.process.stdin.close()
        except OSError:
            self.over.wait()  # it has ended, which `_listen` tells

    def _listen(self) -> None:
        """Take note that it logs, warn of what it says, and of an end too early."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.moved = time.monotonic()
            if line.startswith("!"):
                self._warn(line[1:].strip())
        code = self.process.wait()
        if code and not self.killed:
            self._warn(f"its process ended with code {code}")
        self.ended.set()

    def _warn(self, cause: str) -> None:
        self.say(
            f"Warning: {self.name}: {cause}. Trainings go on without it, and a launch with "
            f"`--track {self.name}` logs what it lacks (see {self.folder / 'log.txt'})"
        )
