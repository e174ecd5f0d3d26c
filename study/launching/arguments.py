"""How and where a launch runs, as arguments; nothing is imported for them."""

from __future__ import annotations

import argparse


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that launches of studies and of searches share."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING=VALUE",
        help="settings in place of the file's, such as train.lr=1e-3 grid.seed=[0,1]",
    )
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="where runs lie (default: runs)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would run and what it costs; run nothing"
    )
    parser.add_argument(
        "--serial",
        action="store_true",
        help="run in this process, one training after another, no Ray; "
        "a library that hangs for good is found by Ray alone",
    )
    parser.add_argument(
        "--address", metavar="ADDR", help="address of a Ray cluster (default: this computer alone)"
    )
    parser.add_argument(
        "--retry-failed",
        nargs="?",
        const="all",
        metavar="CAUSE",
        help="run failed cells again: all, or those of one cause (see python -m study.status); "
        "in a search, those of the confirmation (failed trials are replaced by others)",
    )
