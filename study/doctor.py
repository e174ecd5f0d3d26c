"""`python -m study.doctor`: whether this computer can train, measure and report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 nothing is broken, 1 something is, 2 the request is wrong."""
    options = parser().parse_args(arguments)

    from study.launching.machine import examine
    from study.store import StoreError
    from study.store.places import place

    broken = 0
    try:
        runs = place(options.runs)
    except StoreError as error:
        return refused(error)
    for finding in examine(runs, options.address):
        broken += finding.state == "broken"
        print(f"{finding.state:<7} {finding.name:<13} {finding.text}")
        if finding.fix:
            print(f"{'':<21} {finding.fix}.")
        sys.stdout.flush()
    if broken:
        print(f"{broken} broken")
    return 1 if broken else 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.doctor"),
        description="Look at packages, devices, the folder of runs and a Ray cluster; "
        "code 1 where something is broken, with what to do.",
    )
    add = arguments.add_argument
    add(
        "--runs",
        default="runs",
        metavar="DIR",
        help="where runs lie: a folder (runs), or s3://BUCKET/PREFIX",
    )
    add("--address", metavar="ADDR", help="of a Ray cluster (default: RAY_ADDRESS, else none)")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
