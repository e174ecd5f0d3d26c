"""How and where a launch runs: as plain values, and as arguments."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import get_args

from study.scheduling.failure import Cause
from study.settings.faults import Fault, StudyError, nearest


@dataclass(frozen=True)
class LaunchOptions:
    """How a launch runs its trainings.

    serial        in this process, one after another, without Ray
    address       address of a Ray cluster; None: RAY_ADDRESS, else this computer alone
    retry_failed  cause of failed cells that run again, or `all`; None: they are left alone

    Raises StudyError for a cause that does not exist.
    """

    serial: bool = False
    address: str | None = None
    retry_failed: str | None = None

    def __post_init__(self) -> None:
        causes = ("all", *get_args(Cause))
        if self.retry_failed is not None and self.retry_failed not in causes:
            message = f"{self.retry_failed!r} is no cause of failures"
            fault = Fault("--retry-failed", message, nearest(self.retry_failed, causes))
            raise StudyError([fault], source="command line")

    def arguments(self) -> list[str]:
        """Arguments of a command that goes on in the same way."""
        serial = ["--serial"] if self.serial else []
        return serial + (["--address", self.address] if self.address else [])


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
