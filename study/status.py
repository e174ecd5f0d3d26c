"""`python -m study.status runs/NAME`: what is done, running, failed and left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

    from study.launching.status import StudyStatus
    from study.search.status import SearchStatus

PAUSE = 2.0
"""Seconds between two looks of --watch."""


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 nothing failed, 1 some cells failed, 2 the request is wrong."""
    options = parser().parse_args(arguments)
    import json

    from rich.console import Console

    from study.settings.faults import StudyError
    from study.store import StoreError

    console = Console()
    try:
        status = _status(options.run)
        if options.json:
            print(json.dumps(status.as_json(), indent=1))
        else:
            if options.watch:
                _follow(status, console)
            console.print(status.tables())
        return 1 if status.failed else 0
    except (StudyError, StoreError) as error:
        return refused(error)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.status"),
        description="What is done, running, failed and left in a run.",
    )
    add = arguments.add_argument
    add("run", help="folder of a run, such as runs/quickstart")
    again = "look again every two seconds until nothing is left"
    add("--watch", action="store_true", help=again)
    add("--json", action="store_true", help="print one JSON object instead of tables")
    return arguments


def _status(run: str) -> StudyStatus | SearchStatus:
    """What looks at a run: a search has a journal.

    Raises StudyError for what is no folder of a run.
    """
    from study.launching.runs import open_study
    from study.launching.status import StudyStatus
    from study.settings.faults import Fault, StudyError
    from study.store import RunPaths

    if not Path(run).is_dir():
        what = "is a file" if Path(run).exists() else "does not exist"
        fix = "Give the folder of a run: the study `NAME` lies in runs/NAME once it is launched"
        raise StudyError([Fault("", what, fix)], source=run)
    if RunPaths(Path(run)).journal.exists():
        from study.search.runs import open_search
        from study.search.status import SearchStatus

        return SearchStatus(*open_search(run, Path()))
    return StudyStatus(*open_study(run, Path()))


def _follow(status: StudyStatus | SearchStatus, console: Console) -> None:
    """Show a run until nothing is left that could change."""
    from rich.live import Live

    with Live(console=console, refresh_per_second=1) as live:
        while status.goes_on:
            live.update(status.live())
            time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main())
