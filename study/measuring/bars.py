"""Progress of a measurement on a terminal: a bar for each thing that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID, TimeRemainingColumn


@contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Give the function that moves the bars.

    It takes what is being done and the share of it that is done.
    """
    tasks: dict[str, TaskID] = {}
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def beat(doing: str, share: float) -> None:
            if doing not in tasks:
                tasks[doing] = progress.add_task(doing, total=1.0)
            progress.update(tasks[doing], completed=share)

        yield beat
