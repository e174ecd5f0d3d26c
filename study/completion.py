"""`python -m study.completion SHELL`: completion for bash, zsh or fish."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from study.settings.doors import at_door

if TYPE_CHECKING:
    import argparse

EPILOG = """\
for this user, from the next shell on:
  collapse-study completion bash > ~/.local/share/bash-completion/completions/collapse-study
  collapse-study completion zsh > ~/.zfunc/_collapse-study   # a folder of your fpath
"""
PATHS = ("study", "search", "run", "target", "source", "model", "file", "runs", "out", "data")
TABLES = ("columns", "write_map")
"""Arguments that name a file or a folder."""


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 printed, 2 the request is wrong."""
    options = parser().parse_args(arguments)
    import shtab

    print(shtab.complete(all_commands(), options.shell))
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    import argparse

    import shtab

    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.completion"),
        description="Print a script that completes the commands of collapse-study in a shell.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="bash, zsh, fish, ...")
    return arguments


def all_commands() -> argparse.ArgumentParser:
    """One parser of every command.

    Arguments that name files are completed by files.
    """
    import shtab

    from study.__main__ import modules
    from study.settings.arguments import COMMAND, Arguments

    arguments = Arguments(prog=COMMAND)
    commands = arguments.add_subparsers(dest="command")
    for name, module in modules().items():
        own = import_module(module).parser()
        for action in own._actions:
            if action.dest in (*PATHS, *TABLES):
                action.complete = shtab.FILE
        commands.add_parser(name, parents=[own], add_help=False, help=own.description)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
