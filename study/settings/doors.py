"""What every command does with an error that none of its parts expected.

The trace goes to a file and one line to the user. Nothing is imported here that Python has not
loaded before, and little by the doors, so that a command soon stands within `at_door` while it
imports the rest: Ctrl-C before that is a traceback.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path

LONGEST = 300
"""Characters of an error's text that are shown."""
LONGEST_LINE = 490
"""Characters of a line that refuses a request."""
OF_A_PATH = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EACCES,
    errno.EROFS,
)
"""Numbers of errors that another path would not have."""
TRAINING = (
    "torch",
    "torchvision",
    "torchao",
    "ray",
    "transformers",
    "tokenizers",
    "datasets",
    "safetensors",
    "sentencepiece",
    "sklearn",
    "optuna",
)
"""Libraries that plans, reports and packing do without: the extra `[train]`."""
ALONE = {"optuna": "search"}
"""Those of them that have an extra of their own."""


def at_door(main: Callable[..., int]) -> Callable[..., int]:
    """Let a command end in a code and at most one line, whatever is raised within.

    Ctrl-C and errors that are no fault of the request end in code 1, or in the `exit_code` of the
    error; the trace of an error lies in a file, which the line names. A reader of the output who
    has gone ends in code 1, too. A path that cannot be used is a fault of the request, code 2, as
    is training where nothing for it is installed.
    """

    @wraps(main)
    def guarded(arguments: Sequence[str] | None = None) -> int:
        _open_standard_streams()
        _leave_foreign_folder()
        try:
            code = main(arguments)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            _say("Stopped.")
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter complains, too
        except Exception as error:
            if isinstance(error, OSError) and error.errno in OF_A_PATH and error.filename:
                return refused(error)
            if isinstance(error, ModuleNotFoundError) and error.name in TRAINING:
                text = f"error: {error.name} is not installed. {remedy(error.name)}"
                return refused(ImportError(text))
            _say(_line(error))
            return int(getattr(error, "exit_code", 1))
        return 1

    return guarded


def installed(library: str) -> bool:
    """Whether a library can be imported, which is not done."""
    from importlib.util import find_spec

    return find_spec(library) is not None


def remedy(library: str) -> str:
    """How to get a library of training."""
    return f"Run pip install 'collapse-study[{ALONE.get(library, 'train')}]'"


def own_package(name: str, folder: Path) -> None:
    """Take the package in a folder, which is a door's own, for a name.

    Else a folder of that name where the command was called may be taken for it.
    """
    import importlib.util

    file = str(folder / "__init__.py")
    if getattr(sys.modules.get(name), "__file__", None) == file:
        return
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def refused(error: Exception) -> int:
    """Tell what is wrong with a request; the exit code of a wrong request."""
    from study.settings.faults import shortened

    text = str(error)
    if isinstance(error, OSError) and error.filename:
        place = shortened(os.fsdecode(error.filename), LONGEST)
        text = f"error: {place}: {error.strerror}. Mend that, or give another path"
    _say("\n".join(shortened(line, LONGEST_LINE) for line in text.splitlines()))
    return 2


def _open_standard_streams() -> None:
    """Let output that was closed go nowhere, and escape letters that it cannot take.

    Else it would go into the next file that is opened, or end a command that names a file.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _leave_foreign_folder() -> None:
    """Find no module where `python -m` was called, unless ours lie there.

    Python looks there first, and a user's folder may have an `analysis` of its own.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    called = spec is not None and spec.name.partition(".")[0] in ("study", "analysis")
    if called and Path(sys.path[0]) == Path.cwd() != Path(__file__).parents[2]:
        del sys.path[0]


def _line(error: Exception) -> str:
    """The error in one line, with the place of its trace."""
    from study.settings.faults import shortened

    first = str(error).strip().partition("\n")[0]
    text = shortened(first.rstrip("."), LONGEST)
    head = f"error: {type(error).__name__}: {text}" if text else f"error: {type(error).__name__}"
    return f"{head}. What was stored before is kept. {_keep_trace(error)}"


def _keep_trace(error: Exception) -> str:
    """Write the trace to a file of its own; says where it is."""
    import traceback

    try:
        import tempfile  # which fails where a file of the user's hides what it imports

        handle, path = tempfile.mkstemp(prefix="study-error-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            stream.write("".join(traceback.format_exception(error)))
    except Exception as refused:
        return f"Its trace cannot be written ({type(refused).__name__}: {refused})"
    return f"The full trace is in {path}"


def _say(text: str) -> None:
    with suppress(OSError):  # nobody is left to tell
        print(text, file=sys.stderr, flush=True)
