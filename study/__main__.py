"""`collapse-study COMMAND ...` and `python -m study`: every command, by its name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from study.settings.doors import at_door, refused

REPORT = "analysis.__main__"
"""The door of `report`, the one command that is no file beside this one."""


def modules() -> dict[str, str]:
    """Command -> its module, in the order of a study's life."""
    order = ["init", "doctor", "launch", "tune", "status", "report", "measure", "pack", "clean"]
    files = {
        path.stem: f"study.{path.stem}"
        for path in sorted(Path(__file__).parent.glob("[!_]*.py"))
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    files["report"] = REPORT
    return {name: files[name] for name in [*order, *sorted(files.keys() - set(order))]}


def summaries(*, console: bool = False) -> dict[str, str]:
    """What each command does, by the command as it is typed.

    `console`: as the console script `collapse-study` takes it.
    """
    table = {}
    for name, module in modules().items():
        path = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        command, _, summary = text.partition("\n")[0].removeprefix("`").partition("`: ")
        if console:
            typed = f"python -m {module.removesuffix('.__main__')}"
            command = command.replace(typed, f"collapse-study {name}", 1)
        table[command] = summary.rstrip(".")
    return table


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Hand the arguments to a command, or list all; the exit code of the command."""
    from study.settings.arguments import COMMAND

    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in ("", "-h", "--help"):
        table = summaries(console=Path(sys.argv[0]).stem == COMMAND)
        width = max(map(len, table))
        for command, summary in table.items():
            print(f"{command:<{width}}  {summary}")
        return 0
    if name == "--version":
        from importlib.metadata import version

        print(COMMAND, version(COMMAND))
        return 0
    known = modules()
    if name == "--markdown":
        from study.reference.commands import page

        print(page({each: import_module(known[each]).parser() for each in known}), end="")
        return 0
    if name not in known:
        from study.settings.faults import nearest

        text = f"error: {name!r} is no command of {COMMAND}. {nearest(name, known)}"
        return refused(ValueError(text))
    code: int = import_module(known[name]).main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
