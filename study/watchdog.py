"""Ends a process in which nothing has moved for too long, and leaves the stack of every thread behind."""

from __future__ import annotations

import faulthandler
import threading
import time
from pathlib import Path
from types import TracebackType

FILE = "hang.log"


class Watchdog:
    """Unless `moved` is called every so often, writes all stacks to `folder/hang.log` and ends the process.

    The clock runs in C and needs no interpreter lock: a library that hangs while it holds the lock is caught as well.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.path, self.seconds = folder / FILE, seconds
        self._working = threading.Event()
        self._done = threading.Event()
        self._last = 0.0

    def __enter__(self) -> Watchdog:
        self._file = self.path.open("w", encoding="utf-8")
        self.moved()
        self._thread = threading.Thread(target=self._listen, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        self.path.unlink(missing_ok=True)

    def moved(self, *, silent: bool = False) -> None:
        """Progress was made. `silent`: what comes now reports none, so that the use of the processor counts as such."""
        if silent:
            self._working.set()
        else:
            self._working.clear()
        if time.monotonic() - self._last > min(1.0, self.seconds / 10):
            self._arm()

    def _arm(self) -> None:
        self._last = time.monotonic()
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=self._file)

    def _listen(self) -> None:
        """Take used processor time for progress while work is done that reports none."""
        pause = min(5.0, self.seconds / 5)
        used = time.process_time()
        while not self._done.wait(pause):
            before, used = used, time.process_time()
            if self._working.is_set() and used - before > 0.1 * pause:
                self._arm()


def stacks_of_hang(folder: Path) -> str | None:
    """What a watchdog that ended its process left; None where none did."""
    try:
        return (folder / FILE).read_text(encoding="utf-8", errors="replace") or None
    except FileNotFoundError:
        return None


def clear_stacks(folder: Path) -> None:
    """Forget what a watchdog left, once it is recorded."""
    (folder / FILE).unlink(missing_ok=True)
