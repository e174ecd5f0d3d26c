"""Data of every kind behind one function.

Importing this package does not import torch.
"""

from __future__ import annotations

from pathlib import Path

from study.data.base import IGNORE, DataError, Dataset, Estimate, Split
from study.data.config import DataSettings
from study.data.kinds import DATA_KINDS, DataConfig

__all__ = [
    "DATA_KINDS",
    "IGNORE",
    "DataConfig",
    "DataError",
    "DataSettings",
    "Dataset",
    "Estimate",
    "Split",
    "check_data",
    "estimate",
    "load_data",
]


def check_data(config: DataSettings, *, base: Path) -> None:
    """Find out early whether the data can be read.

    Looks at files, titles and formats, but at nothing of the hub.

    Raises:
        DataError: something is missing or not of its format.
    """
    config.check(base=base)


def load_data(config: DataSettings, *, base: Path, cache: Path) -> Dataset:
    """The data that `config` describes.

    Args:
        config: settings of any kind of data.
        base: folder at which relative paths in the settings start: that of the YAML file.
        cache: folder for tokens, shared by any number of processes.

    Raises:
        DataError: the data cannot be read or does not fit the settings.
    """
    return config.load(base=base, cache=cache)


def estimate(config: DataSettings, *, base: Path, cache: Path) -> Estimate | None:
    """Size of the data as far as it is known at once.

    None where it must be read or fetched first.

    Text: what was last built from the same settings, if it was, else what is published. Stories:
    the expectation. Images: what local files hold; the hub is not asked.

    Raises:
        DataError: the settings cannot be met by the data.
    """
    return config.estimate(base=base, cache=cache)
