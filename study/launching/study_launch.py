"""A launch of a study: what its store lacks is run, then counted."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from study.config import StudyConfig
from study.grid import Cell, Plan, expand
from study.launching.launcher import Description, Launcher
from study.launching.options import LaunchOptions
from study.launching.plan_report import show_plan
from study.launching.replicates import unpaired_faults
from study.launching.speed import calibrate
from study.launching.units import counted
from study.scheduling.backlog import Backlog
from study.settings.faults import Fault, StudyError


class StudyLaunch:
    """One launch of a study."""

    def __init__(
        self,
        study: StudyConfig,
        run_dir: Path,
        options: LaunchOptions,
        console: Console,
        *,
        source: str,
    ) -> None:
        """`source` names the study in errors."""
        description = Description(source, door="launch", does="resumes")
        self.study = study
        self.cells = expand(study)
        gc.freeze()  # of what stays to the end, or each import would have it all looked through
        self.launcher = Launcher(run_dir, options, console, description)

    def show(self, *, calibrated: bool = False) -> None:
        """Print what a launch would do and cost; `calibrated`: measure a few steps first.

        Raises StudyError where it is known that it would not run.
        """
        launcher = self.launcher
        faults = self._faults()
        # A plan of what a larger computer would run helps; one of what none can run does not.
        if any(not fault.path.startswith("resources") for fault in faults):
            raise StudyError(faults, source=launcher.description.source)
        left = launcher.plan(self.cells)
        if calibrated:
            calibrate(left, launcher.paths.cache, launcher.say)
        self._warn_of_epochs()
        show_plan(left, launcher.console, launcher.sizes)
        if faults:
            raise StudyError(faults, source=launcher.description.source)

    def run(self) -> int:
        """Run what is left; the exit code: 0 all in the store, 1 failed or stopped.

        Raises StudyError where a Ray cluster cannot be joined, StoreError where something is left
        and the run cannot be written.
        """
        launcher = self.launcher
        if launcher.read_only and not launcher.missing(self.cells):
            launcher.say(nothing_to_run(len(self.cells), self.cells))
            return self._summary("")
        launcher.check_libraries(self.cells)
        launcher.open_folder()
        if faults := self._faults():
            raise StudyError(faults, source=launcher.description.source)
        launcher.prepare(self.cells)
        launcher.describe_file(
            launcher.paths.study,
            "The study as launched last; `collapse-study launch` of this folder runs what is "
            "missing.",
            self.study.folder,
            self.study.as_yaml(),
        )
        launcher.describe(self.cells)
        self._warn_of_epochs()
        self._warn_of_tuning_seeds()
        ending = run_cells(launcher, self.study, self.cells)
        return 1 if ending is None else self._summary(ending)

    def _faults(self) -> list[Fault]:
        """What is known to be wrong with what would run, or is asked of it."""
        names = self.study.analysis.intervention
        return [*unpaired_faults(self.cells, names), *self.launcher.faults(self.cells)]

    def _warn_of_epochs(self) -> None:
        """Epochs that `measure.at` lists and no training reaches are measured nowhere."""
        listed = [
            (epoch, epoch <= cell.config.train.epochs)
            for cell in self.cells
            if isinstance(cell.config.measure.at, list)
            for epoch in cell.config.measure.at
        ]
        reached = {epoch for epoch, is_reached in listed if is_reached}
        if beyond := sorted({epoch for epoch, _ in listed} - reached):
            text, more = ", ".join(map(str, beyond[:5])), ", ..." if len(beyond) > 5 else ""
            self.launcher.say(
                f"Warning: measure.at lists {text}{more}, and no training has so many epochs: "
                "the last epoch is measured in their place"
            )

    def _warn_of_tuning_seeds(self) -> None:
        """Seeds on which settings were chosen say nothing of how these do elsewhere."""
        tuned = self.study.tuned
        if tuned is not None:
            used = sorted({cell.config.seed for cell in self.cells} & set(tuned.seeds))
            if used:
                self.launcher.say(
                    f"Warning: the settings were tuned on seed {', '.join(map(str, used))} "
                    f"(trial {tuned.trial} of {tuned.search}): what these seeds give is too good; "
                    "leave them out of what you conclude"
                )

    def _summary(self, ending: str) -> int:
        """Say how it ended and what to do next; the exit code."""
        launcher = self.launcher
        launcher.fold()
        if ending:
            launcher.say(ending)
        failed = launcher.failures(self.cells)
        if failed:
            causes = Counter(str(record["cause"]) for record in failed)
            text = ", ".join(f"{cause} {count}" for cause, count in causes.most_common())
            launcher.say(
                f"{len(failed)} cells failed ({text}); "
                f"`collapse-study status {launcher.run_dir}` tells why, "
                "`--retry-failed` runs them again."
            )
        missing = launcher.missing(self.cells)
        unexplained = len(missing) - len(failed)
        if unexplained and not ending:
            launcher.say(
                f"{unexplained} cells have neither rows nor a record of why. {launcher.again()}"
            )
        done = len({cell.key for cell in self.cells}) - len(missing)
        if done:
            launcher.say(
                f"{done} of {len(self.cells)} cells are in {launcher.run_dir}. "
                f"Next: collapse-study report {launcher.run_dir}"
            )
        return 1 if missing or ending else 0


def nothing_to_run(done: int, cells: Collection[Cell]) -> str:
    """What is said where no cell is left that a launch may run."""
    return f"{done} of {len(cells)} cells are done: nothing to run."


def run_cells(launcher: Launcher, study: StudyConfig, cells: tuple[Cell, ...]) -> str | None:
    """Run what the store lacks of cells.

    Returns why it ended early, '' where it did not, None where the user stopped it.
    """
    left = launcher.plan(cells)
    if not left.pending:
        launcher.say(nothing_to_run(len(left.done), cells))
        if launcher.options.track:
            with launcher.tracking(launcher.watch(cells)):  # of what ran without a tracker
                pass
        return ""
    backlog = _begin(launcher, study, left)
    return (backlog.ending or "") if launcher.work(backlog, launcher.watch(cells)) else None


def _begin(launcher: Launcher, study: StudyConfig, left: Plan) -> Backlog:
    """Record the launch, say what it will do, and list its trainings."""
    launcher.record_launch(cells=len(left.cells))
    trained = len(left.pending) - len(left.measured_only)
    launcher.say(
        f"{study.name}: {left.pending_cells} of {counted(len(left.cells), 'cell')} to run "
        f"({len(left.done)} done, {len(left.failed)} failed before): "
        f"{counted(trained, 'training')}, "
        f"{len(left.measured_only)} measured from kept checkpoints. Results: {launcher.run_dir}"
    )
    return Backlog(
        launcher.run_dir,
        left.pending,
        launcher.name,
        git_sha=launcher.record["git_sha"],
        parallel=study.resources.parallel,
        say=launcher.say,
    )
