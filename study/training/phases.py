"""Which rows an epoch of a training takes: all, or those of classes of its phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.data.base import Ints, Split
from study.settings.phases import Phase


@dataclass(frozen=True)
class EpochRows:
    """The training rows of each epoch.

    parts  number of epochs and their rows, in the order of the phases
    """

    parts: tuple[tuple[int, Ints], ...]

    @classmethod
    def of(cls, phases: Sequence[Phase] | None, split: Split, epochs: int) -> EpochRows:
        """All rows in every epoch, or those of a phase, whose rows have one class each.

        Raises ValueError for a phase without a row.
        """
        rows: Ints = np.arange(len(split))
        if phases is None:
            return cls(((epochs, rows),))
        labels = split.batch(rows)[1].numpy()
        chosen = [(phase.epochs, rows[np.isin(labels, phase.classes)]) for phase in phases]
        for phase, (_, own) in zip(phases, chosen, strict=True):
            if not len(own):
                raise ValueError(f"no training sample is of the classes {phase.classes} of a phase")
        return cls(tuple(chosen))

    def at(self, epoch: int) -> Ints:
        """The rows of an epoch, counted from 0; of a later one those of the last."""
        for count, rows in self.parts:
            if epoch < count:
                return rows
            epoch -= count
        return self.parts[-1][1]

    def steps(self, size: int) -> int:
        """Steps of `size` rows over all epochs."""
        return sum(count * -(-len(rows) // size) for count, rows in self.parts)
