"""Where a training runs and which of its weights stay, as settings."""

from __future__ import annotations

from typing import Literal

from study.settings.base import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)

KEEP = ("all", "last", "none")


class Resources(Settings):
    """Where a training runs; never part of a cell's identity.

    `cpus` is also the number of threads.
    """

    cpus: PositiveInt = 1
    """Cores, and threads, of a training."""
    gpus: NonNegativeFloat = 0.0
    """GPUs of a training; 0.5 lets two share one."""
    memory_gib: PositiveFloat | None = None
    """Memory in GiB that a training is given; null = no promise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a training computes; `auto` = on a GPU where it has one."""
    parallel: PositiveInt | None = None
    """Trainings that run at once; null = as many as fit."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Least minutes between two states to resume from within an epoch."""
    hang_minutes: PositiveFloat = 30.0
    """Minutes without a step after which a training is stopped as hung."""
    retries: NonNegativeInt = 2
    """Further attempts after a lost node, a lack of memory or a hang."""
