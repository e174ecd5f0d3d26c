"""Inputs and target vectors: of a seeded teacher, or of the columns of a table.

Shapes: S samples, D inputs, n targets, K units of the teacher.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from study.data.base import DataError
from study.data.regression_config import SHIPPED, Targets

if TYPE_CHECKING:
    import polars as pl

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """Inputs (S, D) and targets (S, n) with the names of their columns."""

    inputs: Floats
    targets: Floats
    input_names: list[str]
    target_names: list[str]

    def __len__(self) -> int:
        return len(self.targets)


def read_examples(config: Targets, base: Path) -> Examples:
    """All samples of a source, in its order and its units.

    Raises DataError where a table cannot be read, lacks a column, or has one without numbers.
    """
    if config.source == "synthetic":
        return _taught(config)
    table = _shipped(config.source) if config.source in SHIPPED else _file(base / config.source)
    names = list(config.targets or _targets_of(config.source))
    _check_known("targets", names, table)
    targets = _numbers("targets", names, table)
    numbers = [name for name in table.columns if table[name].dtype.is_numeric()]
    inputs = config.inputs
    if inputs is None:
        inputs = [name for name in numbers if name not in names]
    _check_known("inputs", inputs, table)
    if not inputs:
        raise DataError(f"data.inputs: {config.source} has no column of numbers beside its targets")
    return Examples(_numbers("inputs", inputs, table), targets, inputs, names)


def _taught(config: Targets) -> Examples:
    """x from N(0, I), y = A tanh(B x) + noise.

    The noise of a target is measured by its own deviation without noise.
    """
    generator = np.random.default_rng([config.seed, 1])
    D, n, K = config.input_dim, config.target_dim, config.teacher_width
    B_KxD = generator.normal(size=(K, D)) / np.sqrt(D)
    A_nxK = generator.normal(size=(n, K)) / np.sqrt(K)
    x_SxD = generator.normal(size=(config.samples, D))
    y_Sxn = np.tanh(x_SxD @ B_KxD.T) @ A_nxK.T
    y_Sxn = y_Sxn + config.noise * y_Sxn.std(axis=0) * generator.normal(size=y_Sxn.shape)
    names = ([f"x{number}" for number in range(D)], [f"y{number}" for number in range(n)])
    return Examples(x_SxD, y_Sxn, *names)


def _shipped(name: str) -> pl.DataFrame:
    """A table of scikit-learn, in its own units."""
    import polars as pl
    from sklearn.datasets import load_diabetes, load_linnerud

    bunch = load_diabetes(scaled=False) if name == "diabetes" else load_linnerud()
    targets = bunch.target.reshape(len(bunch.data), -1)
    names = [*bunch.feature_names, *_targets_of(name)]
    return pl.DataFrame(np.hstack([bunch.data, targets]), schema=list(names))


def _targets_of(source: str) -> list[str]:
    return ["progression"] if source == "diabetes" else ["Weight", "Waist", "Pulse"]


def _file(path: Path) -> pl.DataFrame:
    import polars as pl

    if not path.is_file():
        raise DataError(f"data.source: there is no file {path}: give one that exists")
    try:
        is_csv = path.suffix == ".csv"
        table = pl.read_csv(path, infer_schema_length=None) if is_csv else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise DataError(
            f"data.source: {path} cannot be read as {path.suffix[1:]}: {fault}; write it again"
        ) from fault
    if not len(table):
        raise DataError(f"data.source: {path} has no rows: give a table with samples")
    return table


def _check_known(setting: str, names: list[str], table: pl.DataFrame) -> None:
    unknown = [name for name in names if name not in table.columns]
    if unknown:
        near = difflib.get_close_matches(unknown[0], table.columns, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise DataError(
            f"data.{setting}: {', '.join(map(repr, unknown))} is no column of the table{hint} "
            f"Its columns: {', '.join(table.columns)}"
        )


def _numbers(setting: str, names: list[str], table: pl.DataFrame) -> Floats:
    """Columns as (S, columns) float64.

    Raises DataError for text, and for values that are missing.
    """
    texts = [name for name in names if not table[name].dtype.is_numeric()]
    if texts:
        raise DataError(
            f"data.{setting}: {', '.join(map(repr, texts))} holds {table[texts[0]].dtype}, not "
            "numbers: choose other columns, or encode it as numbers"
        )
    values: Floats = table.select(names).to_numpy().astype(np.float64)
    for name, column in zip(names, values.T, strict=True):
        if not np.isfinite(column).all():
            row = int(np.flatnonzero(~np.isfinite(column))[0])
            raise DataError(
                f"data.{setting}: column {name!r} has no number in row {row} (counted from 0): "
                "fill it, or drop the row"
            )
    return values
