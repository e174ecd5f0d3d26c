"""Projections that permutations and regressions share.

Columns are centred within blocks, then covariates are projected out. What is left are residuals.

The residual of y on the residual of x has the coefficient that x has in a regression of y on x,
covariates and block intercepts (theorem of Frisch, Waugh and Lovell). The block indicators are
never formed, so the number of blocks costs no memory.

Shapes: n rows, k columns, q rank of the covariates, B blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

SINGULAR = 1e-10  # relative size below which what is left of a column counts as rounding error


class NoVariation(ValueError):
    """Of a column nothing is left that could be related to another.

    `name` of the argument, `column` in it and `reason`, a predicate: a caller that knows better
    names can say what is meant.
    """

    def __init__(self, name: str, column: int, reason: str) -> None:
        super().__init__(f"{name} {reason} (column {column}): no correlation is defined")
        self.name = name
        self.column = column
        self.reason = reason


def finite_columns(name: str, values: ArrayLike) -> Floats:
    """`values` (n,) or (n, k) as a float64 array of shape (n, k).

    Raises ValueError for nulls, infinities, text.

    >>> finite_columns("x", [1, 2, 3]).shape
    (3, 1)
    >>> finite_columns("x", [1, float("nan")])
    Traceback (most recent call last):
    ValueError: x has 1 values that are null or not finite (first: row 1, column 0, nan); ...
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {error}") from None
    if array.ndim not in (1, 2) or array.shape[0] == 0:
        raise ValueError(f"{name} must have shape (n,) or (n, k) with n > 0, not {array.shape}")
    array = array.reshape(array.shape[0], -1)
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{name} has {int(bad.sum())} values that are null or not finite (first: row {row}, "
            f"column {column}, {array[row, column]}); leave those rows out first"
        )
    return array


def codes(name: str, labels: ArrayLike, rows: int) -> Codes:
    """Labels (n,) of any type as integers 0 .. groups-1.

    Raises ValueError for a wrong length or a null label.

    >>> codes("architecture", ["wide", "deep", "wide"], 3)
    array([1, 0, 1])
    """
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise ValueError(
            f"{name} needs one label per row: expected shape ({rows},), got {array.shape}"
        )
    if array.dtype == object:
        if any(label is None or (isinstance(label, float) and np.isnan(label)) for label in array):
            raise ValueError(f"{name} has null labels")
        array = np.array([repr(label) for label in array])
    elif array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name} has null labels")
    return np.unique(array, return_inverse=True)[1].reshape(rows).astype(np.intp)


@dataclass(frozen=True)
class Nuisance:
    """What is removed before columns are related: block means and covariates.

    `block` (n,) block of each row (all 0 without blocks), `basis` (n, q) orthonormal basis of the
    block-centred covariates, `dof` = B + q.
    """

    block: Codes
    basis: Floats

    @property
    def dof(self) -> int:
        return int(self.block.max()) + 1 + int(self.basis.shape[1])

    def centre(self, columns: Floats) -> Floats:
        """Columns (n, k) minus their mean in each block."""
        sizes = np.bincount(self.block).astype(np.float64)
        if len(sizes) == 1:
            return np.asarray(columns - columns.mean(axis=0))
        sums = np.zeros((len(sizes), columns.shape[1]))
        np.add.at(sums, self.block, columns)
        return np.asarray(columns - (sums / sizes[:, None])[self.block])

    def residual(self, columns: Floats) -> Floats:
        """Residuals (n, k) of columns on block intercepts and covariates.

        Each is removed twice, against rounding.
        """
        for _ in range(2):
            columns = self.centre(columns)
            columns = columns - self.basis @ (self.basis.T @ columns)
        return columns

    def vary(self, name: str, columns: Floats) -> Floats:
        """Residuals of columns that vary.

        Raises NoVariation for a column of which only rounding error is left.
        """
        spread = np.linalg.norm(columns - columns.mean(axis=0), axis=0)
        constant = np.flatnonzero((np.ptp(columns, axis=0) == 0) | (spread == 0))
        if constant.size:
            raise NoVariation(name, int(constant[0]), "is constant")
        left = self.residual(columns)
        empty = np.flatnonzero(np.linalg.norm(left, axis=0) <= SINGULAR * spread)
        if empty.size:
            raise NoVariation(name, int(empty[0]), "is a linear function of what is taken out")
        return left


def nuisance(
    rows: int, *, within: ArrayLike | None = None, covariates: ArrayLike | None = None
) -> Nuisance:
    """Blocks and covariates (n,) or (n, c), which may be collinear, as one projection.

    >>> removed = nuisance(4, within=["a", "a", "b", "b"])
    >>> removed.residual(finite_columns("x", [1, 3, 10, 20])).ravel()
    array([-1.,  1., -5.,  5.])
    """
    block = np.zeros(rows, dtype=np.intp) if within is None else codes("within", within, rows)
    plain = Nuisance(block, np.zeros((rows, 0)))
    if covariates is None:
        return plain
    columns = finite_columns("covariates", covariates)
    if columns.shape[0] != rows:
        raise ValueError(f"covariates have {columns.shape[0]} rows, the data has {rows}")
    centred = plain.centre(plain.centre(columns))
    size = np.linalg.norm(centred, axis=0)
    spread = np.linalg.norm(columns, axis=0)
    directions = centred[:, size > 1e-13 * spread] / size[size > 1e-13 * spread]
    if directions.shape[1] == 0:
        return plain
    u, s, _ = np.linalg.svd(directions, full_matrices=False)
    return Nuisance(block, np.ascontiguousarray(u[:, s > SINGULAR * s[0]]))
