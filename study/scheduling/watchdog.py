"""Finds out that nothing has moved for too long, and ends what hangs."""

from __future__ import annotations

import faulthandler
import signal
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import FrameType, TracebackType

from study.store.paths import TrainingPaths

SIGNAL = signal.SIGVTALRM
"""Used by nothing else: others have the alarm clock."""


class Hung(RuntimeError):
    """Nothing has moved for too long."""


class Patience(ABC):
    """Within, `moved` must be called every so often."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._working = threading.Event()
        self._done = threading.Event()
        self._last = 0.0
        self._thread = threading.Thread(target=self._listen, name="watchdog", daemon=True)

    def moved(self, *, silent: bool = False) -> None:
        """Note that progress was made.

        `silent`: what comes now reports none, so that the use of the processor counts as progress.
        """
        if silent:
            self._working.set()
        else:
            self._working.clear()
        if time.monotonic() - self._last > min(1.0, self.seconds / 10):
            self._restart()

    def _restart(self) -> None:
        """Start the clock anew."""
        self._last = time.monotonic()

    @abstractmethod
    def _look(self) -> None:
        """Called every now and then."""

    def __enter__(self) -> Patience:
        self._restart()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _listen(self) -> None:
        """Take used processor time for progress while work is done that reports none."""
        pause = min(5.0, self.seconds / 5)
        used = time.process_time()
        while not self._done.wait(pause):
            before, used = used, time.process_time()
            if self._working.is_set() and used - before > 0.1 * pause:
                self._restart()
            self._look()


class Watchdog(Patience):
    """Writes the stacks of all threads to `hang.log` and ends the process.

    The clock runs in C and needs no interpreter lock: a library that hangs while it holds the lock
    is caught as well.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(seconds)
        self.path = TrainingPaths(folder).hang_log

    def __enter__(self) -> Patience:
        self._file = self.path.open("w", encoding="utf-8")
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _restart(self) -> None:
        super()._restart()
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=self._file)

    def _look(self) -> None:
        """The clock needs nobody."""


class Interrupter(Patience):
    """Raises Hung in the main thread; the process goes on.

    The main thread must be the one that enters. A library that hangs without coming back to the
    interpreter is not interrupted.
    """

    def __enter__(self) -> Patience:
        self._main = threading.get_ident()
        self._before = signal.signal(SIGNAL, self._interrupt)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        signal.signal(SIGNAL, self._before)

    def _look(self) -> None:
        if time.monotonic() - self._last > self.seconds:
            self._restart()
            signal.pthread_kill(self._main, SIGNAL)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._done.is_set():
            raise Hung(f"nothing moved for {self.seconds / 60:g} minutes")


def stacks_of_hang(folder: Path) -> str | None:
    """What a watchdog that ended its process left; None where none did."""
    try:
        return TrainingPaths(folder).hang_log.read_text(encoding="utf-8", errors="replace") or None
    except FileNotFoundError:
        return None


def clear_stacks(folder: Path) -> None:
    """Forget what a watchdog left, once it is recorded."""
    TrainingPaths(folder).hang_log.unlink(missing_ok=True)
