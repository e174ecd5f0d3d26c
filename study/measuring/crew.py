"""Whoever makes the passes that a meter asks for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from study.measuring.passes import Passes
from study.precision import Precision, Record


class Crew(Protocol):
    """Whoever makes the passes: a process, or several with shares of the samples."""

    def all(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        """What a method of each one's `Passes` returns."""

    def one(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the first one's `Passes` returns."""

    def at(self, precision: Precision) -> AbstractContextManager[Record]:
        """Within, the model of each one is at a precision."""


class Alone:
    """A crew of this process."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes

    def all(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        return [getattr(self.passes, method)(*arguments, **options)]

    def one(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.passes, method)(*arguments, **options)

    def at(self, precision: Precision) -> AbstractContextManager[Record]:
        return self.passes.at(precision)
