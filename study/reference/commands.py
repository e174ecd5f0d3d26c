"""docs/cli.md: every command with its arguments, from the parsers themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from study.reference.meanings import one_line

HEAD = """\
# Commands

Every command and what it takes. (This page is written by `python -m study --markdown >
docs/cli.md`.) `collapse-study NAME` works in any folder; in a checkout `python -m study.NAME` is
the same, and `python -m analysis` is `report`. Every command has `--help`.

Exit codes: 0 all is done, 1 something failed and is recorded, 2 the request is wrong and nothing
was done, 3 object storage no longer answers, and what it holds is safe.
"""
TABLE = "| argument | meaning |\n|---|---|\n"


def page(parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The page, a section for each command by its name."""
    return "\n".join([HEAD, *(_section(name, parser) for name, parser in parsers.items())])


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    rows = "\n".join(_rows(parser))
    section = f"## {name}\n\n{one_line(parser.description or '')}\n\n{TABLE}{rows}\n"
    return section + (f"\n```text\n{parser.epilog.strip()}\n```\n" if parser.epilog else "")


def _rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A line for each argument, as the help of the command has it."""
    formatter = argparse.HelpFormatter(parser.prog)
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        called = formatter._format_action_invocation(action)
        if not action.option_strings and action.choices:
            called = action.dest
        yield f"| `{called}` | {one_line(formatter._expand_help(action))} |"
