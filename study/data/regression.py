"""`kind: regression` and `free_regression`: target vectors in place of classes.

Shapes: S samples of a split, D inputs, n targets, C bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from study.data.base import DataError, Dataset, Estimate, Fact, Ints, class_facts
from study.data.cache import digest
from study.data.regression_config import FreeRegressionData, RegressionData
from study.data.target_tables import Examples, Floats, read_examples

LEAST_VAL = 2
"""Validation samples without which there is no variance to explain."""


@dataclass(frozen=True)
class Pairs:
    """Inputs and targets by row.

    inputs   (S, D) float32 vectors, or (S,) int64 sample numbers
    targets  (S, n) float32 vectors, or (S,) int64 classes
    """

    inputs: npt.NDArray[Any]
    targets: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def samples(self) -> int:
        return len(self)

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (B, D) or (B,), and targets (B, n) or (B,)."""
        return torch.from_numpy(self.inputs[rows]), torch.from_numpy(self.targets[rows])


@dataclass(frozen=True)
class _Parts:
    """A table and its training and validation rows, ascending."""

    examples: Examples
    train: Ints
    val: Ints


def load_regression(config: RegressionData, base: Path, cache: Path) -> Dataset:
    """A seeded split, standardised by its training part; nothing is cached.

    Raises DataError where a table cannot be read, a split is too small, or a target or every input
    is constant.
    """
    parts = _split(config, base)
    inputs = _inputs(parts)
    return _dataset(config, parts, inputs, inputs.shape[1:])


def load_free_regression(config: FreeRegressionData, base: Path, cache: Path) -> Dataset:
    """Samples by number with the standardised targets of a source.

    Raises DataError as `load_regression`.
    """
    parts = _whole(config, base)
    numbers = np.arange(len(parts.train))
    return _dataset(config, parts, numbers, numbers.shape)


def size_of_regression(config: RegressionData, base: Path) -> Estimate:
    """Exactly the samples of both splits. Raises DataError as `load_regression`."""
    parts = _split(config, base)
    _inputs(parts)
    _targets(config, parts)
    outputs = config.bins or len(parts.examples.target_names)
    rows = len(parts.train)
    shape = parts.examples.inputs.shape[1:]
    return Estimate(rows, rows, len(parts.val), outputs, shape)


def size_of_free_regression(config: FreeRegressionData, base: Path) -> Estimate:
    """Exactly the samples. Raises DataError as `load_regression`."""
    parts = _whole(config, base)
    _targets(config, parts)
    rows = len(parts.train)
    return Estimate(rows, rows, rows, len(parts.examples.target_names), (rows,))


def _split(config: RegressionData, base: Path) -> _Parts:
    examples = read_examples(config, base)
    order = np.random.default_rng([config.seed, 0]).permutation(len(examples))
    cut = round((1 - config.val_fraction) * len(order))
    parts = _Parts(examples, np.sort(order[:cut]), np.sort(order[cut:]))
    _check_sizes(config, parts)
    return parts


def _whole(config: FreeRegressionData, base: Path) -> _Parts:
    examples = read_examples(config, base)
    rows = np.arange(len(examples))
    parts = _Parts(examples, rows, rows)
    _check_sizes(config, parts)
    return parts


def _check_sizes(config: RegressionData | FreeRegressionData, parts: _Parts) -> None:
    """Raise DataError where a split is too small for a covariance of the targets."""
    n = len(parts.examples.target_names)
    least = n + 2
    if len(parts.train) < least or len(parts.val) < LEAST_VAL:
        setting = "samples" if config.source == "synthetic" else "source"
        raise DataError(
            f"data.{setting}: {len(parts.examples)} samples give {len(parts.train)} to train on "
            f"and {len(parts.val)} to validate; {n} targets need at least {least} and {LEAST_VAL}"
        )


def _standardised(values: Floats, train: Ints) -> npt.NDArray[np.float32]:
    """Columns less their training mean, by their training deviation.

    A constant column is 0.
    """
    deviation = values[train].std(axis=0)
    centred = values - values[train].mean(axis=0)
    # What rounding leaves of a constant column is no deviation.
    varies = deviation > 1e-12 * np.abs(values[train]).max(axis=0)
    scaled = np.where(varies, centred / np.where(varies, deviation, 1.0), 0.0)
    return np.ascontiguousarray(scaled, dtype=np.float32)


def _inputs(parts: _Parts) -> npt.NDArray[np.float32]:
    """Standardised inputs; DataError where all are constant in training."""
    scaled = _standardised(parts.examples.inputs, parts.train)
    if not np.any(scaled[parts.train]):
        raise DataError(
            "data.inputs: every input is constant in training: there is nothing to predict from; "
            "name columns that vary"
        )
    return scaled


def _targets(config: RegressionData | FreeRegressionData, parts: _Parts) -> npt.NDArray[Any]:
    """Standardised targets (S, n), or the bins (S,) of the one target.

    Raises DataError for a target that is constant in training, and for empty bins.
    """
    values, names = parts.examples.targets, parts.examples.target_names
    scaled = _standardised(values, parts.train)
    constant = [
        name
        for name, column in zip(names, scaled[parts.train].T, strict=True)
        if not np.any(column)
    ]
    if constant:
        setting = "target_dim" if config.source == "synthetic" else "targets"
        raise DataError(
            f"data.{setting}: {', '.join(constant)} is constant in training: there is nothing to "
            "predict; leave it out"
        )
    bins = getattr(config, "bins", None)
    if bins is None:
        return scaled
    column = values[:, 0]
    edges = np.quantile(column[parts.train], np.arange(1, bins) / bins)
    classes = np.searchsorted(edges, column, side="right").astype(np.int64)
    counts = np.bincount(classes[parts.train], minlength=bins)
    if counts.min() < 2:
        raise DataError(
            f"data.bins: of {bins} bins one has {counts.min()} training samples, because the "
            "target has few distinct values, or samples are few: take fewer bins"
        )
    return classes


def _dataset(
    config: RegressionData | FreeRegressionData,
    parts: _Parts,
    inputs: npt.NDArray[Any],
    input_shape: tuple[int, ...],
) -> Dataset:
    examples, targets = parts.examples, _targets(config, parts)
    train, val = (Pairs(inputs[rows], targets[rows]) for rows in (parts.train, parts.val))
    facts: dict[str, Fact] = {
        "train_samples": len(train),
        "val_samples": len(val),
        "inputs": len(examples.input_names),
        "targets": ", ".join(examples.target_names),
    }
    if config.predicts == "classes":
        classes = int(targets.max()) + 1
        counts = np.bincount(train.targets, minlength=classes)
        names = [str(number) for number in range(classes)]
        facts |= class_facts(counts)
    else:
        classes, names = targets.shape[1], list[str]()
        counts = np.zeros(0, dtype=np.int64)
        covariance = np.cov(train.targets.T, bias=True).reshape(classes, classes)
        eigenvalues = np.linalg.eigvalsh(covariance)
        facts |= {
            "target_eigenvalue_min": float(eigenvalues[0]),
            "target_eigenvalue_max": float(eigenvalues[-1]),
        }
    return Dataset(
        train=train,
        val=val,
        classes=classes,
        input_shape=tuple(int(size) for size in input_shape),
        fingerprint=digest(
            examples.inputs.tobytes(), examples.targets.tobytes(), targets.tobytes()
        ),
        class_counts=counts,
        class_names=names,
        facts=facts,
        predicts=config.predicts,
    )
