"""Phases of a training, each on some of the classes; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator

from study.settings.base import NonNegativeInt, PositiveInt, Settings


class Phase(Settings):
    """Epochs on the training samples of some classes, by their numbers."""

    classes: Annotated[list[NonNegativeInt], Field(min_length=1)]
    """Classes, numbered from 0, whose samples are trained on."""
    epochs: PositiveInt
    """Passes over them."""

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: list[int]) -> list[int]:
        if len(set(classes)) < len(classes):
            raise ValueError("names a class twice: keep it once")
        return sorted(classes)


def phase_fault(phases: Sequence[Phase] | None, epochs: int) -> str | None:
    """Why phases are none of a training of so many epochs, or None."""
    if phases is None:
        return None
    if len(phases) < 2:
        return (
            "train.phases lists fewer than two phases: leave it out, and hold classes out by "
            "data.held_out_classes"
        )
    total = sum(phase.epochs for phase in phases)
    if total != epochs:
        return (
            f"train.phases have {total} epochs together, train.epochs is {epochs}: make them the "
            "same"
        )
    return None


def measured_phase_fault(
    phases: Sequence[Phase] | None, measured: Sequence[int], kind: str, tuned: bool
) -> str | None:
    """Why phases cannot be trained or measured so, or None.

    Args:
        phases: of the training.
        measured: epochs whose checkpoints are measured.
        kind: of the data.
        tuned: whether the precision fine-tunes.
    """
    if phases is None:
        return None
    end = phases[0].epochs
    if kind != "images":
        return f"train.phases are of classes of images, and data.kind is {kind}: leave them out"
    if end not in measured:
        return (
            f"train.phases: the first ends at epoch {end}, where forgetting begins to count, and "
            f"measure.at does not measure it: add {end} to measure.at, or take each"
        )
    if tuned:
        return (
            "train.phases: fine-tuning to a precision would train on all classes again, so that "
            "nothing could be said of forgetting: leave precisions that fine-tune out"
        )
    return None
