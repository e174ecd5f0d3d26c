"""What every command does with an error that none of its parts expected.

The trace goes to a file and one line to the user. Nothing heavy is imported here, so that a command
can stand within `at_door` while it imports the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps

LONGEST = 300
"""Characters of an error's text that are shown."""


def at_door(main: Callable[..., int]) -> Callable[..., int]:
    """Let a command end in a code and at most one line, whatever is raised within.

    Ctrl-C and errors that are no fault of the request end in code 1; the trace of an error lies in
    a file, which the line names. A reader of the output who has gone ends in code 1, too.
    """

    @wraps(main)
    def guarded(arguments: Sequence[str] | None = None) -> int:
        _open_standard_streams()
        try:
            code = main(arguments)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            _say("Stopped.")
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter complains, too
        except Exception as error:
            _say(_line(error))
        return 1

    return guarded


def refused(error: Exception) -> int:
    """Tell what is wrong with a request; the exit code of a wrong request."""
    _say(str(error))
    return 2


def _open_standard_streams() -> None:
    """Let output that was closed go nowhere.

    Else it would go into the next file that is opened.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _line(error: Exception) -> str:
    """The error in one line, with the place of its trace."""
    first = str(error).strip().partition("\n")[0]
    text = first.rstrip(".")
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    head = f"error: {type(error).__name__}: {text}" if text else f"error: {type(error).__name__}"
    return f"{head}. What was stored before is kept. {_keep_trace(error)}"


def _keep_trace(error: Exception) -> str:
    """Write the trace to a file of its own; says where it is."""
    import tempfile
    import traceback

    try:
        handle, path = tempfile.mkstemp(prefix="study-error-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            stream.write("".join(traceback.format_exception(error)))
    except OSError as refused:
        return f"Its trace cannot be written ({refused.strerror})"
    return f"The full trace is in {path}"


def _say(text: str) -> None:
    with suppress(OSError):  # nobody is left to tell
        print(text, file=sys.stderr, flush=True)
