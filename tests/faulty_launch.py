"""A launch whose workers fail on purpose: `FAULTS` maps a seed to a fault, once per marker in `MARKERS` where it says so.

Run as a script, so that Ray ships the function below by value to fresh worker processes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import study.sweep
from study.launch import main


def faulty(config: dict[str, Any]) -> dict[str, Any]:
    """Break what the fault of this training's seed says, then run it."""
    import ctypes
    import signal
    import time
    from pathlib import Path

    import study.models
    import study.sweep

    seed = study.sweep.read_description(config["task"]).training.first.config.seed
    fault = json.loads(os.environ["FAULTS"]).get(str(seed), "none")
    name, _, once = fault.partition(" ")
    marker = Path(os.environ["MARKERS"]) / str(seed)
    if once == "once":
        if marker.exists():
            name = "none"
        marker.touch()

    def act(*arguments: Any, **options: Any) -> None:
        if name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "crash":
            ctypes.string_at(0)
        if name == "hang":
            while True:
                time.sleep(1)
        if name == "eat":
            hoard = [b"x" * 2**20 for _ in range(int(os.environ["APPETITE_MIB"]))]
            time.sleep(60 + len(hoard) * 0)
        if name == "raise":
            raise KeyError("injected")

    if name != "none":
        study.models.build_model = act
    return original(config)


original = study.sweep._trainable

if __name__ == "__main__":
    study.sweep._trainable = faulty
    if "PLAIN_TUNE" in os.environ:
        study.sweep._take_killed_for_lost = lambda: None
    sys.exit(main(sys.argv[1:]))
