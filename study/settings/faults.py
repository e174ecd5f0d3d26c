"""What is wrong with a request, where, and what to do about it.

Every fault of a file is told at once, never a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

LISTED = 50
"""Faults of a file that its error shows."""


def shortened(text: str, length: int) -> str:
    """Text that fits a terminal.

    Its middle is left out where it is long, and control characters always.
    """
    return _cut("".join(map(_printable, _cut(text, length))), length)


def _cut(text: str, length: int) -> str:
    end = length // 3
    return text if len(text) <= length else f"{text[: length - end - 5]} ... {text[-end:]}"


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else ascii(letter)[1:-1]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    `path` is the place in the YAML (`grid.width[2]`), `fix` what to do about it.
    """

    path: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        path, message, fix = shortened(self.path, 80), shortened(self.message, 240), self.fix
        text = f"{path}: {message}" if path else message
        end = "" if text.endswith((".", "?", "!", ":")) else "."
        return f"{text}{end} {shortened(fix, 170)}" if fix else text


class StudyError(ValueError):
    """A study file cannot be used. `faults` holds one entry per fault."""

    def __init__(self, faults: Iterable[Fault], *, source: str = "") -> None:
        self.faults = tuple(dict.fromkeys(faults))
        self.source = source
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        head = f"{source}: {count}" if source else count
        more = len(self.faults) - LISTED
        lines = [f"  {fault}" for fault in self.faults[:LISTED]]
        lines += [f"  ... and {more} more"] if more > 0 else []
        super().__init__("\n".join([shortened(head, 240), *lines]))


SHOWN = 10
"""Names of a file, such as its columns, that a message lists."""


def some_of(names: Iterable[str], like: str) -> str:
    """The names, or of many those most similar to one, and how many more there are."""
    every = list(names)
    if len(every) <= SHOWN:
        return ", ".join(every)
    near = get_close_matches(like, every, n=SHOWN, cutoff=0.0)
    return f"{', '.join(near)} and {len(every) - len(near)} more"


def nearest(name: str, known: Iterable[str]) -> str:
    """Sentence that names the nearest known name, or all of them when none is near."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    count = len(names)
    while len(listed := ", ".join(names[:count])) > 130:
        count -= 1
    more = f" and {len(names) - count} more" if count < len(names) else ""
    return f"Known names: {listed}{more}"
