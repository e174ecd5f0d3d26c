"""`python -m study.status runs/NAME`: what is done, running, failed and left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
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
    from study.launching.arguments import wrong_serving

    if problem := wrong_serving(options):
        return refused(ValueError(f"error: {problem}"))
    import json

    from rich.console import Console

    from study.launching.server import serve
    from study.search.runs import status_of
    from study.settings.faults import StudyError
    from study.store import StoreError

    console = Console()
    try:
        status = status_of(options.run)
        if options.serve:
            serve(status.progress, options)
            return 0
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
    from study.launching.arguments import add_serving_arguments
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.status"),
        description="What is done, running, failed and left in a run.",
    )
    add = arguments.add_argument
    add(
        "run",
        help="folder of a run, such as runs/quickstart or s3://BUCKET/runs/quickstart, or "
        "hub:OWNER/NAME[@REVISION]",
    )
    again = "look again every two seconds until nothing is left"
    add("--watch", action="store_true", help=again)
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add_serving_arguments(arguments)
    return arguments


def _follow(status: StudyStatus | SearchStatus, console: Console) -> None:
    """Show a run until nothing is left that could change."""
    from rich.live import Live

    with Live(console=console, refresh_per_second=1) as live:
        while status.goes_on:
            live.update(status.live())
            time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main())
