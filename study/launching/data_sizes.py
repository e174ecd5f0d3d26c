"""How large the data of cells are, looked up once per launch."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path

from study.data import DataConfig, DataError, Estimate, estimate, load_data
from study.data.config import HUB_IMAGES, Corpus, ImagesData
from study.data.probes import choose_probe
from study.data.token_files import tokenize
from study.grid import Cell
from study.settings.doors import TRAINING, remedy
from study.settings.probe import HELD_OUT


class UnreadError(DataError):
    """Data of a hub that are not here, or that take libraries which are not."""


class DataSizes:
    """Sizes of data sets, each looked up once.

    An object belongs to one launch, so that the next one sees a corpus that has appeared since.
    """

    def __init__(self, cache: Path) -> None:
        """`cache`: folder of the cached data."""
        self.cache = cache
        self._results: dict[tuple[str, str, str], Estimate | DataError] = {}

    def size(self, cell: Cell) -> Estimate | None:
        """Size of a cell's data; None where it cannot be known (`problem` says why)."""
        result = self._look_up(cell)
        return None if isinstance(result, DataError) else result

    def problem(self, cell: Cell) -> str | None:
        """Why the size of a cell's data is not known, or None."""
        result = self._look_up(cell)
        return str(result) if isinstance(result, DataError) else None

    def unread(self, cell: Cell) -> bool:
        """Whether nothing is known of a cell's data until a launch reads them."""
        return isinstance(self._look_up(cell), UnreadError)

    def _look_up(self, cell: Cell) -> Estimate | DataError:
        probe = cell.config.measure.probe
        name = "" if probe is None else probe.data
        key = (cell.config.data.model_dump_json(), str(cell.folder), name)
        if key not in self._results:
            try:
                size = _size(cell.config.data, cell.folder, self.cache)
                if name:
                    samples = _probe_samples(cell.config.data, name, cell.folder, self.cache)
                    size = dataclasses.replace(size, probe_samples=samples)
                self._results[key] = size
            except DataError as error:
                self._results[key] = error
        return self._results[key]


def is_fetched_for_probe(config: ImagesData, name: str) -> bool:
    """Whether images of a probe can be read without asking the hub."""
    source = config.source if name == HELD_OUT else name
    return source not in HUB_IMAGES and not source.startswith("hub:")


def _probe_samples(config: DataConfig, name: str, folder: Path, cache: Path) -> int | None:
    """Samples of both splits of a probe; None where they cannot be read, or not yet."""
    if not isinstance(config, ImagesData) or not is_fetched_for_probe(config, name):
        return None
    try:
        choice = choose_probe(config, name, folder, cache)
    except DataError:
        return None  # the fault of the probe says why
    return len(choice.train.labels) + len(choice.val.labels)


def _size(config: DataConfig, folder: Path, cache: Path) -> Estimate:
    """The size that is known at once, else that of the data, built and cached.

    Nothing is fetched from the hub.

    Raises:
        UnreadError: it cannot be known here.
        DataError: the data cannot be read.
    """
    try:
        return _looked_up(config, folder, cache)
    except ModuleNotFoundError as error:
        if error.name not in TRAINING:
            raise
        missing = error.name
    # The classes and samples of a corpus are told by its tokens alone, which take no torch.
    if isinstance(config, Corpus) and not (config.is_grouped or config.ood_sets):
        with suppress(ModuleNotFoundError):
            tokenize(config, folder, cache)
            if (known := estimate(config, base=folder, cache=cache)) is not None:
                return known
    raise UnreadError(f"its size is not known without {missing}. {remedy(missing)}")


def _looked_up(config: DataConfig, folder: Path, cache: Path) -> Estimate:
    known = estimate(config, base=folder, cache=cache)
    # Groups are found in the samples themselves, and other data have to fit them.
    is_read = config.is_grouped or config.ood_sets
    if known is not None and (config.hub_source is not None or not is_read):
        return known
    if config.hub_source is not None:
        raise UnreadError(
            f"{config.hub_source} has not been fetched yet: its size is known once a launch did"
        )
    data = load_data(config.without_unfetched(), base=folder, cache=cache)
    counts = tuple(data.class_counts.tolist()) if isinstance(config, ImagesData) else ()
    return Estimate(
        len(data.train),
        data.train.samples,
        data.val.samples,
        data.classes,
        data.input_shape,
        class_counts=counts,
    )
