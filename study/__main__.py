"""`python -m study`: the commands, a line each, as their files begin."""

from __future__ import annotations

import ast
from pathlib import Path


def commands() -> dict[str, str]:
    """What each command does, by the command as it is typed."""
    table = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        command, _, summary = text.partition("\n")[0].removeprefix("`").partition("`: ")
        if command.startswith("python -m study."):
            table[command] = summary.rstrip(".")
    return table


def main() -> None:
    """Print the commands."""
    table = commands()
    width = max(map(len, table))
    for command, summary in table.items():
        print(f"{command:<{width}}  {summary}")


if __name__ == "__main__":
    main()
