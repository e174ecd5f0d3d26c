"""`--dry-run`: what a launch would do and cost, as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.grid import Cost, Plan, Training, trainings
from study.launching.data_sizes import DataSizes
from study.launching.progress import training_name
from study.launching.speed import Speeds, at_once
from study.launching.units import counted, duration, quantity, size_text
from study.settings.doors import installed, remedy
from study.settings.faults import shortened

SHOWN = 40


def show_plan(plan: Plan, console: Console, sizes: DataSizes) -> None:
    """Print cells by state, data, trainings with their cost, and totals."""
    groups = trainings(plan.cells)
    console.print(
        f"[bold]{plan.cells[0].study}[/]: {counted(len(plan.cells), 'cell')} of "
        f"{counted(len(groups), 'training')}. "
        f"{counted(len(plan.done), 'cell')} done, {len(plan.failed)} failed, "
        f"{plan.pending_cells} to run: "
        f"{counted(len(plan.pending) - len(plan.measured_only), 'training')}, "
        f"{len(plan.measured_only)} measured from kept checkpoints.",
        soft_wrap=True,
    )
    if plan.retrained:
        console.print(
            f"[yellow]{len(plan.retrained)} trainings run again[/]: "
            "they have finished cells, but their checkpoints are not "
            f"kept: {', '.join(sorted(key[:8] for key in plan.retrained))}",
            soft_wrap=True,
        )
    _show_data(plan, console, sizes)
    _show_trainings(plan, console, sizes)


def _show_data(plan: Plan, console: Console, sizes: DataSizes) -> None:
    by_data = {cell.config.data.model_dump_json(): cell for cell in plan.cells}
    table = Table(
        title="data", title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim"
    )
    for column in ("kind", "source", "classes", "sequences", "train samples", "validation samples"):
        table.add_column(column, justify="left" if column in ("kind", "source") else "right")
    for cell in by_data.values():
        name = escape(shortened(str(getattr(cell.config.data, "source", "")), 200))
        size, problem = sizes.size(cell), sizes.problem(cell)
        if size is None:
            table.add_row(cell.config.data.kind, name, "?", "?", "?", "?")
            console.print(
                f"[yellow]data[/] {escape(shortened(problem or '', 400))}", soft_wrap=True
            )
        else:
            numbers = (size.classes, size.train_rows, size.train_samples, size.val_samples)
            table.add_row(
                cell.config.data.kind, name, *("?" if n is None else f"{n:,}" for n in numbers)
            )
            if size.origin:
                console.print(f"[dim]{name}: {escape(size.origin)}[/]", soft_wrap=True)
    console.print(table)


def _show_trainings(plan: Plan, console: Console, sizes: DataSizes) -> None:
    table = Table(
        title="trainings to run",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    for column in ("training", "cells", "params", "tokens", "FLOPs", "time each", "kept"):
        table.add_column(column, justify="left" if column == "training" else "right", no_wrap=True)
    kinds: dict[tuple[Any, ...], list[Training]] = {}
    speeds = Speeds(sizes.cache)
    times = {
        t.key: effort.total
        for t in plan.pending
        if t.key in plan.costs and (effort := speeds.effort(t, plan.costs[t.key])) is not None
    }
    for training in plan.pending:
        name = training_name(training.first).rpartition(" seed ")[0]
        cost = plan.costs.get(training.key)
        size = () if cost is None else (cost.parameters, cost.tokens, cost.disk)
        kinds.setdefault((name, len(training.cells), *size), []).append(training)
    for (name, cells, *_), alike in list(kinds.items())[:SHOWN]:
        # Of trainings that share an untrained model one measures it: the line is that one's.
        most = max(alike, key=lambda training: _flops_of(plan.costs.get(training.key)))
        columns = _cost_columns(plan.costs.get(most.key), times.get(most.key))
        table.add_row(f"{len(alike)} x {name}", str(cells), *columns)
    if not kinds:
        return
    console.print(table)
    if len(kinds) > SHOWN:
        console.print(f"... and {len(kinds) - SHOWN} more kinds")
    costs = list(plan.costs.values())
    if len(costs) < len(plan.pending):
        console.print("The cost of trainings whose data cannot be read is not known.")
    known = [cost for cost in costs if cost.parameters is not None]
    if known:
        parameters = [cost.parameters for cost in known if cost.parameters is not None]
        console.print(
            f"Parameters {quantity(min(parameters))} to {quantity(max(parameters))}; "
            f"{quantity(sum(cost.tokens for cost in known))} tokens, {_flops(known)}; "
            f"{size_text(sum(cost.disk or 0 for cost in known))} of kept checkpoints.",
            soft_wrap=True,
        )
    console.print(_total_time(plan, times), soft_wrap=True)
    if not installed("torch"):
        console.print(
            f"Memory, layers and devices are not looked at without torch. {remedy('torch')}.",
            soft_wrap=True,
            markup=False,
        )
        return
    from study.launching.memory import planned_memory  # torch, which a relaunch need not import

    if (memory := planned_memory(plan, sizes)) is not None:
        console.print(f"Of the largest training, {memory}", soft_wrap=True)


def _total_time(plan: Plan, times: dict[str, float]) -> str:
    """How long all trainings take on this computer, as many at a time as fit."""
    known = [time / at_once(t) for t in plan.pending if (time := times.get(t.key)) is not None]
    if not known:
        return "Time is not known: `--calibrate` measures a few steps on this computer."
    missing = len(plan.pending) - len(known)
    rest = (
        f" and {missing} trainings of unknown time (`--calibrate` measures them)" if missing else ""
    )
    total = max(sum(known), *times.values())  # a training runs on no more than its own cores
    return f"Time on this computer: about {duration(total)}{rest}."


def _flops(costs: list[Cost]) -> str:
    known = [cost.flops for cost in costs if cost.flops is not None]
    if len(known) < len(costs):
        return "FLOPs not known without the number of validation samples"
    measuring = sum(cost.measuring_flops or 0 for cost in costs)
    share = f", {measuring / sum(known):.0%} of them to measure" if sum(known) else ""
    return f"{quantity(sum(known))}FLOPs{share}"


def _flops_of(cost: Cost | None) -> float:
    return 0.0 if cost is None or cost.flops is None else cost.flops


def _cost_columns(cost: Cost | None, seconds: float | None) -> tuple[str, str, str, str, str]:
    if cost is None or cost.parameters is None:
        return ("?", "?" if cost is None else quantity(cost.tokens), "?", "?", "?")
    return (
        quantity(cost.parameters),
        quantity(cost.tokens),
        "?" if cost.flops is None else quantity(cost.flops),
        duration(seconds),
        size_text(cost.disk or 0),
    )
