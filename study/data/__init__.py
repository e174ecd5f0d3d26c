"""Data of every kind behind one function. Importing this package does not import torch."""

from __future__ import annotations

from pathlib import Path

from study.data.base import IGNORE, DataError, Dataset, Split
from study.data.config import BalancedData, DataConfig, FreeData, ImagesData, StoriesData, TextData
from study.data.estimate import Estimate, estimate
from study.data.image_sources import image_folder
from study.data.token_files import check_readable

__all__ = [
    "IGNORE",
    "DataConfig",
    "DataError",
    "Dataset",
    "Estimate",
    "Split",
    "check_data",
    "estimate",
    "load_data",
]


def check_data(config: DataConfig, *, base: Path) -> None:
    """Find out early whether the data can be read: files, titles and formats, but nothing from the hub.

    Raises:
        DataError: something is missing or not of its format.
    """
    match config:
        case TextData() | BalancedData():
            check_readable(config, base)
        case ImagesData():
            image_folder(config, base)


def load_data(config: DataConfig, *, base: Path, cache: Path) -> Dataset:
    """The data that `config` describes.

    Args:
        config: settings of any kind of data.
        base: folder at which relative paths in the settings start: that of the YAML file.
        cache: folder for tokens, shared by any number of processes.

    Raises:
        DataError: the data cannot be read or does not fit the settings.
    """
    match config:
        case TextData():
            from study.data.text import load_text

            return load_text(config, base, cache)
        case BalancedData():
            from study.data.balanced import load_balanced

            return load_balanced(config, base, cache)
        case StoriesData():
            from study.data.stories import load_stories

            return load_stories(config)
        case ImagesData():
            from study.data.images import load_images

            return load_images(config, base, cache)
        case FreeData():
            from study.data.free import load_free

            return load_free(config)
