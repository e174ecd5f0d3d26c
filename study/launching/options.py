"""How and where a launch runs, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from study.scheduling.failure import Cause
from study.settings.faults import Fault, StudyError, nearest
from study.tracking.registry import check_trackers


@dataclass(frozen=True)
class LaunchOptions:
    """How a launch runs its trainings.

    serial        in this process, one after another, without Ray
    address       address of a Ray cluster; None: RAY_ADDRESS, else this computer alone
    retry_failed  cause of failed cells that run again, or `all`; None: they are left alone
    track         names of trackers that show the curves of trainings

    Raises StudyError for a cause or a tracker that does not exist, or is not installed.
    """

    serial: bool = False
    address: str | None = None
    retry_failed: str | None = None
    track: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        causes = ("all", *get_args(Cause))
        if self.retry_failed is not None and self.retry_failed not in causes:
            message = f"{self.retry_failed!r} is no cause of failures"
            fault = Fault("--retry-failed", message, nearest(self.retry_failed, causes))
            raise StudyError([fault], source="command line")
        check_trackers(self.track)

    def arguments(self) -> list[str]:
        """Arguments of a command that goes on in the same way."""
        serial = ["--serial"] if self.serial else []
        address = ["--address", self.address] if self.address else []
        return serial + address + (["--track", ",".join(self.track)] if self.track else [])
