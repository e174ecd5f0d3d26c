"""Ctrl-C, SIGTERM and SIGHUP: trainings are asked to save, then the launch ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 60.0
"""Seconds that workers have for saving; one that reports no progress meanwhile is left behind."""
NOTICE = 10.0
"""Seconds that the scheduler has for noticing that all workers have ended."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the end of an allocation, and the end of the terminal."""


class Stopped(BaseException):
    """The user asked the launch to end, by one of `SIGNALS`."""


class Stopping:
    """Turns the first signal into a request, and the second into an end at once.

    Lost patience ends at once too.
    """

    def __init__(self, ask: Callable[[], None], busy: Callable[[], bool]) -> None:
        """Prepare for signals.

        `ask` passes the request on to the workers; `busy` tells whether any of them still saves.
        """
        self.ask, self.busy = ask, busy
        self.requested, self.over = threading.Event(), threading.Event()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Take signals for requests while the block runs.

        Ends in Stopped if there was one. Nest it where a library sets handlers too. A SIGHUP that
        is ignored stays so: `nohup` asked for that.
        """
        before = {
            number: signal.signal(number, self._signalled)
            for number in SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        except BaseException as error:  # libraries wrap what a handler raises below them
            if self.requested.is_set():
                raise Stopped from error
            raise
        finally:
            self.over.set()
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.requested.is_set():
            raise Stopped

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.requested.is_set():
            raise Stopped
        self.requested.set()
        self.ask()
        threading.Thread(
            target=self._lose_patience, args=(number,), name="patience", daemon=True
        ).start()

    def _lose_patience(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.busy() and time.monotonic() < deadline and not self.over.wait(0.2):
            pass
        if not self.over.wait(NOTICE):
            os.kill(os.getpid(), number)
