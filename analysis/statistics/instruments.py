"""Instrumental variables with block means taken out: one instrument, one cause.

What an instrument z does to a response y, over what it does to x, is the effect of x on y if z acts
on y through x alone. Shapes: n rows, g blocks, m instruments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import Codes, Floats, codes, finite_columns, nuisance

STRONG = 10.0  # least first-stage F of an instrument that is not weak (Staiger & Stock 1997)
LEAST_BLOCKS = 5  # blocks for each moment of an over-identification test


@dataclass(frozen=True)
class TwoStage:
    """Two-stage least squares of y on x with the instrument z, all centred in blocks.

    `estimate` = sum z~y~ / sum z~x~ with its standard error `se`, robust to any dependence inside
    blocks; `least_squares` = sum x~y~ / sum x~^2, which is biased where something else moves x and
    y; `first_stage` = sum z~x~ / sum z~^2 and `f`, its square over its robust variance. Of one
    instrument that is the effective F of Montiel Olea & Pflueger 2013.
    """

    n: int
    blocks: int
    estimate: float
    se: float
    least_squares: float
    first_stage: float
    f: float

    @property
    def weak(self) -> bool:
        """Whether the first stage is too weak for the estimate and its standard error."""
        return self.f < STRONG


@dataclass(frozen=True)
class OverIdentification:
    """Whether several instruments agree about one effect: Hansen's J with its p."""

    j: float
    dof: int
    p: float


def two_stage(y: ArrayLike, x: ArrayLike, z: ArrayLike, blocks: ArrayLike) -> TwoStage:
    """Two-stage least squares of y (n,) on x (n,) by an instrument z (n,).

    All are centred in blocks (n,). Variances are sandwiches of sums over blocks times g / (g - 1)
    (Liang & Zeger 1986): of the estimate sum_g (sum z~u)^2 / (sum z~x~)^2, u = y~ - estimate x~, of
    the first stage the same of x on z. Raises ValueError for null input, for fewer than two blocks,
    and where x, y or z does not vary inside blocks.

    >>> fit = two_stage([1, 3, 2, 6, 0, 1], [0, 1, 0, 2, 0, 1], [0, 1] * 3, [0, 0, 1, 1, 2, 2])
    >>> round(fit.estimate, 4), round(fit.first_stage, 4)
    (1.75, 1.3333)
    """
    left, block = _centred(y, x, z, blocks)
    y_, x_, z_ = left.T
    g = int(block.max()) + 1
    estimate, slope = float(z_ @ y_ / (z_ @ x_)), float(z_ @ x_ / (z_ @ z_))
    correction = g / (g - 1)
    own = _by_block(z_ * (y_ - estimate * x_), block)
    first = _by_block(z_ * (x_ - slope * z_), block)
    spread = correction * float(first @ first)
    return TwoStage(
        n=len(y_),
        blocks=g,
        estimate=estimate,
        se=float(np.sqrt(correction * (own @ own)) / abs(z_ @ x_)),
        least_squares=float(x_ @ y_ / (x_ @ x_)),
        first_stage=slope,
        f=float((z_ @ x_) ** 2 / spread) if spread else np.inf,
    )


def anderson_rubin(
    y: ArrayLike, x: ArrayLike, z: ArrayLike, blocks: ArrayLike, *, critical: float
) -> tuple[float, float] | None:
    """Interval of the effect of x on y that holds however weak the instrument is.

    None where it is no interval: all numbers, or those beyond two ends. The effects b of which the
    test of z and y - b x does not reject: |sum z~u| <= critical sqrt(sum (z~u)^2), u = y~ - b x~
    (Anderson & Rubin 1949, with the studentized statistic of `permutation_test`), a quadratic
    inequality in b. Raises ValueError as `two_stage`.

    >>> y, x, z, blocks = [1, 3, 2, 6, 0, 1], [0, 1, 0, 2, 0, 1], [0, 1] * 3, [0, 0, 1, 1, 2, 2]
    >>> low, high = anderson_rubin(y, x, z, blocks, critical=2.0)
    >>> round(low, 4), round(high, 4)
    (0.7929, 2.2071)
    """
    left, _ = _centred(y, x, z, blocks)
    y_, x_, z_ = left.T
    if not np.isfinite(critical):
        return None
    point = critical**2
    a, b = z_ * y_, z_ * x_
    lead = b.sum() ** 2 - point * (b @ b)
    half = a.sum() * b.sum() - point * (a @ b)
    rest = a.sum() ** 2 - point * (a @ a)
    if lead <= 0:
        return None
    root = np.sqrt(max(half * half - lead * rest, 0.0))
    return float((half - root) / lead), float((half + root) / lead)


def over_identification(
    y: ArrayLike, x: ArrayLike, z: ArrayLike, blocks: ArrayLike
) -> OverIdentification | None:
    """Hansen's J of m > 1 instruments z (n, m): whether they are of one effect.

    That is the effect of x on y. None with fewer than `LEAST_BLOCKS` blocks for each instrument. J
    = s' W s, s the sum over blocks of z~u, W the inverse of the sum of their outer products, u = y~
    - b x~ at the b with the least J given the W of two-stage least squares (Hansen 1982).
    Chi-squared with m - 1 degrees of freedom. Raises ValueError as `two_stage`, and where
    instruments are collinear.
    """
    from scipy.special import chdtrc

    left, block = _centred(y, x, z, blocks)
    y_, x_, z_ = left[:, 0], left[:, 1], left[:, 2:]
    g, m = int(block.max()) + 1, z_.shape[1]
    if m < 2 or g < LEAST_BLOCKS * m:
        return None
    to_x, to_y = z_.T @ x_, z_.T @ y_
    weight = np.linalg.inv(z_.T @ z_)
    estimate = float(to_x @ weight @ to_y / (to_x @ weight @ to_x))
    error = z_ * (y_ - estimate * x_)[:, None]
    sums = np.stack([_by_block(column, block) for column in error.T], axis=1)
    weight = np.linalg.inv(sums.T @ sums)
    estimate = float(to_x @ weight @ to_y / (to_x @ weight @ to_x))
    left_over = to_y - estimate * to_x
    j = float(left_over @ weight @ left_over)
    return OverIdentification(j, m - 1, float(chdtrc(m - 1, j)))


def _centred(y: ArrayLike, x: ArrayLike, z: ArrayLike, blocks: ArrayLike) -> tuple[Floats, Codes]:
    """Columns y, x, z... (n, 2 + m) less their block means, and blocks as codes (n,)."""
    columns = np.column_stack([finite_columns("y", y), finite_columns("x", x)])
    columns = np.column_stack([columns, finite_columns("z", z)])
    block = codes("blocks", blocks, len(columns))
    if not block.any():
        raise ValueError("all rows are of one block: two are needed")
    return nuisance(len(columns), within=block).vary("a column of y, x and z", columns), block


def _by_block(values: Floats, block: Codes) -> Floats:
    """Sum (g,) in each block."""
    return np.bincount(block, weights=values).astype(np.float64)
