"""The argument parser of every command: it suggests what was meant."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

from study.settings.faults import nearest, shortened

COMMAND = "collapse-study"
"""The console script that has all commands."""


def program(module: str) -> str:
    """What a command is called by: `collapse-study NAME`, or `python -m MODULE`.

    The module `analysis` is the command `report`, all others have the name of their file.
    """
    if Path(sys.argv[0]).stem != COMMAND:
        return f"python -m {module}"
    return f"{COMMAND} {'report' if module == 'analysis' else module.rpartition('.')[2]}"


class Arguments(argparse.ArgumentParser):
    """A parser whose refusals name the option or the choice that is nearest to a slip."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong; ends the process with code 2."""
        super().error(shortened(message, 400) + self._suggestion(message))

    def _suggestion(self, message: str) -> str:
        if unknown := re.match(r"unrecognized arguments: .*?(--[\w-]+)", message):
            options = [name for name in self._option_string_actions if name.startswith("--")]
            return f". {nearest(unknown[1], options)}"
        if choice := re.match(r"argument (\S+): invalid choice: '(.*?)' \(", message):
            for action in self._actions:
                names = {*action.option_strings, action.dest, action.metavar}
                if choice[1].split("/")[0] in names and action.choices is not None:
                    return f". {nearest(choice[2], map(str, action.choices))}"
        return ""


def positive(text: str) -> int:
    """An argument that counts something: a whole number above 0."""
    return whole(text, least=1)


def whole(text: str, *, least: int, most: int | None = None) -> int:
    """An argument that is a whole number from `least` to `most`."""
    limits = f"from {least} to {most}" if most is not None else f"of at least {least}"
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        message = f"{shortened(text, 80)!r} is no whole number {limits}"
        raise argparse.ArgumentTypeError(message)
    return number
