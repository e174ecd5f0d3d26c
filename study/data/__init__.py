"""Data of every kind behind one function. Importing this package does not import torch."""

from __future__ import annotations

from pathlib import Path

from study.data.base import IGNORE, DataError, Dataset, Split
from study.data.config import DataConfig
from study.data.estimate import Estimate, estimate

__all__ = ["IGNORE", "DataConfig", "DataError", "Dataset", "Estimate", "Split", "estimate", "load_data"]


def load_data(config: DataConfig, *, base: Path, cache: Path) -> Dataset:
    """The data that `config` describes.

    Args:
        config: settings of any kind of data.
        base: folder at which relative paths in the settings start: that of the YAML file.
        cache: folder for tokens, shared by any number of processes.

    Raises:
        DataError: the data cannot be read or does not fit the settings.
    """
    from study.data.text import load_text

    return load_text(config, base, cache)
