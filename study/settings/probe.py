"""Settings of the probes of frozen features; no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from study.settings.base import PositiveInt, Settings

HELD_OUT = "held_out"
"""The probe's data that are the classes held out of training."""


class ProbeConfig(Settings):
    """Probes of other classes on frozen features: a linear one and the nearest centre.

    `study/metrics/probes.py` has their formulas. They learn from the probe's training images and
    are tested on all of its validation images. Without this group nothing is probed.
    """

    data: str
    """`held_out`, the classes of `data.held_out_classes`, or another source of images."""
    shots: list[Literal[1, 2, 5, 10, 20, 50, 100, "all"]] = [1, 5, "all"]
    """Training samples of a class that a probe learns from."""
    layers: Literal["last", "all"] = "last"
    """`all` also probes the output of every block, which needs `measure.layers: all`."""
    draws: Annotated[int, Field(ge=2, le=10_000)] = 10
    """Seeded draws of the shots, whose mean and spread are measured."""
    pca: PositiveInt | None = None
    """Principal directions of the probe's features that are kept; null = all features."""

    @field_validator("shots")
    @classmethod
    def _each_once(cls, shots: list[int | str]) -> list[int | str]:
        if not shots or len(set(shots)) < len(shots):
            raise ValueError("names no number of shots, or one twice: keep each once")
        return shots
