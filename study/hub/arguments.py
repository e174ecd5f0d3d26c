"""What packing takes as arguments, whether it stays here or goes to the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  collapse-study pack runs/quickstart packed/quickstart
  collapse-study pack s3://BUCKET/runs/quickstart packed/quickstart
  collapse-study pack runs/quickstart --push hub:ada/quickstart
  collapse-study pack hub:ada/quickstart runs/quickstart

exit codes: 0 the copy is there, 1 it broke off, 2 the request is wrong or was refused
"""


def add_pack_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is packed, and where it goes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "run",
        help="folder of a run, such as runs/quickstart or s3://BUCKET/runs/quickstart, or "
        "hub:OWNER/NAME[@REVISION]",
    )
    add("target", type=Path, nargs="?", help="folder to make here; it may not exist yet")
    add(
        "--in-place",
        action="store_true",
        help="copy nothing: fold the cells of the run itself, which then reads at once",
    )
    add(
        "--without-diff",
        action="store_true",
        help="leave out the uncommitted changes of the code that launches have recorded",
    )
    group = parser.add_argument_group("to the Hub")
    group.add_argument(
        "--push",
        metavar="hub:OWNER/NAME",
        help="send the copy to this data set, with a card made of the run; it is private if it is "
        "new. A push loses no rows and deletes no files",
    )
    group.add_argument(
        "--public", action="store_true", help="of --push: a data set that everybody may read"
    )
    group.add_argument(
        "--license",
        metavar="NAME",
        help="of --push: the license that the card names, such as cc-by-4.0 (default: the one "
        "there, if there is one)",
    )


def wrong_packing(options: argparse.Namespace) -> str:
    """What of the arguments does not go together; '' where all does."""
    if options.in_place == bool(options.target or options.push):
        return "give either the folder TARGET to make, or --push, or --in-place"
    if options.push is None and (options.public or options.license):
        return f"{'--public' if options.public else '--license'}: this is of --push"
    return ""
