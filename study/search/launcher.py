"""A launch of a search: its trials, then the cells that confirm the best."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from study.grid import Cell, plan
from study.launching.launcher import Description, Launcher
from study.launching.options import LaunchOptions
from study.launching.plan_report import show_plan
from study.launching.progress import Watch
from study.launching.study_launch import run_cells
from study.search.backlog import Trials
from study.search.config import Search
from study.search.confirm import Confirmation, confirmation, fresh_seeds, write_best
from study.search.journal import counted, read_journal
from study.search.searcher import Searcher
from study.settings.faults import Fault, StudyError
from study.store.leases import Leases


class SearchLaunch:
    """One launch of a search."""

    def __init__(
        self, search: Search, run_dir: Path, options: LaunchOptions, console: Console
    ) -> None:
        description = Description(search.source, door="tune", does="goes on")
        self.search = search
        self.launcher = Launcher(run_dir, options, console, description)

    def show(self) -> None:
        """Print what is done and what a trial costs."""
        launcher, config = self.launcher, self.search.config
        done = self._check()
        trial = plan(self.search.default.cells, size=launcher.sizes.size)
        show_plan(trial, launcher.console, launcher.sizes)
        arms = f", then {2 * config.confirm} to confirm the best" if config.confirm else ""
        launcher.say(
            "This is one trial as the study stands. "
            f"The search asks for {config.trials} of them{arms}. {done} trials are done."
        )

    def run(self) -> int:
        """Search, write the best settings, confirm them; the exit code.

        It is 0 where the search and its confirmation are complete, 1 where they are not. Raises
        StudyError where another process works on the search, the journal belongs to another one,
        or a Ray cluster cannot be joined; StoreError where the run cannot be written.
        """
        paths = self.launcher.paths
        if self.launcher.read_only and self._complete():
            self.launcher.say(f"{self.search.config.trials} trials are done: nothing to run.")
            return 0
        self.launcher.check_libraries(self.search.default.cells)
        self.launcher.open_folder()
        self._check()
        lease = paths.search_lease
        with Leases(lease.parent).hold(lease.stem, self.launcher.name) as holding:
            if holding is None:
                message = f"another process works on this search ({paths.root})"
                fix = f"Wait for it or stop it; if its computer is gone, delete {lease}"
                raise StudyError([Fault("", message, fix)], source=self.search.source)
            searcher = Searcher(
                paths.journal,
                self.search.config,
                constraints=self.search.constraints,
                definition=self.search.definition(),
                epochs=self.search.most_epochs,
            )
            return _Session(self.search, searcher, self.launcher).run()

    def _complete(self) -> bool:
        """Whether the search and its confirmation lack nothing."""
        launcher, config = self.launcher, self.search.config
        if not launcher.paths.journal.exists():
            return False
        study = read_journal(launcher.paths.journal)
        confirmed = study.user_attrs.get("confirmation")
        if counted(study) < config.trials or (config.confirm and confirmed is None):
            return False
        keys = set() if confirmed is None else {*confirmed["tuned"], *confirmed["default"]}
        return keys <= launcher.store.keys()

    def _check(self) -> int:
        """Refuse a search whose trials cannot run; how many are done."""
        journal = self.launcher.paths.journal
        done = counted(read_journal(journal)) if journal.exists() else 0
        if done < self.search.config.trials:
            self.launcher.check(self.search.default.cells)
        return done


class _Session:
    """What a launch does while it holds the search."""

    def __init__(self, search: Search, searcher: Searcher, launcher: Launcher) -> None:
        self.search, self.searcher, self.launcher = search, searcher, launcher
        self.confirmation = self._earlier_confirmation()

    def run(self) -> int:
        """The whole launch; its exit code."""
        search, launcher = self.search, self.launcher
        cells = self._cells_of_trials()
        launcher.prepare(cells)
        settings = search.config.model_dump(exclude_unset=True)
        launcher.describe_file(
            launcher.paths.search_file,
            "The search as launched last; `collapse-study tune` of this run's folder goes on "
            "with it.",
            search.study.folder,
            {"source": search.source, **search.content, "search": settings},
        )
        self._describe()
        ending = self._search(cells)
        best = self.searcher.best()
        files = write_best(search, best, launcher.paths) if best else []
        if ending is None:
            return 1
        for path in files:
            launcher.say(f"Found: {path}")
        if not best:
            nothing = "No trial is complete and holds the constraints: there is no best.yaml."
            return self._summary(ending or nothing)
        if ending or not search.config.confirm:
            return self._summary(ending)
        self.confirmation = confirmation(search, best[0], fresh_seeds(search))
        self.searcher.study.set_user_attr("confirmation", self.confirmation.record())
        return self._confirm(self.confirmation)

    def _earlier_confirmation(self) -> Confirmation | None:
        """The confirmation that an earlier launch began."""
        record = self.searcher.study.user_attrs.get("confirmation")
        if record is None:
            return None
        winner = self.searcher.study.trials[record["trial"]]
        return confirmation(self.search, winner, record["seeds"])

    def _cells_of_trials(self) -> tuple[Cell, ...]:
        """Cells of all trials so far."""
        cells: dict[str, Cell] = {}
        for trial in self.searcher.study.get_trials(deepcopy=False):
            if "settings" in trial.user_attrs:
                training = self.search.training(trial.user_attrs["settings"])
                cells |= {cell.key: cell for cell in training.cells}
        return tuple(cells.values())

    def _search(self, cells: tuple[Cell, ...]) -> str | None:
        """Ask for trials until there are enough.

        Returns why it ended early, '' where it did not, None where the user stopped it.
        """
        launcher, searcher = self.launcher, self.searcher
        study, trials = self.search.study, self.search.config.trials
        if searcher.finished >= trials:
            launcher.say(f"{searcher.finished} trials of {trials} are done.")
            return ""
        launcher.record_launch(trials=trials)
        launcher.say(
            f"{study.name}: {searcher.finished} of {trials} trials done. "
            f"Results: {launcher.run_dir}"
        )
        watch = Watch(launcher.run_dir, cells, trials=trials, each=len(self.search.default.cells))
        backlog = Trials(
            self.search,
            searcher,
            launcher.run_dir,
            launcher.name,
            git_sha=launcher.record["git_sha"],
            parallel=1 if launcher.options.serial else study.resources.parallel,
            say=launcher.say,
            suggested=lambda training: watch.add(training.cells),
        )
        try:
            with backlog.pruning():
                worked = launcher.work(backlog, watch)
        finally:
            self._describe()
        return (backlog.ending or "") if worked else None

    def _confirm(self, confirmed: Confirmation) -> int:
        """Run the winner and the study as it is on fresh seeds; the exit code."""
        launcher, seeds = self.launcher, confirmed.seeds
        launcher.say(
            f"Confirming trial {confirmed.trial} against the study as it is, "
            f"on seeds {seeds[0]} to {seeds[-1]}."
        )
        launcher.prepare(confirmed.cells)
        self._describe()
        ending = run_cells(launcher, self.search.study, confirmed.cells)
        return 1 if ending is None else self._summary(ending, confirmed.cells)

    def _describe(self) -> None:
        """Record the cells that a report uses.

        Those of trials and of the confirmation that have rows.
        """
        stored = self.launcher.store.keys()
        confirmed = () if self.confirmation is None else self.confirmation.cells
        cells = {
            cell.key: cell for cell in (*self._cells_of_trials(), *confirmed) if cell.key in stored
        }
        if cells:
            self.launcher.describe(cells.values())

    def _summary(self, ending: str, confirmed: tuple[Cell, ...] = ()) -> int:
        """Say how it ended and what to do next; the exit code."""
        launcher = self.launcher
        launcher.fold()
        self._describe()
        if ending:
            launcher.say(ending)
        failed, missing = launcher.failures(confirmed), launcher.missing(confirmed)
        if failed:
            causes = ", ".join(sorted({str(record["cause"]) for record in failed}))
            launcher.say(
                f"{len(failed)} cells of the confirmation failed ({causes}); "
                "`--retry-failed` runs them again."
            )
        if len(missing) > len(failed) and not ending:
            launcher.say(
                f"{len(missing) - len(failed)} cells of the confirmation have neither rows nor a "
                f"record of why. {launcher.again()}"
            )
        launcher.say(f"Next: collapse-study report {launcher.run_dir}")
        launcher.say(f"Trials one by one: optuna-dashboard {launcher.paths.journal}")
        complete = self.searcher.finished >= self.search.config.trials
        return 1 if missing or ending or not complete else 0
