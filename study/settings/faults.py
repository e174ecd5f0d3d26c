"""What is wrong with a request, where, and what to do about it.

Every fault of a file is told at once, never a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    `path` is the place in the YAML (`grid.width[2]`), `fix` what to do about it.
    """

    path: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text}. {self.fix}" if self.fix else text


class StudyError(ValueError):
    """A study file cannot be used. `faults` holds one entry per fault."""

    def __init__(self, faults: Iterable[Fault], *, source: str = "") -> None:
        self.faults = tuple(dict.fromkeys(faults))
        self.source = source
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        head = f"{source}: {count}" if source else count
        super().__init__("\n".join([head, *(f"  {fault}" for fault in self.faults)]))


def nearest(name: str, known: Iterable[str]) -> str:
    """Sentence that names the nearest known name, or all of them when none is near."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean `{close[0]}`?" if close else f"Known names: {', '.join(names)}"
