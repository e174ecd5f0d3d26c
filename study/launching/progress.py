"""How far a run is: counts, who works on what, time left.

Read from the run directory alone, so that anybody can look.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.grid import Cell, Training, trainings
from study.launching.units import counted, duration
from study.store import Store, leases
from study.store.leases import Lease, Leases


@dataclass(frozen=True)
class Snapshot:
    """Cells of a study by state, and the leases of the trainings that run."""

    total: int
    done: int
    failed: int
    running: tuple[Lease, ...]
    share: float

    @property
    def left(self) -> int:
        """Cells neither done nor failed."""
        return self.total - self.done - self.failed


@dataclass(frozen=True)
class Progress:
    """How far a run is, whatever it is a run of.

    `units` are cells of a study or trials of a search, `running` trainings; `stored` counts the
    cells that have rows.
    """

    units: str
    total: int
    done: int
    failed: int
    left: int
    running: int
    stored: int
    seconds_left: float | None = None

    @property
    def text(self) -> str:
        """All of it in one line."""
        parts = [f"{self.done} of {self.total} {self.units} done", f"{self.left} left"]
        parts += [f"{self.failed} failed"] * (self.failed > 0)
        parts += [f"{self.running} training{'s' * (self.running > 1)} running"] * (self.running > 0)
        if self.left and self.seconds_left is not None:
            parts.append(f"about {duration(self.seconds_left)} to go")
        return ", ".join(parts)


@dataclass(frozen=True)
class Effort:
    """What a training takes: its steps, and measuring.

    In seconds, or in any other unit.
    """

    training: float
    measuring: float

    @property
    def total(self) -> float:
        """Both."""
        return self.training + self.measuring

    def done(self, progress: Mapping[str, Any]) -> float:
        """How much of it a worker has done that reports such progress.

        That is `step` of `steps`, and `measured` of `checkpoints`.
        """
        trained, measured = (
            progress.get(part, 0) / whole if (whole := progress.get(of)) else 0.0
            for part, of in (("step", "steps"), ("measured", "checkpoints"))
        )
        return self.training * trained + self.measuring * measured


ENOUGH = 0.01
"""Share of the work whose time tells that of the rest.

A cell that has ended tells it before.
"""


class Watch:
    """Looks at a run again and again.

    The time left follows from the work that is done meanwhile.
    """

    def __init__(
        self,
        run_dir: Path,
        cells: Iterable[Cell],
        efforts: Mapping[str, Effort] | None = None,
        *,
        trials: int = 0,
        each: int = 0,
    ) -> None:
        """Begin to look.

        Args:
            run_dir: the run.
            cells: its cells that are known so far.
            efforts: what a training takes, by its key; if one lacks, all trainings count alike.
            trials: trainings in all of a search; those not yet asked for count as left.
            each: cells of each of these.
        """
        self.store = Store(run_dir)
        self.leases = Leases(self.store.paths.leases)
        self.trials, self.each = trials, each
        self._efforts = dict(efforts or {})
        self._known = _Known.of(cells, self._efforts)
        self.started = time.monotonic()
        self.seen: float | None = None
        self.first = self.look()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that are known so far."""
        return self._known.cells

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Their trainings."""
        return self._known.trainings

    def add(self, cells: Iterable[Cell]) -> None:
        """Look at these cells too."""
        self._known = _Known.of((*self._known.cells, *cells), self._efforts)

    def look(self) -> Snapshot:
        """The state now."""
        known = self._known  # as a whole: `add` may be called meanwhile
        keys = self.store.keys()
        failures = self.store.failed(done=keys)
        running = tuple(lease for lease in self.leases.all() if self.leases.busy(lease.training))
        by_key = {lease.training: lease for lease in running}
        finished = 0.0
        for training in known.trainings:
            ended = sum(cell.key in keys or cell.key in failures for cell in training.cells)
            lease = by_key.get(training.key)
            effort = known.efforts[training.key]
            under_way = effort.done(lease.progress) if lease else 0.0
            finished += max(effort.total * ended / len(training.cells), under_way)
        if running and self.seen is None:
            self.seen = time.monotonic()
        unknown = max(0, self.trials - len(known.trainings))
        return Snapshot(
            total=len(known.cells) + unknown * self.each,
            done=sum(cell.key in keys for cell in known.cells),
            failed=sum(cell.key in failures for cell in known.cells),
            running=running,
            share=finished / (sum(each.total for each in known.efforts.values()) + unknown or 1.0),
        )

    def seconds_left(self, now: Snapshot) -> float | None:
        """Estimate from the share of the work done so far; None if that is too little."""
        gained = now.share - self.first.share
        ended = now.left < self.first.left
        if gained <= 0 or not (ended or gained >= ENOUGH):
            return None
        # before a training was seen, time went into starting Ray
        since = self.started if self.seen is None else self.seen
        # what a running training says of itself is half a beat old on average
        late = leases.BEAT / 2 if now.running else 0.0
        return max(0.0, time.monotonic() - since - late) * (1 - now.share) / gained


ALIKE = Effort(0.5, 0.5)
"""What a training takes of which nothing is known."""


@dataclass(frozen=True)
class _Known:
    """Cells, their trainings, and what each training takes."""

    cells: tuple[Cell, ...]
    trainings: tuple[Training, ...]
    efforts: dict[str, Effort]

    @classmethod
    def of(cls, cells: Iterable[Cell], efforts: Mapping[str, Effort]) -> _Known:
        """Each cell once; if what a training takes is not known, all count alike."""
        once = tuple({cell.key: cell for cell in cells}.values())
        groups = trainings(once)
        complete = all(training.key in efforts for training in groups)
        own = {t.key: efforts[t.key] if complete else ALIKE for t in groups}
        return cls(once, groups, own)


def headline(now: Snapshot, left: float | None) -> str:
    """The state in one line."""
    parts = [f"{now.done}/{now.total} cells done"]
    if now.failed:
        parts.append(f"{now.failed} failed")
    parts.append(f"{counted(len(now.running), 'training')} running")
    return ", ".join(parts) + (
        f", about {duration(left)} left" if now.left and left is not None else ""
    )


def describe_lease(lease: Lease, cell: Cell | None) -> list[str]:
    """A row of the table of trainings that run.

    Which training, what it does, how far it is, its last loss, its speed, where.
    """
    at = lease.progress
    name = lease.training[:8] if cell is None else training_name(cell)
    step = f"{at['step']}/{at['steps']}" if "step" in at else ""
    loss = f"{at['loss']:.4f}" if "loss" in at else ""
    speed = f"{at['tokens_per_second']:,.0f}/s" if "tokens_per_second" in at else ""
    doing = str(at.get("doing", "starting"))
    if "share" in at:
        doing += f" {at['share']:.0%}"
    return [escape(text) for text in (name, doing, step, loss, speed, f"{lease.host}:{lease.pid}")]


def training_name(cell: Cell) -> str:
    """A training as people speak of it: kind, size, epochs, seed."""
    config = cell.config
    sizes = (getattr(config.model, axis, None) for axis in ("depth", "width"))
    size = "x".join(str(each) for each in sizes if each is not None)
    epochs = counted(config.train.epochs, "epoch")
    return " ".join(
        part for part in (config.model.kind, size, epochs, f"seed {config.seed}") if part
    )


def running_table(running: Iterable[Lease], cells: Mapping[str, Cell]) -> Table:
    """What each training that runs is doing; `cells`: one of its cells by its key."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("training", "doing", "step", "loss", "tokens", "where"):
        table.add_column(
            column, justify="right" if column in ("step", "loss", "tokens") else "left"
        )
    for lease in running:
        table.add_row(*describe_lease(lease, cells.get(lease.training)))
    return table


def bar(share: float) -> tuple[ProgressBar, Text]:
    """A bar on a line of its own."""
    return ProgressBar(total=1.0, completed=min(share, 1.0), width=60), Text()


def render(watch: Watch, now: Snapshot) -> Group:
    """The state as a bar and a table of what runs."""
    left = watch.seconds_left(now)
    by_training = {training.key: training.first for training in watch.trainings}
    tables = [running_table(now.running, by_training)] if now.running else []
    return Group(Text(headline(now, left)), *bar(now.share), *tables)
