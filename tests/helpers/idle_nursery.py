"""A nursery whose trainings do what the name of their launch says.

It starts at once.
"""

from __future__ import annotations

import os
import time
from typing import Any
from unittest.mock import patch

from study.scheduling import processes
from study.scheduling.work import Ended, Work


def idle(task: Work, **options: Any) -> Ended:
    """`wait` for ever, or tell the number of this process."""
    if task.launch == "wait":
        (task.run_dir / "waiting").write_text(str(os.getpid()))
        time.sleep(600)
    return Ended("failed", "bug", str(os.getpid()))


if __name__ == "__main__":
    with patch.object(processes, "NEEDED", ()), patch.object(processes, "work", idle):
        processes.serve()
