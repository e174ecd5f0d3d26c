"""Object storage that does not answer: how long it is waited for, who is told.

A process has one `OUTAGE`, which its threads share: requests that fail are sent again, with pauses
that double, until none was answered for `patience` seconds. From then on each fails at once.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from study.store.errors import StorageError

SHORT, LONG = 30.0, 300.0
"""Seconds that a command waits, and those of a launch or a training under way."""
FIRST, LONGEST = 0.25, 20.0
"""Seconds of the first pause between two tries, and of the longest."""


class Outage:
    """Since when requests of this process are not answered."""

    def __init__(self) -> None:
        self.begin(SHORT, None)
        os.register_at_fork(after_in_child=lambda: self.begin(SHORT, None))

    def begin(self, patience: float, say: Callable[[str], None] | None) -> None:
        """Know of no outage, and wait so long for the end of the next."""
        self.patience, self.say = patience, say
        self._lock, self._over = threading.Lock(), threading.Event()
        self._since: float | None = None
        self._failed = 0.0

    def answered(self) -> None:
        """Take note that a request was answered."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None and self.say is not None:
            self.say(f"The object storage answers again, after {time.time() - since:.0f} s")

    def failed(self, error: StorageError, tries: int) -> None:
        """Wait until a request that failed so many times is to be sent again.

        Raises StorageError where that is in vain.
        """
        now = time.time()
        with self._lock:
            quiet = tries == 1 and now - self._failed > max(SHORT, self.patience)
            new = self._since is None or quiet
            since = now if self._since is None or quiet else self._since
            self._since, self._failed = since, now
        left = since + self.patience - now
        if left <= 0 or self._over.is_set():
            text = f"no answer since {_clock(since)}: {error.strerror}"
            raise StorageError(error.errno, text, error.filename) from error
        if new and self.say is not None:
            self.say(
                f"The object storage has not answered since {_clock(since)} ({error.filename}: "
                f"{error.strerror}). What is stored is safe; requests are sent again until "
                f"{_clock(since + self.patience)}, or until Ctrl-C"
            )
        pause = min(FIRST * 2 ** min(tries - 1, 10), LONGEST) * random.uniform(0.5, 1.0)
        self._over.wait(min(pause, left))

    def give_up(self) -> None:
        """Wait no more, in no thread."""
        self._over.set()


OUTAGE = Outage()


@contextmanager
def patient(say: Callable[[str], None]) -> Iterator[None]:
    """Within, storage that does not answer is waited for `LONG` seconds.

    `say` tells of it. What is within another one shares its patience.
    """
    if OUTAGE.say is not None:
        yield
        return
    OUTAGE.begin(LONG, say)
    try:
        yield
    finally:
        OUTAGE.begin(SHORT, None)


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
