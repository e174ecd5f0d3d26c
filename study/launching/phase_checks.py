"""Phases of a training whose classes the data lack, known before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from study.grid import Training
from study.launching.data_sizes import DataSizes
from study.settings.faults import Fault


def phase_faults(trainings: Iterable[Training], sizes: DataSizes) -> Iterator[Fault]:
    """Classes of phases that are none of the data."""
    for training in trainings:
        phases, size = training.first.config.train.phases, sizes.size(training.first)
        if phases is None or size is None:
            continue
        for number, phase in enumerate(phases):
            if phase.classes[-1] >= size.classes:
                message = f"names class {phase.classes[-1]}, but there are {size.classes} classes"
                fix = f"Number them from 0 to {size.classes - 1}, without those held out"
                yield Fault(f"train.phases[{number}].classes", message, fix)
