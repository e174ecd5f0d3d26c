"""Attacks of a study that a report could not tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from study.grid import Training
from study.settings.faults import Fault


def attack_faults(trainings: Iterable[Training]) -> Iterator[Fault]:
    """Trainings that are measured under several attacks.

    Each attack would have clean rows of its own, which are the same model twice.
    """
    for training in trainings:
        attacks = (cell.config.measure.attack for cell in training.cells)
        names = list(dict.fromkeys("none" if each is None else each.name for each in attacks))
        if len(names) > 1:
            yield Fault(
                "measure.attack",
                f"has {' and '.join(names)} for the same trainings, of which a report takes one",
                "Keep one, and make a study of each of the others",
            )
