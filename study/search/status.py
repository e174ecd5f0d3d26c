"""The status of a search: its trials by state, the best, its confirmation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Group
from rich.text import Text

from study.grid import Cell
from study.launching.progress import Progress, bar, running_table
from study.launching.status import disk_line
from study.search.config import Search
from study.search.journal import best_trials, counted, read_journal
from study.store import Store
from study.store.leases import Lease, Leases
from study.store.usage import disk_use

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
}


class SearchStatus:
    """Looks at the run of a search again and again; changes nothing."""

    def __init__(self, search: Search, run_dir: Path) -> None:
        """Raises StudyError where the journal cannot be read."""
        self.search = search
        self.store = Store(run_dir)
        self.leases = Leases(self.store.paths.leases)
        self.holders = Leases(self.store.paths.search)
        self.study = read_journal(self.store.paths.journal)  # goes on reading by itself

    @property
    def goes_on(self) -> bool:
        """Whether a launch works on the search."""
        return self.holders.busy(self.store.paths.search_lease.stem)

    @property
    def failed(self) -> bool:
        """Whether a cell of the confirmation failed; failed trials are replaced."""
        confirmed = self.confirmation()
        return confirmed is not None and bool(confirmed["failed"])

    @property
    def running(self) -> tuple[Lease, ...]:
        """Leases of the trainings that somebody works on."""
        return tuple(lease for lease in self.leases.all() if self.leases.busy(lease.training))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, without those that a later launch asked for again.

        It did so because they had been stopped.
        """
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state != TrialState.FAIL or "reason" in trial.user_attrs
        ]

    def progress(self) -> Progress:
        """How far the search is; failed trials are no part of it, as others replace them."""
        total, done = self.search.config.trials, counted(self.study)
        return Progress(
            units="trials",
            total=total,
            done=done,
            failed=self.states()["failed"],
            left=max(0, total - done),
            running=len(self.running),
            stored=len(self.store.keys()),
        )

    def states(self) -> Counter[str]:
        """Trials by state."""
        return Counter(STATES.get(trial.state, "failed") for trial in self.trials)

    def reasons(self) -> dict[str, list[int]]:
        """reason -> the failed trials that it was the reason of."""
        reasons: dict[str, list[int]] = {}
        for trial in self.trials:
            if trial.state == TrialState.FAIL:
                reasons.setdefault(str(trial.user_attrs["reason"]), []).append(trial.number)
        return reasons

    def cells(self, running: Iterable[Lease]) -> dict[str, Cell]:
        """A cell of each of these trainings by the training's key, if a trial has it."""
        keys = {lease.training for lease in running}
        settings = {
            trial.user_attrs["training"]: trial.user_attrs["settings"]
            for trial in self.trials
            if trial.user_attrs.get("training") in keys
        }
        return {key: self.search.training(values).first for key, values in settings.items()}

    def confirmation(self) -> dict[str, Any] | None:
        """How far the confirmation is: its cells in total, done, failed.

        None where it is not begun.
        """
        record = self.study.user_attrs.get("confirmation")
        if record is None:
            return None
        keys = {*record["tuned"], *record["default"]}
        done = keys & self.store.keys()
        failed = {record["cell"] for record in self.store.failures()} & (keys - done)
        return {
            "trial": record["trial"],
            "seeds": record["seeds"],
            "total": len(keys),
            "done": len(done),
            "failed": len(failed),
        }

    def as_json(self) -> dict[str, Any]:
        """The whole status as plain values."""
        states = self.states()
        return {
            "search": self.search.study.name,
            "trials": {
                "asked": self.search.config.trials,
                **{name: states[name] for name in (*STATES.values(), "failed")},
            },
            "best": [
                {
                    "trial": trial.number,
                    "values": dict(zip(self.search.columns, trial.values, strict=True)),
                    "settings": trial.user_attrs.get("settings", trial.params),
                }
                for trial in best_trials(self.study)
            ],
            "confirmation": self.confirmation(),
            "running": [asdict(lease) for lease in self.running],
            "failures": self.reasons(),
            "disk_bytes": disk_use(self.store.paths),
        }

    def tables(self) -> Group:
        """The whole status for a terminal."""
        return Group(self.live(), disk_line(self.store.paths))

    def live(self) -> Group:
        """The state for a display that is drawn again and again."""
        trials, states = self.search.config.trials, self.states()
        works = self.goes_on
        words = {
            "pruned": "pruned",
            "failed": "failed",
            "running": "running" if works else "interrupted",
        }
        others = [f"{states[name]} {word}" for name, word in words.items() if states[name]]
        head = f"{counted(self.study)}/{trials} trials done" + (
            f" ({', '.join(others)})" if others else ""
        )
        head += "" if works else "; no launch works on it"
        parts: list[Any] = [Text(head), *bar(counted(self.study) / trials)]
        if running := self.running:
            parts.append(running_table(running, self.cells(running)))
        parts += [Text(line) for line in self._best()]
        for reason, numbers in self.reasons().items():
            listed = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            parts.append(
                Text(f"\n{len(numbers)} trials failed: {reason}\n  trial {listed}", style="red")
            )
        if (confirmed := self.confirmation()) is not None:
            failed = f", {confirmed['failed']} failed" if confirmed["failed"] else ""
            parts.append(
                Text(
                    f"\nconfirmation of trial {confirmed['trial']}: "
                    f"{confirmed['done']}/{confirmed['total']} cells done{failed}"
                )
            )
        return Group(*parts)

    def _best(self) -> list[str]:
        """A line for each of the best trials: values, settings."""
        lines = []
        for trial in best_trials(self.study):
            values = ", ".join(
                f"{c} {v:.4g}" for c, v in zip(self.search.columns, trial.values, strict=True)
            )
            settings = ", ".join(
                f"{name} {_setting_text(value)}"
                for name, value in trial.user_attrs.get("settings", trial.params).items()
            )
            lines.append(f"best: trial {trial.number}, {values} ({settings})")
        return lines


def _setting_text(value: Any) -> str:
    """A setting: numbers to four digits, a family with its parameters behind it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(_setting_text(each) for each in value)}]"
    if isinstance(value, dict):
        parameters = ", ".join(
            f"{name} {_setting_text(each)}" for name, each in value.items() if name != "kind"
        )
        return (
            f"{value.get('kind', '')} ({parameters})" if parameters else str(value.get("kind", ""))
        )
    return str(value)
