"""How far a run is: counts, who works on what, time left. Read from the run directory alone, so anybody can look."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.grid import Cell, trainings
from study.store import Store
from study.store.leases import Lease, Leases


@dataclass(frozen=True)
class Snapshot:
    """Cells of a study by state, and the leases of the trainings that somebody works on."""

    total: int
    done: int
    failed: int
    running: tuple[Lease, ...]
    share: float

    @property
    def left(self) -> int:
        """Cells neither done nor failed."""
        return self.total - self.done - self.failed


ENOUGH = 0.01
"""Share of the work from whose time that of the rest is estimated, unless a cell has ended before."""


class Watch:
    """Looks at a run again and again; the time left follows from the work done since the first training was seen."""

    def __init__(
        self, run_dir: Path, cells: Collection[Cell], weights: dict[str, float] | None = None
    ) -> None:
        """`weights`: cost of a training by its key; where one is missing all trainings count alike."""
        self.store = Store(run_dir)
        self.leases = Leases(self.store.paths.leases)
        self.cells = cells
        self.trainings = trainings(cells)
        known = weights if weights and all(t.key in weights for t in self.trainings) else {}
        self.weights = {t.key: known.get(t.key, 1.0) for t in self.trainings}
        self.started = time.monotonic()
        self.seen: float | None = None
        self.first = self.look()

    def look(self) -> Snapshot:
        """The state now."""
        keys = self.store.keys()
        failures = {path.stem for path in self.store.paths.failures.glob("[!.]*.json")} - keys
        running = tuple(lease for lease in self.leases.all() if self.leases.busy(lease.training))
        by_key = {lease.training: lease for lease in running}
        finished = 0.0
        for training in self.trainings:
            ended = sum(cell.key in keys or cell.key in failures for cell in training.cells) / len(
                training.cells
            )
            lease = by_key.get(training.key)
            finished += self.weights[training.key] * max(
                ended, training_share(lease) if lease else 0.0
            )
        if running and self.seen is None:
            self.seen = time.monotonic()
        return Snapshot(
            total=len(self.cells),
            done=sum(cell.key in keys for cell in self.cells),
            failed=sum(cell.key in failures for cell in self.cells),
            running=running,
            share=finished / (sum(self.weights.values()) or 1.0),
        )

    def seconds_left(self, now: Snapshot) -> float | None:
        """Estimate from the share of the work done since then; None where it is too little to tell."""
        gained = now.share - self.first.share
        ended = now.left < self.first.left
        if gained <= 0 or not (ended or gained >= ENOUGH):
            return None
        since = (
            self.started if self.seen is None else self.seen
        )  # before, time went into starting Ray
        return (time.monotonic() - since) * (1 - now.share) / gained


def training_share(lease: Lease) -> float:
    """Share of its optimizer steps that a training has done."""
    steps = lease.progress.get("steps")
    return float(lease.progress.get("step", 0)) / steps if steps else 0.0


def duration(seconds: float | None) -> str:
    """`2 h 05 min`, `3 min 20 s`, `12 s`, or a question mark."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def headline(now: Snapshot, left: float | None) -> str:
    """The state in one line."""
    parts = [f"{now.done}/{now.total} cells done"]
    if now.failed:
        parts.append(f"{now.failed} failed")
    parts.append(f"{len(now.running)} trainings running")
    return ", ".join(parts) + (
        f", about {duration(left)} left" if now.left and left is not None else ""
    )


def describe_lease(lease: Lease, cell: Cell | None) -> list[str]:
    """Cells of a table row: which training, what it does, how far it is, its last loss, its speed."""
    at = lease.progress
    name = lease.training[:8] if cell is None else training_name(cell)
    step = f"{at['step']}/{at['steps']}" if "step" in at else ""
    loss = f"{at['loss']:.4f}" if "loss" in at else ""
    speed = f"{at['tokens_per_second']:,.0f}/s" if "tokens_per_second" in at else ""
    doing = str(at.get("doing", "starting"))
    if "share" in at:
        doing += f" {at['share']:.0%}"
    return [name, doing, step, loss, speed, f"{lease.host}:{lease.pid}"]


def training_name(cell: Cell) -> str:
    """A training as people speak of it: kind, size, epochs, seed."""
    settings = cell.settings()
    size = "x".join(
        str(settings[axis]) for axis in ("depth", "width") if settings.get(axis) is not None
    )
    return f"{settings['model_kind']} {size} {settings['epochs']} epochs seed {settings['seed']}".replace(
        "  ", " "
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
