"""Many permutations at once: each of some orders of x with each of some of y.

A sum over rows does not change where x and y are moved alike. So x moved by an order s and y by an
order t have the statistic of y moved by one order, t after the inverse of s. With A orders t and B
orders s, all uniform and independent, each of the A B orders is uniform and any two of them are
independent: the share of those with a statistic beyond a bound has the mean and the variance of as
many independent draws. All their sums are products of matrices, which takes a twentieth of the
time of moving rows A B times.

Shapes: n rows, k metrics, q rank of the covariates, a orders of y, b orders of x at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.linear import Codes, Floats

TILE = 2**16  # statistics held at once, so that they stay in the cache
LEFT = 1e-14  # of the squares of permuted residuals: less than this is rounding error
EMPTY = 1e-24  # a sum of squared products of unit columns below this is rounding error

Orders = NDArray[np.integer]


def paired_statistics(
    columns_NxK: Floats,
    response_N: Floats,
    basis_NxQ: Floats,
    squares_NxK: Floats | None,
    places: Sequence[Codes] | None,
    orders_BxN: Orders,
    orders_AxN: Orders,
) -> Iterator[Floats]:
    """Absolute statistics (a b, k) of every pair of orders, a few of x at a time.

    Arguments are those of a prepared permutation test: residuals of unit length, an orthonormal
    basis of the covariates, the weighted squares of the columns where rows are studentized, or the
    rows of each unit (`places`) where units are.
    """
    a, k = len(orders_AxN), columns_NxK.shape[1]
    y = response_N[orders_AxN]
    y_squares = np.square(y)
    tile = max(1, TILE // (a * k))
    for start in range(0, len(orders_BxN), tile):
        order = orders_BxN[start : start + tile]
        x, basis = columns_NxK[order], basis_NxQ[order]
        sums, explained = products(y, x), products(y, basis)
        left = 1.0 - np.square(explained).sum(axis=2, keepdims=True)
        np.multiply(sums, left > LEFT, out=sums)
        if squares_NxK is not None:
            weights = squares_NxK[order]
            spread = products(y_squares, weights)
            for j in range(basis.shape[2]):
                mixed = products(y, weights * basis[:, :, j : j + 1])
                spread -= 2.0 * explained[:, :, j : j + 1] * mixed
            # The sums of weights times two covariates are the same in every order.
            inner = np.einsum("nk,ni,nj->ijk", squares_NxK, basis_NxQ, basis_NxQ)
            spread += np.einsum("abi,ijk,abj->abk", explained, inner, explained, optimize=True)
        elif places is not None:
            spread = _by_units(y, x, basis, sums, explained, places)
        else:
            spread = np.maximum(left, LEFT)
        empty = spread <= EMPTY
        spread[empty] = 1.0
        statistics = np.abs(sums, out=sums) / np.sqrt(spread)
        statistics[np.broadcast_to(empty, statistics.shape)] = 0.0
        yield statistics.reshape(-1, k)


def products(y_AxN: Floats, x_BxNxK: Floats) -> Floats:
    """Sums over rows (a, b, k)."""
    b, n, k = x_BxNxK.shape
    sums = y_AxN @ x_BxNxK.transpose(1, 0, 2).reshape(n, b * k)
    return sums.reshape(len(y_AxN), b, k)


def _by_units(
    y_AxN: Floats,
    x_BxNxK: Floats,
    basis_BxNxQ: Floats,
    slopes_AxBxK: Floats,
    explained_AxBxQ: Floats,
    places: Sequence[Codes],
) -> Floats:
    """Squares (a, b, k) of sums in units of x times the full model's residual."""
    squares, scratch = np.zeros_like(slopes_AxBxK), np.empty_like(slopes_AxBxK)
    for rows in places:
        x = x_BxNxK[:, rows]
        sums = products(y_AxN[:, rows], x)
        sums -= np.multiply(slopes_AxBxK, np.square(x).sum(axis=1), out=scratch)
        for j in range(basis_BxNxQ.shape[2]):
            shared = (x * basis_BxNxQ[:, rows, j : j + 1]).sum(axis=1)
            sums -= np.multiply(explained_AxBxQ[:, :, j : j + 1], shared, out=scratch)
        squares += np.square(sums, out=sums)
    return squares
