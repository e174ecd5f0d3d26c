"""The backlog of a search: suggested trials are trained, their values told.

A trial is an ordinary training. The store says whether it has ended, and with what. So a suggestion
that any launch has had before is answered without training.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from study.grid import Cell, Training
from study.scheduling.backlog import GIVE_UP, Backlog, Nodes
from study.scheduling.work import Work
from study.search.config import Search, reference_cell
from study.search.searcher import Searcher
from study.search.space import read_space
from study.settings.faults import StudyError
from study.store import is_main
from study.store.atomic import write_atomically
from study.store.partial import Partial
from study.store.provenance import now

LOOK = 0.5
"""Seconds between two looks at the checkpoints of running trials, for pruning."""


@dataclass(frozen=True)
class Open:
    """A trial whose value is not told yet, and its training."""

    trial: Trial
    training: Training

    @property
    def cell(self) -> Cell:
        """The cell whose rows count."""
        return reference_cell(self.training)


class Trials(Backlog):
    """The trials of one launch of a search."""

    afterwards = (
        "nothing more is asked for. Once that is mended, launch again: failed trials are replaced"
    )

    def __init__(
        self,
        search: Search,
        searcher: Searcher,
        run_dir: Path,
        launch: str,
        *,
        git_sha: str | None = None,
        parallel: int | None = None,
        nodes: Callable[[], Nodes] = dict,
        say: Callable[[str], None] = print,
        suggested: Callable[[Training], None] = lambda training: None,
    ) -> None:
        """Begin with the trials that the journal lacks.

        `parallel`: trials at a time, by default as many as fit the nodes; a sampler learns more
        from trials that have ended. `suggested` is called with the training of each new trial.
        """
        super().__init__(
            run_dir, (), launch, git_sha=git_sha, parallel=parallel, nodes=nodes, say=say
        )
        self.search, self.searcher, self.suggested = search, searcher, suggested
        # As the journal spells it: Optuna compares choices with those of earlier trials.
        self.space = read_space(searcher.definition["search.space"], [])
        self.open: dict[int, Open] = {}
        self.pruned: set[int] = set()
        self.reported: dict[int, int] = {}
        self.failures = 0
        self.lock = threading.RLock()

    @property
    def finished(self) -> bool:
        """Nothing is handed out, and no trial is left to ask for or to tell."""
        left = self.open or self._left() > 0
        return super().finished and (self.ending is not None or not left)

    def settle(self) -> bool:
        """Tell the searcher what has ended; whether nothing is left to do."""
        with self.lock:
            self._settle()
            return self.finished

    def next(self) -> Work | None:
        """The next training; None where there is none that could start now."""
        with self.lock:
            self._settle()
            while self.ending is None and self._left() > 0 and len(self.open) < self._at_a_time():
                self._ask()
                self._settle()
            return super().next()

    def _at_a_time(self) -> int:
        """Trials that may be open: as asked for, else as many as fit the nodes."""
        if self.parallel is not None:
            return self.parallel
        resources = self.search.default.first.resources
        needs = {"cpus": float(resources.cpus), "gpus": resources.gpus}
        fits = (
            min(int(node[name] / need) for name, need in needs.items() if need)
            for node in self.nodes().values()
        )
        return max(1, sum(fits))

    @property
    def upcoming(self) -> Collection[Training]:
        """Trainings like those to come.

        Resources are no part of a space, unless rules make them so.
        """
        return [self.search.default]

    def _left(self) -> int:
        """Trials still to ask for, should all open ones succeed."""
        return self.search.config.trials - self.searcher.finished - len(self.open)

    def _ask(self) -> None:
        trial = self.searcher.ask()
        values = self.space.suggest(trial)
        try:
            training = self.search.training(values)
        except StudyError as error:
            self._failed_trial(trial, "; ".join(str(fault) for fault in error.faults))
            return
        opened = Open(trial, training)
        trial.set_user_attr("cell", opened.cell.key)
        trial.set_user_attr("settings", values)
        trial.set_user_attr("training", training.key)
        self.open[trial.number] = opened
        if training.key not in self._unsettled():
            self._wait_for(training)
        self.suggested(training)

    def _wait_for(self, training: Training) -> None:
        self.store.paths.stop(training.key).unlink(missing_ok=True)
        self.position.setdefault(training.key, len(self.position))
        self.waiting.append(training)

    def _unsettled(self) -> set[str]:
        """Trainings that wait, run or are postponed."""
        waiting = {
            training.key
            for training in self.waiting
            if self.store.pending(cell.key for cell in training.cells)
        }
        return waiting | self.out.keys() | {training.key for _, training in self.postponed}

    def _settle(self) -> None:
        """Tell what has ended, in the order of the trials.

        A training that was pruned for one trial runs again for another that waits for it.
        """
        unsettled = self._unsettled()
        for number, opened in sorted(self.open.items()):
            if opened.training.key in unsettled:
                continue
            if self._tell(opened):
                del self.open[number]
            elif self.ending is None:
                self._wait_for(opened.training)
                unsettled.add(opened.training.key)

    def _tell(self, opened: Open) -> bool:
        """Tell the end of a trial; whether it has ended.

        It has not where the launch was stopped: then the next one takes it up.
        """
        trial, cell = opened.trial, opened.cell
        if self.store.has(cell.key):
            rows = self.store.rows(cell.key)
            self._report_checkpoints(opened, rows)
            row = last_row(rows)
            missing = [column for column in self.search.required_columns if row.get(column) is None]
            if missing:
                self._failed_trial(trial, f"{missing[0]} has no value: {row.get('undefined')}")
            else:
                self.searcher.complete(
                    trial, {column: row[column] for column in self.search.required_columns}
                )
                self.failures = 0
                self._report(trial.number, row)
        elif self.store.paths.failure(cell.key).exists():
            record = next(r for r in self.store.failures() if r["cell"] == cell.key)
            self._failed_trial(
                trial, f"{record['cause']}: {str(record.get('message', '')).partition(chr(10))[0]}"
            )
        elif trial.number in self.pruned:
            self.searcher.prune(trial)
            self.failures = 0
            self.say(f"trial {trial.number}: pruned")
        else:
            return False
        return True

    def _failed_trial(self, trial: Trial, reason: str) -> None:
        self.searcher.fail(trial, reason)
        self.say(f"trial {trial.number}: failed ({reason})")
        self.failures += 1
        if self.failures >= GIVE_UP:
            self.end(
                f"{GIVE_UP} trials in a row failed, the last: {reason}. Nothing more is asked for"
            )

    def _report(self, number: int, row: dict[str, Any]) -> None:
        values = ", ".join(f"{column} {row[column]:.4g}" for column in self.search.required_columns)
        broken = [str(c) for c in self.search.constraints if c.violation(row[c.column]) > 0]
        best = self.searcher.best()
        tail = f"; breaks {', '.join(broken)}" if broken else ""
        if len(self.search.columns) == 1 and best:
            tail += f"; best: trial {best[0].number}, {best[0].value:.4g}"
        self.say(
            f"trial {number} ({self.searcher.finished} of {self.search.config.trials}): "
            f"{values}{tail}"
        )

    @contextmanager
    def pruning(self) -> Iterator[None]:
        """Let running trials report their checkpoints while the block runs.

        Those that the pruner gives up are stopped.
        """
        if self.search.config.pruning is None:
            yield
            return
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK):
                with self.lock:
                    self.look()

        thread = threading.Thread(target=look, name="pruning", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def look(self) -> None:
        """Report what running trials have measured since the last look.

        Trainings of trials that the pruner gives up are asked to stop.
        """
        for number, opened in self.open.items():
            partial = Partial(self.store.paths.training(opened.training.key))
            key = opened.cell.key
            rows = [row for epoch in partial.epochs() for row in partial.read(epoch).get(key, [])]
            self._report_checkpoints(opened, rows)
            if number not in self.pruned and opened.trial.should_prune():
                self.pruned.add(number)
                write_atomically(self.store.paths.stop(opened.training.key), now().encode())

    def _report_checkpoints(self, opened: Open, rows: list[dict[str, Any]]) -> None:
        """Report the objective at new checkpoints, for a pruner to compare trials by."""
        if self.search.config.pruning is None:
            return
        (column,) = self.search.columns
        for row in sorted(filter(is_main, rows), key=lambda row: row["epoch"]):
            if (
                row["epoch"] > self.reported.get(opened.trial.number, 0)
                and row.get(column) is not None
            ):
                self.reported[opened.trial.number] = row["epoch"]
                opened.trial.report(row[column], row["epoch"])


def last_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the head's input, of clean samples, at the last checkpoint."""
    return max(filter(is_main, rows), key=lambda row: row["epoch"])
