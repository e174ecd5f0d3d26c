"""`python -m study.tune SEARCH.yaml`: search for the best settings, confirm them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 search and confirmation complete, 1 incomplete, 2 wrong request."""
    options = parser().parse_intermixed_args(arguments)

    from study.launching.options import LaunchOptions
    from study.launching.view import Output
    from study.search.launcher import SearchLaunch
    from study.search.runs import open_search
    from study.settings.faults import StudyError
    from study.store import StoreError

    try:
        search, run_dir = open_search(options.search, options.runs, options.overrides)
        how = LaunchOptions(options.serial, options.address, options.retry_failed, options.track)
        launch = SearchLaunch(search, run_dir, how, Output(file=sys.stdout))
        if not options.dry_run:
            return launch.run()
        launch.show()
    except (StudyError, StoreError) as error:
        return refused(error)
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.launching.arguments import add_launch_arguments
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.tune"),
        description="Search for settings with Optuna; each trial is a training with stored rows.",
    )
    arguments.add_argument(
        "search", help="a search's YAML file, or the folder of a run to go on with"
    )
    add_launch_arguments(arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
