"""A launch of a search: its trials one after another, then the confirmation as an ordinary launch of its cells."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from study.config import COLUMN_KINDS
from study.grid import Cell, Training, plan, trainings
from study.launch import Launch
from study.launching.plan_report import data_size, show_plan
from study.launching.progress import Snapshot, Watch
from study.scheduling.backlog import Backlog
from study.scheduling.stopping import Stopped
from study.search.backlog import Trials
from study.search.config import Search
from study.search.confirm import Confirmation, confirmation, fresh_seeds, write_best
from study.search.journal import counted, read_journal
from study.search.searcher import Searcher
from study.settings.faults import Fault, StudyError
from study.store.atomic import write_atomically
from study.store.leases import Leases

FILE = "search.yaml"


class SearchLaunch(Launch):
    """One launch of a search: its trials, then the confirmation as an ordinary launch of its cells."""

    def __init__(
        self, search: Search, run_dir: Path, options: argparse.Namespace, console: Console
    ) -> None:
        super().__init__(search.study, run_dir, options, console)
        self.search = search
        self.confirmation: Confirmation | None = None
        self.searching = True
        self.searcher: Searcher

    def show(self) -> int:
        """Print what is done and what a trial costs."""
        config = self.search.config
        done = counted(read_journal(self.paths.journal)) if self.paths.journal.exists() else 0
        show_plan(
            plan(self.cells, size=lambda cell: data_size(cell, self.paths.cache)),
            self.console,
            self.paths.cache,
        )
        arms = f", then {2 * config.confirm} to confirm the best" if config.confirm else ""
        self.say(
            f"This is one trial as the study stands. The search asks for {config.trials} of them{arms}. "
            f"{done} trials are done."
        )
        return 0

    def run(self) -> int:
        """Search until the trials asked for are there, write what was found, confirm it; returns the exit code."""
        with Leases(self.paths.search).hold("search", self.name) as holding:
            if holding is None:
                fix = f"Wait for it or stop it; if its computer is gone, delete {self.paths.search / 'search.json'}"
                fault = Fault("", f"another process works on this search ({self.run_dir})", fix)
                raise StudyError([fault], source=self.search.source)
            self.searcher = Searcher(
                self.paths.journal,
                self.search.config,
                constraints=self.search.constraints,
                definition=self.search.definition(),
                epochs=self.search.most_epochs,
            )
            self.cells = self._known_cells()
            if (before := self.searcher.study.user_attrs.get("confirmation")) is not None:
                winner = self.searcher.study.trials[before["trial"]]
                self.confirmation = confirmation(self.search, winner, before["seeds"])
            self._prepare()
            ended, ending = self._search()
            best = self.searcher.best()
            files = write_best(self.search, best, self.paths) if best else []
            if not ended:
                return 1
            for path in files:
                self.say(f"Found: {path}")
            if not best:
                return self._summary(
                    ending
                    or "No trial is complete and holds the constraints: there is no best.yaml."
                )
            if ending is not None or not self.search.config.confirm:
                return self._summary(ending)
            self.confirmation = confirmation(self.search, best[0], fresh_seeds(self.search))
            self.searcher.study.set_user_attr("confirmation", self.confirmation.record())
            seeds = self.confirmation.seeds
            self.say(
                f"Confirming trial {best[0].number} against the study as it is, on seeds {seeds[0]} to {seeds[-1]}."
            )
            self.cells, self.searching = self.confirmation.cells, False
            return super().run()

    def _known_cells(self) -> tuple[Cell, ...]:
        """Cells of all trials so far."""
        found: dict[str, Cell] = {}
        for trial in self.searcher.study.get_trials(deepcopy=False):
            if "settings" in trial.user_attrs:
                found |= {
                    cell.key: cell
                    for cell in self.search.training(trial.user_attrs["settings"]).cells
                }
        return tuple(found.values())

    def _prepare(self) -> None:
        for path in self.store.verify():
            self.say(f"damaged file set aside, its cell runs again: {path}")
        self._forget_failures()
        self._tidy()
        content = {"folder": self._folder(), "source": self.search.source, **self.search.content}
        content["search"] = self.search.config.model_dump(exclude_unset=True)
        text = "# The search as launched last; `python -m study.tune` of this run's folder goes on with it.\n"
        write_atomically(
            self.paths.search / FILE, (text + yaml.safe_dump(content, sort_keys=False)).encode()
        )
        self._describe()

    def _search(self) -> tuple[bool, str | None]:
        """Ask for trials until there are enough: whether it was not stopped, and why it ended early, if it did."""
        config = self.search.config
        if self.searcher.finished >= config.trials:
            self.say(f"{self.searcher.finished} trials of {config.trials} are done.")
            return True, None
        self._record(trials=config.trials)
        self.say(
            f"{self.study.name}: {self.searcher.finished} of {config.trials} trials done. Results: {self.run_dir}"
        )
        backlog = Trials(
            self.search,
            self.searcher,
            self.run_dir,
            self.name,
            git_sha=self.record["git_sha"],
            parallel=1 if self.options.serial else self.study.resources.parallel or 1,
            say=self.say,
            asked=self._asked,
        )
        try:
            with backlog.pruning():
                self._work(backlog)
        except (Stopped, KeyboardInterrupt):
            self.say(f"\nStopped. What was finished is stored; this goes on:\n  {self._command()}")
            return False, None
        finally:
            self.stop_file.unlink(missing_ok=True)
            self._describe()
        return True, backlog.ending

    def _asked(self, training: Training) -> None:
        self.cells = tuple({cell.key: cell for cell in (*self.cells, *training.cells)}.values())

    def _check_resources(self, backlog: Backlog, largest: dict[str, float]) -> None:
        super()._check_resources(backlog, largest)
        if isinstance(backlog, Trials) and self.study.resources.parallel is None:
            from study.scheduling import ray_tune as sweep

            wanted = self.search.default.first.resources
            needs = {"cpus": wanted.cpus, "gpus": wanted.gpus}
            each = min(int(largest[name] / need) for name, need in needs.items() if need)
            backlog.parallel = max(1, each * len(sweep.nodes()))

    def _watch(self) -> Watch:
        if self.searching:
            return TrialWatch(self, self.search.config.trials, len(self.search.default.cells))
        return super()._watch()

    def _describe(self) -> None:
        """Record the cells that a report uses: those of trials and of the confirmation that have rows."""
        stored = self.store.keys()
        confirmed = () if self.confirmation is None else self.confirmation.cells
        cells = {
            cell.key: cell for cell in (*self._known_cells(), *confirmed) if cell.key in stored
        }
        rows = [
            {"cell": cell.key, "training": cell.training_key, **cell.settings()}
            for cell in cells.values()
        ]
        if rows:
            self.store.plan(rows, types=COLUMN_KINDS)

    def _command(self) -> str:
        options = ["--serial"] if self.options.serial else []
        options += ["--address", self.options.address] if self.options.address else []
        return shlex.join(["python", "-m", "study.tune", str(self.run_dir), *options])

    def _summary(self, ending: str | None = None) -> int:
        """Say how it ended and what to do next; the exit code."""
        self._describe()
        if ending is not None:
            self.say(ending)
        failed = [] if self.searching else self._failures()
        if failed:
            causes = ", ".join(sorted({str(record["cause"]) for record in failed}))
            self.say(
                f"{len(failed)} cells of the confirmation failed ({causes}); `--retry-failed` runs them again."
            )
        self.say(f"Next: python -m analysis {self.run_dir}")
        self.say(f"Trials one by one: optuna-dashboard {self.paths.journal}")
        return 1 if failed or ending is not None else 0


class TrialWatch(Watch):
    """How far a search is: its trials come one by one."""

    def __init__(self, launch: SearchLaunch, trials: int, each: int) -> None:
        self.launch, self.trials, self.each = launch, trials, each
        super().__init__(launch.run_dir, launch.cells)

    def look(self) -> Snapshot:
        """The state now."""
        self.cells = self.launch.cells
        self.trainings = trainings(self.cells)
        self.weights = {training.key: 1.0 for training in self.trainings}
        now = super().look()
        total = max(self.trials, len(self.trainings))
        return replace(now, total=total * self.each, share=now.share * len(self.trainings) / total)
