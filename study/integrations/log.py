"""What callbacks for training loops have in common: what is logged, and when."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from study.columns import METRICS
from study.integrations.sharing import Converted, same_generators, shared_out
from study.measuring.loaders import find_head, measure
from study.settings.faults import nearest

COLUMNS = (
    "nc1_ratio",
    "nc1_cdnv_galanti",
    "nc2_equinorm",
    "nc2_etf_error",
    "nc3_cosine_mean",
    "nc4_agreement_train",
    "ncc_accuracy_train",
)
"""Columns that are logged unless others are asked for."""

SEED = 0
"""Of the order of samples, which has to be the same in all processes that share them out."""


class CollapseLog:
    """Columns of a model under training, once a step, under names for a log.

    Args:
        every: steps between two measurements, or None.
        columns: names as in `study.metrics.METRICS`.
        min_count: least samples of a measured class.
        head: the linear layer or its name; see `study.measuring.loaders.measure`.
        prefix: of the names in the log.

    Raises ValueError where `every` or `min_count` is below 1, or a column does not exist.
    """

    def __init__(
        self,
        *,
        every: int | None,
        columns: Collection[str],
        min_count: int,
        head: str | nn.Linear | None,
        prefix: str,
    ) -> None:
        if every is not None and (not isinstance(every, int) or every < 1):
            raise ValueError(f"every: {every!r} is no number of steps: give an integer, 1 or more")
        if min_count < 1:
            raise ValueError(f"min_count: {min_count} is no number of samples: give 1 or more")
        check_columns(columns, METRICS)
        self.every, self.columns, self.min_count = every, columns, min_count
        self.head, self.prefix = head, prefix
        self.last: int | None = None

    def begin(self) -> None:
        """Forget the steps of a former training."""
        self.last = None

    def due(self, step: int) -> bool:
        """Whether a step is one of every so many."""
        return self.every is not None and step > 0 and step % self.every == 0

    def entries(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        step: int,
        *,
        shift: bool,
        converted: Callable[[Any], Any] = lambda batch: batch,
    ) -> dict[str, float]:
        """The columns that are defined; none at a step that has been measured.

        Warns where none is defined. The state of random numbers is restored. `converted` gives
        of a batch the one that the model takes.
        """
        if self.last == step:
            return {}
        self.last = step
        device = find_head(model, self.head).weight.device
        batches = Converted(shared_out(loader), converted)
        with same_random_numbers(device), same_generators(loader):
            metrics = measure(model, batches, head=self.head, shift=shift, min_count=self.min_count)
        values = {name: metrics.get(name) for name in self.columns}
        if all(value is None for value in values.values()):
            reasons = {metrics.reasons.get(name, "it is not measured here") for name in values}
            warnings.warn(
                f"step {step}: no column of collapse is defined: {'; '.join(sorted(reasons))}",
                stacklevel=2,
            )
        return {
            f"{self.prefix}{name}": value for name, value in values.items() if value is not None
        }


def check_columns(columns: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError for no names, or for one that is no known column."""
    if isinstance(columns, str) or not columns:
        raise ValueError(f'columns: {columns!r} is no list of names: give one, as ["nc1_ratio"]')
    for name in columns:
        if name not in known:
            raise ValueError(f"columns: {name!r} is no column. {nearest(name, known)}")


@contextmanager
def same_random_numbers(device: torch.device) -> Iterator[None]:
    """Within, torch draws from a fixed seed; afterwards all numbers go on as before.

    Those of torch, on the CPU and on this device, of NumPy and of Python.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # that of others
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(SEED)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
