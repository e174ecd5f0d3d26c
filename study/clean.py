"""`python -m study.clean runs/NAME`: delete the kept weights of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 no kept weights are left, 2 the request is wrong."""
    options = parser().parse_args(arguments)

    from study.hub.names import refuse_hub
    from study.launching.units import size_text
    from study.store import StoreError
    from study.store.places import place
    from study.store.usage import delete_checkpoints

    try:
        refuse_hub(options.run, "nothing is deleted")
        freed = delete_checkpoints(place(options.run))
    except StoreError as error:
        return refused(error)
    print(f"Deleted {size_text(freed)} of checkpoints.")
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.clean"),
        description="Delete the kept weights of a run; a later precision then trains again.",
    )
    arguments.add_argument(
        "run", help="folder of a run, such as runs/quickstart or s3://BUCKET/runs/quickstart"
    )
    return arguments


if __name__ == "__main__":
    sys.exit(main())
