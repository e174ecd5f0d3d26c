"""A launch whose trainings come from the faulty nursery.

Run as a script, so that Ray ships the function below by value to its worker processes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import study.scheduling.ray_tune
from study.launch import main


def faulty(config: dict[str, Any]) -> dict[str, Any]:
    """Take the other nursery.

    A function that is no longer to be found where it was travels with its globals.
    """
    original.__globals__["NURSERY"].module = "faulty_nursery"
    return original(config)


original = study.scheduling.ray_tune._trainable

if __name__ == "__main__":
    study.scheduling.ray_tune._trainable = faulty
    if "PLAIN_TUNE" in os.environ:
        study.scheduling.ray_tune._take_killed_for_lost = lambda: None
    sys.exit(main(sys.argv[1:]))
