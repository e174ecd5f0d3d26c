"""Attacks of a study that a report could not tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from study.grid import Training
from study.settings.attack import AttackConfig
from study.settings.faults import Fault


def attack_faults(trainings: Iterable[Training]) -> Iterator[Fault]:
    """Trainings that are measured under several attacks.

    Each attack would have clean rows of its own, which are the same model twice.
    """
    for training in trainings:
        attacks: list[AttackConfig | None] = []
        for attack in (cell.config.measure.attack for cell in training.cells):
            if attack not in attacks:
                attacks.append(attack)
        if len(attacks) > 1:
            names = [_described(each) for each in attacks]
            yield Fault(
                "measure.attack",
                f"has {' and '.join(names)} for the same trainings, of which a report takes one",
                "Keep one, and make a study of each of the others",
            )


def _described(attack: AttackConfig | None) -> str:
    """An attack with the settings that its name does not tell."""
    if attack is None:
        return "none"
    size = "" if attack.step_size is None else f" of {attack.step_size:g}"
    return f"{attack.name} (steps {attack.steps}{size})"
