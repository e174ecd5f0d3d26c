"""How a launch shows what goes on.

A live table on a terminal, a line now and then elsewhere.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.live import Live

from study.launching.progress import Snapshot, Watch, headline, render

REFRESH, SELDOM = 1.0, 60.0
"""Seconds between two looks: at least, and at most however long one takes."""
LINE_AFTER, LINE_AT_LEAST = 5.0, 60.0
"""Seconds between two lines when something has changed, and when nothing has."""


class Output(Console):
    """Standard output of a launch.

    The launch goes on in silence where nobody takes what it says.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, or fall silent for good.

        That is where the reader has gone, or the disk of a log is full.
        """
        try:
            super().print(*objects, **options)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Rich calls this where the reader has gone."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


@contextmanager
def view(watch: Watch, console: Console) -> Iterator[None]:
    """Show the state of a run while the block runs."""
    if not console.is_terminal:
        with _looking(watch, _lines(watch, console)):
            yield
        return
    live = Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live, _looking(watch, lambda now: live.update(render(watch, now), refresh=True)):
        yield


@contextmanager
def _looking(watch: Watch, show: Callable[[Snapshot], None]) -> Iterator[None]:
    """Look again and again in the background; a large run on a slow disk less often."""
    done = threading.Event()

    def look() -> None:
        pause = REFRESH
        while not done.wait(pause):
            began = time.monotonic()
            with suppress(OSError):  # a disk that does not answer now may at the next look
                show(watch.look())
            pause = min(max(REFRESH, 20 * (time.monotonic() - began)), SELDOM)

    thread = threading.Thread(target=look, name="view", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _lines(watch: Watch, console: Console) -> Callable[[Snapshot], None]:
    """A line where counts have changed, and one every minute."""
    counts, at = (-1, -1), time.monotonic() - LINE_AT_LEAST

    def show(now: Snapshot) -> None:
        nonlocal counts, at
        silence = time.monotonic() - at
        if ((now.done, now.failed) != counts and silence > LINE_AFTER) or silence > LINE_AT_LEAST:
            console.print(headline(now, watch.seconds_left(now)), highlight=False)
            counts, at = (now.done, now.failed), time.monotonic()

    return show
