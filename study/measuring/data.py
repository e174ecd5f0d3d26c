"""What the cells of a training are trained and measured on."""

from __future__ import annotations

from pathlib import Path

from study.data import Dataset, load_data
from study.data.probes import with_probes
from study.grid import Training


def data_of(training: Training, cache: Path) -> Dataset:
    """The data of a training, with those of the probes that its cells ask for.

    `cache`: folder of the cached data. Raises DataError where they cannot be read, or do not fit
    the settings.
    """
    first = training.first
    data = load_data(first.config.data, base=first.folder, cache=cache)
    probes = [cell.config.measure.probe for cell in training.cells]
    names = [probe.data for probe in probes if probe is not None]
    return with_probes(data, first.config.data, names, base=first.folder, cache=cache)
